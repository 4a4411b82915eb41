"""A buyer's whole way in a real browser, and the same pages on a phone, in Chinese, in the dark, for a screen reader."""

import json
import time

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.console.browser import Watched, browser
from tests.console.kit import PASSWORD
from tests.console.market_kit import EVIL, open_market
from tests.harness import until

SERIOUS = ("serious", "critical")
FIRST_VIEW_BYTES = 100_000
PUBLIC = ("/", "/models", "/models?view=table", "/models?q=zzz", "/models/sandbox/echo", "/models/sandbox/film",
          "/models/sandbox/picture", "/models/acme/evil", "/playground", "/sign-in", "/sign-up")
OWN = ("/dashboard", "/keys", "/usage", "/account", "/vouchers", "/password", "/playground", "/playground?mode=images",
       "/playground?mode=videos", "/playground?mode=speech")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A market of its own, with somebody in the browser who signed up there: (gateway, chromium, cookies)."""
    gateway = open_market(tmp_path_factory.mktemp("shop"))
    try:
        with browser() as chromium:
            context = chromium.new_context(locale="en-US")
            page = context.new_page()
            page.goto(f"{gateway.url}/sign-up")
            for field, value in (("name", "grace"), ("password", PASSWORD), ("again", PASSWORD)):
                page.fill(f"#f-{field}", value)
            page.click("button.primary")
            page.wait_for_url("**/dashboard?done=welcome")
            state = context.storage_state()
            context.close()
            yield gateway, chromium, state
    finally:
        gateway.owner.close()
        gateway.close()


def say(page, text: str):
    """Send a message and wait for the whole answer; its element."""
    before = page.locator(".said.theirs").count()
    page.fill("#f-prompt", text)
    page.press("#f-prompt", "Enter")
    answer = page.locator(".said.theirs").nth(before)
    answer.locator(".meta span").first.wait_for()
    return answer


def played(gateway) -> dict | None:
    """The newest usage record of a playground's key."""
    rows = gateway.owner.api("GET", "/usage").json()["rows"]
    return next((row for row in rows if row["key"].startswith("playground-")), None)


