"""The whole way of an operator in a real browser, from an empty install to a revoked key."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.console.browser import Watched, browser
from tests.console.kit import PASSWORD
from tests.harness import until

SAY = [{"role": "user", "content": "Say something."}]
SERIOUS = ("serious", "critical")
PATHS = ("/console", "/console/usage", "/console/models", "/console/models/new", "/console/models/acme%2Fchat",
         "/console/models/acme%2Fchat/prices", "/console/models/acme%2Fpainter", "/console/channels",
         "/console/channels/new", "/console/channels/acme", "/console/accounts", "/console/keys", "/console/keys/new",
         "/console/vouchers", "/console/system", "/console/plugins", "/console/people", "/console/audit", "/console/me")


def aside(work, *values):
    """In a thread: Playwright keeps a loop running in this one, and what reads the store wants one of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *values).result()


def test_from_an_empty_install_to_a_revoked_key(new_gateway, upstream_process):
    gateway = new_gateway
    with browser() as chromium:
        watched = Watched(chromium.new_context(locale="en-US").new_page())
        page = watched.page
        page.goto(f"{gateway.url}/console")
        page.wait_for_url("**/console/welcome")
        page.fill("#f-token", (gateway.folder / "var" / "first-run-token").read_text().strip())
        page.fill("#f-name", "ada")
        page.fill("#f-password", PASSWORD)
        page.fill("#f-again", PASSWORD)
        page.click("button.primary")
        page.wait_for_url("**/console")
        assert page.get_by_text("Add a channel to a provider").is_visible()

        page.get_by_text("Add a channel to a provider").click()
        page.fill("#f-name", "acme")
        page.select_option("#f-provider", "vllm")
        page.fill("#f-base_url", upstream_process.at("acme"))
        page.fill("#f-credential", "sk-acme-secret")
        page.fill("#f-models", "acme/chat = up-chat\nacme/painter")
        page.fill("#f-costs", "acme/chat = 0.10 0.20")
        page.check("input[name=wire_api][value='openai.chat']")
        page.click("button.primary:has-text('Create')")
        page.wait_for_url("**/console/channels/acme?done=saved")
        assert "sk-acme-secret" not in page.content()
        page.click("button:has-text('Test')")
        page.get_by_text("It works.").wait_for()

        page.goto(f"{gateway.url}/console/models/new")
        page.fill("#f-slug", "acme/chat")
        page.fill("#f-input_per_mtok", "0.28")
        page.fill("#f-output_per_mtok", "0.42")
        page.locator("#price-check").get_by_text("$0.0007").wait_for()
        page.fill("#f-context_length", "128,000")
        page.click("button.primary:has-text('Create')")
        page.wait_for_url("**/console/models/acme%2Fchat?done=saved")
        assert page.get_by_text("openai.chat").is_visible(), "the channel serves it"

        page.goto(f"{gateway.url}/console/models/new")
        page.select_option("#f-type", "text2image")
        assert not page.locator("#f-input_per_mtok").is_visible() and page.locator("#f-per_image_by_size").is_visible()
        page.fill("#f-slug", "acme/painter")
        page.fill("#f-per_image_by_size", "1024x1024 = 0.04\n1792x1024 = 0.08")
        page.fill("#f-available_sizes", "1024x1024, 1792x1024")
        page.fill("#f-available_ratios", "1:1, 16:9")
        page.locator("#price-check").get_by_text("1 image of 1792x1024").wait_for()
        page.click("button.primary:has-text('Create')")
        page.wait_for_url("**/console/models/acme%2Fpainter?done=saved")
        assert page.input_value("#f-available_sizes") == "1024x1024, 1792x1024"

        page.goto(f"{gateway.url}/console/models/acme%2Fchat")
        page.fill("#f-input_per_mtok", "28")
        page.locator("#price-check").get_by_text("More than 50 times another price").wait_for()
        page.click("button.primary:has-text('Save')")
        page.get_by_label("I mean these prices").wait_for()
        page.fill("#f-input_per_mtok", "0.30")
        page.click("button.primary:has-text('Save')")
        page.wait_for_url("**/console/models/acme%2Fchat?done=saved")
        watched.wrong = [line for line in watched.wrong if "409" not in line]      # the browser notes the refused save

        page.goto(f"{gateway.url}/console/accounts")
        page.fill("#f-name", "First customer")
        page.click("button.primary:has-text('Create')")
        page.wait_for_url("**/console/accounts/acc-*")
        account = page.url.partition("?")[0]
        page.fill("#f-topup-amount", "25")
        page.click("button:has-text('Put it in')")
        page.wait_for_url("**?done=moved")
        assert page.locator(".stat .value").first.inner_text() == "$25.00"
        page.goto(f"{gateway.url}/console/vouchers")
        page.fill("#f-face", "5")
        page.fill("#f-count", "3")
        page.click("button.primary")
        assert page.locator("#codes").inner_text().count("stv-") == 3
        page.goto(account)
        page.get_by_text("New key").click()
        page.fill("#f-name", "their app")
        page.click("button.primary:has-text('Create')")
        key = page.locator("#secret").inner_text()
        assert re.fullmatch(r"stk-live-[0-9A-Za-z]{46}", key)

        call = lambda: gateway.post("/v1/chat/completions", {"model": "acme/chat", "messages": SAY, "max_tokens": 5},
                                    key)
        status, headers, _ = call()
        assert status == 200
        rid = headers["x-request-id"]
        record = aside(gateway.record, rid)
        page.goto(f"{gateway.url}/console/usage")
        assert page.locator(f"a[title='{rid}']").is_visible(), "the row of the call"
        assert page.locator(".chart canvas").count() == 1, "and its chart"
        page.fill(".finder input", rid)
        page.press(".finder input", "Enter")
        page.wait_for_url(f"**/console/usage/{rid}")
        assert page.get_by_text("$0." + f"{record.cost_p:012d}".rstrip("0")).first.is_visible(), "the exact cost"
        assert sum(attempt.cost_p for attempt in record.attempts) > 0, "what it cost us upstream"

        page.goto(account)
        page.get_by_text("their app").click()
        page.click("button:has-text('Revoke')")
        page.wait_for_url("**?done=revoked")
        begun = time.monotonic()
        until(lambda: call()[0] == 401, "the refusal of the revoked key", 3)
        assert time.monotonic() - begun < 3.5

        wrong, axe = [], Axe()
        for path in (*PATHS, f"/console/usage/{rid}", account.removeprefix(gateway.url)):
            page.goto(gateway.url + path)
            found = axe.run(page).response["violations"]
            wrong += [f"{path}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found
                      if one["impact"] in SERIOUS]
        assert not wrong, "\n".join(wrong)
        assert not watched.wrong, watched.wrong


