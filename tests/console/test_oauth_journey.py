"""An operator's own account in a real browser: from an empty console to an answer through it, over two workers; texts
that are no markup; languages, themes, a phone, axe."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from smartoken.testing.issuer import CODE, Issuer
from tests.console.browser import Watched, browser
from tests.console.kit import PASSWORD, Person
from tests.console.test_journey import EVIL, SERIOUS, aside
from tests.console.test_oauth import BASE, CHANNEL, PLUGIN
from tests.harness import Gateway, model, until

SAY = [{"role": "user", "content": "Say something."}]


@pytest.fixture
def issuer():
    issuer = Issuer(person=True)
    yield issuer
    issuer.close()


@pytest.fixture
def gateway(tmp_path, issuer):
    """Two workers on an empty store."""
    gateway = Gateway(tmp_path, workers=2, conf=PLUGIN.format(issuer=issuer.url, backend=issuer.backend))
    gateway.start()
    yield gateway
    gateway.close()


def faults(page, axe: Axe) -> list[str]:
    found = axe.run(page).response["violations"]
    wrong = [f"{page.url}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found if one["impact"] in SERIOUS]
    width = page.viewport_size["width"]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        wrong.append(f"{page.url} is wider than {width}")
    return wrong


def test_from_an_empty_console_to_an_answer_through_the_account(gateway, issuer):
    with browser() as chromium:
        context = chromium.new_context(locale="en-US")
        watched, axe = Watched(context.new_page()), Axe()
        page = watched.page
        page.goto(f"{gateway.url}/console")
        page.fill("#f-token", (gateway.folder / "var" / "first-run-token").read_text().strip())
        page.fill("#f-name", "ada")
        page.fill("#f-password", PASSWORD)
        page.fill("#f-again", PASSWORD)
        page.click("button.primary")
        page.wait_for_url("**/console")
        page.click("nav a:has-text('Signed-in accounts')")
        page.get_by_text("No account is signed in").wait_for()
        wrong = faults(page, axe)
        page.click("a.primary")
        assert page.get_by_text("A ChatGPT plan is for one person").is_visible(), "whose terms apply, in plain words"
        wrong += faults(page, axe)
        page.click("button:has-text('Show me a code')")
        assert page.url.endswith("/console/oauth/new"), "not before the terms are accepted"
        page.check("#f-terms")
        page.click("button:has-text('Show me a code')")
        page.wait_for_url("**/console/oauth/chatgpt/sign-ins/*")
        assert page.locator("#code").inner_text() == CODE
        wrong += faults(page, axe)
        begun = page.url
        page.click("button:has-text('Cancel')")
        page.wait_for_url("**/console/oauth")
        page.goto(begun)
        assert page.get_by_text("There is no such sign-in (any more).").first.is_visible()
        watched.wrong = [line for line in watched.wrong if "404" not in line]     # the browser notes that page

        page.goto(f"{gateway.url}/console/oauth/new")
        page.check("#f-terms")
        page.click("button:has-text('Show me a code')")
        page.wait_for_url("**/console/oauth/chatgpt/sign-ins/*")
        page.reload()
        until(lambda: page.locator("#code").inner_text() == CODE, "the code again")
        with page.expect_popup() as opened:
            page.click(f"a[href='{issuer.url}/codex/device']")
        there = opened.value
        there.fill("input[name=code]", CODE)
        there.click("button:has-text('Agree')")
        there.close()
        page.wait_for_url("**/console/oauth?done=signed-in", timeout=20_000)
        assert page.locator("code:has-text('oauth:own')").is_visible() and page.get_by_text("plus", exact=True).is_visible()

        page.click("a:has-text('New channel')")
        page.fill("#f-name", "mine")
        assert (page.input_value("#f-provider"), page.input_value("#f-credential")) == ("chatgpt", "oauth:own")
        assert page.is_checked("input[name=wire_api][value='openai.responses']")
        page.fill("#f-models", "gpt = gpt-x")
        page.check("input[name=bridges][value='openai.chat']")
        page.click("button.primary:has-text('Create')")
        page.wait_for_url("**/console/channels/mine?done=saved")
        until(lambda: it_works(page), "the account on the worker that is asked")
        aside(gateway.apply, model("gpt"))
        client = aside(gateway.client, "c")
        call = lambda: gateway.post("/v1/chat/completions", {"model": "gpt", "messages": SAY, "max_tokens": 9}, client.key)
        until(lambda: call()[0] == 200, "a chat answered through the account")
        page.goto(f"{gateway.url}/console/oauth")
        page.get_by_text("Within 5 hours").wait_for(timeout=20_000)      # the table renews itself
        assert page.get_by_text("12 %").is_visible() and page.locator("a:has-text('mine')").is_visible()
        wrong += faults(page, axe)

        issuer.dead = True
        issuer.expire()
        call()
        page.locator("text=refresh_token_reused").wait_for(timeout=20_000)
        wrong += faults(page, axe)
        page.click("button:has-text('Sign out'):not([aria-label])")
        page.wait_for_url("**/console/oauth?done=given-up")
        assert page.get_by_text("No account is signed in").is_visible()
        assert not wrong, "\n".join(wrong)
        assert not watched.wrong, watched.wrong


def test_a_refusal_is_told(gateway, issuer):
    owner = Person(gateway).first_owner()
    with browser() as chromium:
        page = signed(chromium, gateway, owner)
        page.goto(f"{gateway.url}/console/oauth/new")
        page.check("#f-terms")
        page.click("button:has-text('Show me a code')")
        page.wait_for_url("**/sign-ins/*")
        issuer.word = "refuse"
        page.get_by_text("The issuer refused it: HTTP 400 access_denied").wait_for(timeout=20_000)
        assert page.locator("a:has-text('Begin again')").is_visible()
    owner.close()


def test_hostile_names_are_refused_and_never_markup(gateway, issuer):
    owner = Person(gateway).first_owner()
    with browser() as chromium:
        watched = Watched(signed(chromium, gateway, owner))
        page = watched.page
        for evil in (*EVIL, "../own", "own:1", "a b"):
            page.goto(f"{gateway.url}/console/oauth/new")
            page.check("#f-terms")
            page.evaluate("document.querySelector('#f-id').removeAttribute('maxlength')")
            page.fill("#f-id", evil)
            page.click("button:has-text('Show me a code')")
            page.locator(".note.bad").wait_for()
            assert page.input_value("#f-id") == evil.strip(), "it comes back as it was written"
            assert page.locator("img, [onerror], [onload], [onfocus], a[href^='javascript:']").count() == 0, evil
            watched.wrong = [line for line in watched.wrong if "400" not in line]
        issuer.told = {"x-codex-primary-used-percent": "5", "x-codex-plan-type": EVIL[0],
                       "x-codex-a-primary-used-percent": "7", "x-codex-a-limit-name": EVIL[1],
                       "x-codex-credits-has-credits": "True", "x-codex-credits-balance": EVIL[3]}
        file = {"id": "own", "terms": True, "file": issuer.auth_json()}
        assert owner.api("POST", f"{BASE}/imports", file).status_code == 201
        assert owner.api("PUT", "/channels/own", {"channel": CHANNEL, "rev": 0, "credential": "oauth:own"}).status_code == 200
        until(lambda: owner.api("POST", "/channels/own/test", {"wire": "openai.responses"}).json().get("ok"), "an answer")
        page.goto(f"{gateway.url}/console/oauth")
        page.get_by_text("onerror=alert(1)").first.wait_for(timeout=20_000)
        assert page.locator("img, [onerror], [onload]").count() == 0
        assert not watched.wrong, watched.wrong
    owner.close()


@pytest.mark.parametrize("language, head, theme", [("zh-CN", "已登录账号", "dark"), ("en-US", "Signed-in accounts", "light")])
def test_it_is_usable_in_each_language_theme_and_on_a_phone(gateway, issuer, language, head, theme):
    owner = Person(gateway).first_owner()
    file = {"id": "a-name-that-is-rather-long-for-a-phone", "terms": True, "file": issuer.auth_json()}
    assert owner.api("POST", f"{BASE}/imports", file).status_code == 201
    with browser() as chromium:
        page = signed(chromium, gateway, owner, locale=language, color_scheme=theme, viewport={"width": 360, "height": 740})
        wrong, axe = [], Axe()
        page.goto(f"{gateway.url}/console/oauth")
        assert page.locator("h1").inner_text() == head
        wrong += faults(page, axe)
        page.goto(f"{gateway.url}/console/oauth/new")
        wrong += faults(page, axe)
        page.check("#f-terms")
        page.click("button.primary")
        page.wait_for_url("**/sign-ins/*")
        wrong += faults(page, axe)
        assert not wrong, "\n".join(wrong)
    owner.close()


def it_works(page) -> bool:
    """Press the button; whether it works."""
    page.click("button:has-text('Test')")
    page.wait_for_load_state("networkidle")
    page.locator("#test .note").wait_for()
    return page.get_by_text("It works.").is_visible()


def signed(chromium, gateway: Gateway, owner: Person, **look):
    """A page of the owner's."""
    context = chromium.new_context(**{"locale": "en-US", **look})
    context.add_cookies([{"name": "smartoken", "value": owner.http.cookies["smartoken"], "url": gateway.url}])
    return context.new_page()