def test_from_the_market_to_a_revoked_key(tmp_path):
    gateway = open_market(tmp_path)
    try:
        with browser() as chromium:
            watched = Watched(chromium.new_context(locale="en-US", permissions=["clipboard-read", "clipboard-write"]).new_page())
            page = watched.page
            page.goto(gateway.url)
            assert page.get_by_role("heading", name="One API for every model.").is_visible()
            page.fill("#f-q", "echo")
            page.wait_for_url("**/models?q=echo**")
            assert page.locator(".card-model").count() == 1
            page.get_by_role("link", name="Echo", exact=True).click()
            page.get_by_role("tab", name="curl").focus()
            page.keyboard.press("ArrowRight")
            assert page.get_by_role("tabpanel", name="Python").is_visible()
            page.locator(".code:visible button").click()
            assert "from openai import OpenAI" in page.evaluate("navigator.clipboard.readText()")

            page.get_by_role("link", name="Sign up").click()
            for field, value in (("name", "grace"), ("password", PASSWORD), ("again", PASSWORD)):
                page.fill(f"#f-{field}", value)
            page.click("button.primary")
            page.wait_for_url("**/dashboard?done=welcome")
            assert page.locator(".stat .value").first.inner_text() == "$2.00"

            page.get_by_role("link", name="New key").click()
            page.fill("#f-name", "laptop")
            page.get_by_role("button", name="Make the key").click()
            key = page.locator("#new-key").inner_text()
            call = lambda: gateway.post("/v1/chat/completions", {
                "model": "sandbox/echo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}, key)[0]
            assert call() == 200

            page.get_by_role("navigation").get_by_role("link", name="Playground").click()
            page.select_option("#f-model", "sandbox/echo")
            answer = say(page, "Hello **world**")
            assert answer.locator("strong").inner_text() == "world", "Markdown, as it streams"
            assert "cost $0.0000" in answer.locator(".meta").inner_text()
            assert page.locator("#session-cost").inner_text().startswith("$0.0000")
            rid = until(lambda: played(gateway), "the record of the playground's call")["rid"]
            page.goto(f"{gateway.url}/usage")
            assert page.locator(f"td[title='{rid}']").is_visible(), "the row of the call"
            assert page.locator(".chart canvas").count() == 1, "and its chart"

            page.goto(f"{gateway.url}/keys")
            page.get_by_role("button", name="Revoke laptop").click()
            page.wait_for_url("**/keys?done=revoked")
            begun = time.monotonic()
            until(lambda: call() == 401, "the refusal of the revoked key", 3)
            assert time.monotonic() - begun < 3.5
            assert watched.wrong == []
        gateway.owner.close()
        gateway.check_books()
    finally:
        gateway.close()


def test_pictures_and_a_film_in_the_playground(shop):
    gateway, chromium, state = shop
    context = chromium.new_context(locale="en-US", storage_state=state)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(f"{gateway.url}/playground?model=sandbox/picture")
    page.select_option("#f-size", "1536x1024")
    page.select_option("#f-count", "2")
    assert page.locator("#estimate").inner_text() == "$0.06"
    answer = say(page, "A lighthouse")
    assert answer.locator("img").count() == 2 and "cost $0.06" in answer.locator(".meta").inner_text()
    until(lambda: page.evaluate("[...document.querySelectorAll('.results img')].every(one => one.naturalWidth === 1536)"),
          "the pictures themselves")
    page.goto(f"{gateway.url}/playground?model=sandbox/film")
    assert page.locator("#estimate").inner_text() == "$0.15"
    page.fill("#f-prompt", "Waves")
    page.click("#send")
    page.locator("progress").wait_for()
    page.locator(".said.theirs video").wait_for(timeout=120_000)
    until(lambda: page.evaluate("document.querySelector('video').duration") == 3, "a film of three seconds")
    assert "cost $0.15" in page.locator(".said.theirs .meta").inner_text()
    assert watched.wrong == []
    context.close()


def test_speech_in_the_playground(shop):
    gateway, chromium, state = shop
    context = chromium.new_context(locale="en-US", storage_state=state)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(f"{gateway.url}/playground?model=sandbox/voice")
    page.fill("#f-prompt", "Good morning, everybody.")
    assert page.locator("#estimate").inner_text() == "about $0.00036"
    page.click("#send")
    page.locator(".said.theirs audio").wait_for()
    until(lambda: page.evaluate("document.querySelector('audio').duration > 0"), "sound that plays")
    assert watched.wrong == []
    context.close()


def test_what_a_model_thinks_is_shown_apart(shop, upstream_process):
    gateway, chromium, state = shop
    base_url = upstream_process.at("thinker", "moonshot?reasoning=3")
    channel = {"provider": "vllm", "base_url": base_url, "wire_api": ["chat"], "models": {"acme/thinker": "thinker"}}
    pricing = {"input_per_mtok": "1", "output_per_mtok": "2"}
    for path, body in (("/channels/thinker", {"channel": channel}),
                       ("/models/acme%2Fthinker", {"model": {"slug": "acme/thinker", "pricing": pricing}})):
        assert gateway.owner.api("PUT", path, body | {"rev": 0}).status_code == 200
    context = chromium.new_context(locale="en-US", storage_state=state)
    page = context.new_page()
    page.goto(f"{gateway.url}/playground?model=acme/thinker")
    answer = say(page, "Think.")
    thought = answer.locator("details.thought").first
    thought.locator("summary", has_text="Thinking").click()
    words = thought.locator("div").inner_text()
    assert words.strip() and words not in answer.locator(".md").inner_text()
    context.close()


def test_a_conversation_can_be_stopped_and_begun_anew(shop):
    gateway, chromium, state = shop
    context = chromium.new_context(locale="en-US", storage_state=state)
    page = context.new_page()
    page.goto(f"{gateway.url}/playground?model=sandbox/echo")
    page.fill("#f-prompt", "Say something long.")
    page.click("#send")
    page.locator(".said.theirs .md", has_text="Hello").wait_for()
    page.click("#stop")
    page.get_by_text("Stopped.").wait_for()
    assert page.locator("#send").is_enabled()
    page.click("#clear")
    assert page.locator(".said").count() == 0
    answer = say(page, "Again")
    assert "Again" in answer.inner_text()
    context.close()


def test_an_ended_key_is_replaced_without_a_word(shop):
    """Another tab, or an hour, ends the page's key: the next message gets a new one."""
    gateway, chromium, state = shop
    context = chromium.new_context(locale="en-US", storage_state=state)
    one, two = context.new_page(), context.new_page()
    for page in (one, two):
        page.goto(f"{gateway.url}/playground?model=sandbox/echo")
        say(page, "First")
    acct = until(lambda: played(gateway), "the record of a call")["acct"]
    left = [key for key in gateway.owner.api("GET", f"/keys?acct={acct}").json()["keys"] if key["kid"].startswith("playground-")]
    assert len(left) == 1, "the second page's, which ended the first one's"
    assert "Second" in say(one, "Second").inner_text()
    assert "Third" in say(two, "Third").inner_text()
    context.close()


def test_nothing_that_a_model_or_a_person_writes_becomes_markup(shop):
    gateway, chromium, state = shop
    context = chromium.new_context(locale="en-US", storage_state=state)
    watched = Watched(context.new_page())
    page = watched.page
    for path in ("/models/acme/evil", "/models", "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"):
        page.goto(gateway.url + path)
        assert page.locator("main img, main script, main b").count() == 0, path
    page.goto(f"{gateway.url}/playground?model=sandbox/echo")
    for evil in EVIL:
        page.fill("#f-system", evil)
        say(page, evil)
    assert page.locator("#talk img, #talk script, #talk svg:not(.icon), #talk b, #talk iframe").count() == 0
    assert page.evaluate("[...document.querySelectorAll('#talk a')].filter(a => !/^(https?|mailto):/.test(a.href)).length") == 0
    page.goto(f"{gateway.url}/keys")
    for evil in EVIL[:4]:
        page.fill("#f-name", evil[:100])
        page.get_by_role("button", name="Make the key").click()
        page.locator("#new-key").wait_for()
        assert page.locator("tbody td").filter(has_text=evil[:12]).count() > 0
    assert watched.wrong == []
    context.close()


MARKDOWN = [
    ("# Title\n\nSome *words* and `code`", "<h1>Title</h1><p>Some <em>words</em> and <code>code</code></p>"),
    ("- one\n- two\n  - inner\n\n3. three", "<ul><li>one</li><li>two<ul><li>inner</li></ul></li></ul><ol start=\"3\"><li>three</li></ol>"),
    ("> quoted **text**", "<blockquote><p>quoted <strong>text</strong></p></blockquote>"),
    ("a | b\n--|--\n1 | 2", '<div class="scroll"><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table></div>'),
    ("snake_case_name and 2*3*4", "<p>snake_case_name and 2*3*4</p>"),
    ("[safe](https://example.com/a?b=1)", '<p><a href="https://example.com/a?b=1" rel="noopener noreferrer nofollow" target="_blank">safe</a></p>'),
    ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
    ("[x](javascript:alert(1))", "<p>x)</p>"),
    ("unclosed **bold and `code", "<p>unclosed **bold and `code</p>")]


def test_markdown_is_drawn_as_markdown(shop):
    gateway, chromium, state = shop
    context = chromium.new_context(storage_state=state)
    page = context.new_page()
    page.goto(f"{gateway.url}/playground")
    draw = "text => { const box = document.createElement('div'); box.append(window.markdown(text, {copy: '', copied: '', code: ''})); return box.innerHTML; }"
    assert [(text, page.evaluate(draw, text)) for text, _ in MARKDOWN] == MARKDOWN
    fence = page.evaluate(draw, "```python\nprint('<b>')\n```")
    assert "<code>print('&lt;b&gt;')</code>" in fence and "python" in fence
    context.close()


@pytest.mark.parametrize("language, theme, width", [("en-US", "light", 1280), ("zh-CN", "dark", 360)])
def test_every_page_is_usable(shop, language, theme, width):
    """No serious finding of axe, nothing wider than the screen, nothing in the browser's console."""
    gateway, chromium, state = shop
    wrong, axe = [], Axe()
    for paths, cookies in ((PUBLIC, None), (OWN, state)):
        context = chromium.new_context(locale=language, color_scheme=theme, storage_state=cookies,
                                       viewport={"width": width, "height": 780})
        watched = Watched(context.new_page())
        page = watched.page
        for path in paths:
            page.goto(gateway.url + path)
            found = [one for one in axe.run(page).response["violations"] if one["impact"] in SERIOUS]
            wrong += [f"{path}: {one['id']} {one['nodes'][0]['html'][:160]}" for one in found]
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{path}: wider than {width} px")
            assert page.evaluate("document.documentElement.lang") == ("zh-CN" if language == "zh-CN" else "en")
        wrong += watched.wrong
        context.close()
    assert wrong == []


def test_the_first_view_is_small(shop):
    """What a new visitor's browser loads, as it comes over the wire: headers and bodies, compressed."""
    gateway, chromium, state = shop
    for path, cookies in (("/", None), ("/models", None), ("/models/sandbox/echo", None), ("/playground", state),
                          ("/dashboard", state), ("/usage", state)):
        context = chromium.new_context(storage_state=cookies)
        page = context.new_page()
        network = context.new_cdp_session(page)
        sizes: list[int] = []
        network.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
        network.send("Network.enable")
        page.goto(gateway.url + path, wait_until="networkidle")
        assert len(sizes) >= 5 and sum(sizes) < FIRST_VIEW_BYTES, f"{path}: {sum(sizes):,.0f} bytes in {len(sizes)} files"
        context.close()


def test_the_keyboard_is_enough(shop):
    gateway, chromium, state = shop
    context = chromium.new_context(locale="en-US", storage_state=state)
    page = context.new_page()
    page.goto(f"{gateway.url}/models")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.locator("details.person summary").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="Sign out").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("button", name="Sign out").is_visible()
    context.close()


def test_the_words_of_the_page_are_data(shop):
    """What the server tells the script is JSON in an attribute, whatever the language."""
    gateway, chromium, state = shop
    context = chromium.new_context(locale="zh-CN", storage_state=state)
    page = context.new_page()
    page.goto(f"{gateway.url}/playground")
    assert json.loads(page.locator("#play").get_attribute("data-words"))["you"] == "您"
    context.close()