@pytest.mark.parametrize("language, said, theme", [("zh-CN", "概览", "light"), ("en-US", "Overview", "dark")])
def test_it_is_usable_in_each_language_theme_and_on_a_phone(console, owner, language, said, theme):
    with browser() as chromium:
        context = chromium.new_context(locale=language, color_scheme=theme, viewport={"width": 360, "height": 740})
        context.add_cookies([{"name": "smartoken", "value": owner.http.cookies["smartoken"], "url": console.url}])
        watched = Watched(context.new_page())
        page, wrong = watched.page, []
        page.goto(f"{console.url}/console")
        assert page.locator("h1").inner_text() == said
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip", "the first Tab leads past the menu"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator(".menu a").nth(1).is_visible(), "the second opens the menu"
        page.keyboard.press("Escape")
        for path in ("/console", "/console/usage", "/console/models", "/console/models/m", "/console/channels/well",
                     "/console/accounts", "/console/keys/new", "/console/system", "/console/plugins", "/console/people",
                     "/console/audit", "/console/me"):
            page.goto(console.url + path)
            found = Axe().run(page).response["violations"]
            width = page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true }), "
                                  "document.documentElement.scrollWidth")
            wrong += [f"{path} is {width} wide"] if width > 360 else []
            wrong += [f"{path}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found
                      if one["impact"] in SERIOUS]
        assert not wrong, "\n".join(wrong)
        assert not watched.wrong, watched.wrong


EVIL = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onfocus=alert(1) autofocus='",
        "</textarea><svg onload=alert(1)>", "javascript:alert(1)", "{{ 7*7 }}{% raw x %}", "</script><script>alert(1)",
        "<a href=javascript:alert(1)>x</a>", "=HYPERLINK(\"http://evil\")", "\u202eevil", "&lt;b&gt;"]


def test_no_text_becomes_markup(new_gateway, upstream_process):
    """A corpus of hostile texts in every text field, then every page, in a browser that notes dialogs and errors."""
    from tests.console.kit import Person, model

    gateway = new_gateway
    owner = Person(gateway).first_owner()
    evil = " ".join(EVIL)[:190]
    assert owner.api("PUT", "/models/m", {"rev": 0, "model": model(
        "m", title=evil, description=" ".join(EVIL), owned_by=evil, category=evil, settings={"x": evil},
        available_sizes=[one[:60] for one in EVIL], available_ratios=[EVIL[0]])}).status_code == 200
    channel = {"provider": "vllm", "base_url": upstream_process.at("xss"), "models": {"m": evil},
               "settings": {"x": evil}}
    assert owner.api("PUT", "/channels/c", {"channel": channel, "rev": 0}).status_code == 200
    acct = owner.api("POST", "/accounts", {"name": evil}).json()["id"]
    assert owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "t", "note": evil}).status_code == 200
    made = owner.api("POST", "/keys", {"acct": acct, "name": evil}).json()
    status, headers, _ = gateway.post("/v1/chat/completions", {"model": "m", "messages": SAY, "max_tokens": 3},
                                      made["key"])
    assert status == 200
    gateway.record(headers["x-request-id"])
    assert owner.form("/console/sign-in", name=EVIL[1], password="x", next=EVIL[4]).status_code == 401
    assert owner.form("/console/accounts", name="", id=EVIL[1]).status_code == 400
    with browser() as chromium:
        context = chromium.new_context(locale="en-US")
        context.add_cookies([{"name": "smartoken", "value": owner.http.cookies["smartoken"], "url": gateway.url}])
        watched = Watched(context.new_page())
        page = watched.page
        for path in ("/console", "/console/usage", "/console/models", "/console/models/m", "/console/models/m/prices",
                     "/console/channels", "/console/channels/c", "/console/accounts", f"/console/accounts/{acct}",
                     "/console/keys", f"/console/keys/{made['kid']}", f"/console/usage/{headers['x-request-id']}",
                     "/console/audit", f"/console/keys/new?acct={EVIL[1]}",
                     f"/console/usage?model={EVIL[1]}&acct={EVIL[2]}",
                     f"/console/accounts?q={EVIL[3]}", f"/console?done={EVIL[0]}"):
            page.goto(gateway.url + path)
            page.wait_for_load_state("networkidle")
            assert page.locator("img, [onerror], [onload], [onfocus], a[href^='javascript:']").count() == 0, path
        page.goto(f"{gateway.url}/console/channels/c")
        page.click("button:has-text('Test')")
        page.locator("#test dl").wait_for()
        assert not watched.wrong, watched.wrong
