"""Two thousand models, and more accounts and keys than a page holds: pages stay small, and everything can be reached."""

import html
import re

import pytest

from tests.console.browser import Watched, browser
from tests.console.kit import Person
from tests.console.market_kit import CHAT, SIGN_UP, Buyer, table
from tests.harness import Gateway, until

MODELS, MOST_BYTES, MOST_NAMED = 2000, 200_000, 500
MODELS_OF = re.compile(r"many/m\d{4}")
SITE = ("/models", "/playground", "/playground?model=many/m1999", "/keys", "/usage", "/dashboard")
CONSOLE = ("/console", "/console/models", "/console/models?q=many", "/console/models/many%2Fm0001",
           "/console/models/many%2Fm0001/composite", "/console/channels", "/console/channels/sandbox",
           "/console/storefront/listings/new", "/console/vouchers", "/console/keys/new", "/console/usage", "/console/audit")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A gateway that sells MODELS models, all by the sandbox; its owner in `owner`, a buyer in `buyer`."""
    gateway = Gateway(tmp_path_factory.mktemp("many"), conf=SIGN_UP)
    gateway.apply(*(table(f"many/m{n:04}", "llm", CHAT, title=f"Number {n}") for n in range(MODELS)),
                  '[[channels]]\nname = "sandbox"\nprovider = "sandbox"\nwire_api = ["chat"]\n')
    gateway.start()
    gateway.owner = Person(gateway).first_owner()
    gateway.buyer = Buyer(gateway, gateway.url).sign_up("grace")
    yield gateway
    gateway.owner.close()
    gateway.buyer.close()
    gateway.close()


def items(page: str, inside: str) -> list[str]:
    """The names of accounts or keys that a page links to, once each."""
    return list(dict.fromkeys(re.findall(rf'href="/console/{inside}/([^"/?#]+)"', page)))


def after(page: str, label: str) -> str | None:
    """Where the link to the next page leads."""
    found = re.search(rf'<a class="button" href="([^"]+)">{label}', page)
    return html.unescape(found[1]) if found else None


@pytest.mark.parametrize("path", [*SITE, *CONSOLE])
def test_a_page_names_a_part_of_the_models(many, path):
    page = (many.owner if path.startswith("/console") else many.buyer).page(path)
    assert len(page.encode()) < MOST_BYTES, len(page.encode())
    assert len(set(MODELS_OF.findall(page))) <= MOST_NAMED


def test_every_model_is_on_some_page_of_the_list(many):
    seen, where = [], "/console/models?q=number"
    while where:
        page = many.owner.page(where)
        seen += items(page, "models")
        where = after(page, "More models")
    assert [slug for slug in seen if slug != "new"] == [f"many%2Fm{n:04}" for n in range(MODELS)]


def test_the_playground_finds_a_model_that_it_does_not_list(many):
    with browser() as chromium:
        context = chromium.new_context(locale="en-US")
        watched = Watched(context.new_page())
        page = watched.page
        page.goto(f"{many.url}/playground")
        assert page.locator("#f-model option").count() == 100
        page.locator("#f-find").press_sequentially("number 1987")
        page.locator("#f-model option[value='many/m1987']").wait_for(state="attached")
        assert page.input_value("#f-model") == "many/m1987"
        until(lambda: page.locator("#model-slug").inner_text() == "many/m1987", "its price beside it")
        page.locator("#f-find").fill("number 198")
        page.locator("#f-model option[value='many/m1980']").wait_for(state="attached")
        page.select_option("#f-model", "many/m1981")
        with page.expect_response("**/playground?**"):
            page.locator("#f-find").fill("nothing is called so")
        until(lambda: page.locator("#f-model option").count() == 1, "no other")
        assert page.input_value("#f-model") == "many/m1981"
        page.goto(f"{many.url}/playground?model=many/m1999")
        assert page.input_value("#f-model") == "many/m1999" and page.locator("#model-slug").inner_text() == "many/m1999"
        assert watched.wrong == []


def test_a_key_for_some_of_many_models(many):
    refused = many.buyer.form("/keys", name="slip", models="many/m0001, many/m9999")
    assert refused.status_code == 404 and "There is no model &#x27;many/m9999&#x27;." in refused.text.replace("&#39;", "&#x27;")
    assert many.buyer.form("/keys", name="good", models="many/m0001, many/m1999").status_code == 200
    rows = many.owner.api("GET", "/keys").json()["keys"]
    assert [row["models"] for row in rows if row["name"] in ("slip", "good")] == [["many/m0001", "many/m1999"]]


def test_a_search_of_accounts_and_an_accounts_keys_go_on(many):
    for n in range(61):
        assert many.owner.api("POST", "/accounts", {"name": f"Needle {n}", "id": f"hay-{n:02}"}).status_code == 201
        assert many.owner.api("POST", "/keys", {"acct": "hay-00", "name": f"key {n}"}).status_code == 201
    seen, where = [], "/console/accounts?q=needle"
    while where:
        page = many.owner.page(where)
        seen += items(page, "accounts")
        where = after(page, "More accounts")
    assert seen == [f"hay-{n:02}" for n in range(61)]

    page = many.owner.page("/console/accounts/hay-00")
    first = set(items(page, "keys"))
    page = many.owner.page(after(page, "More keys"))
    rest = set(items(page, "keys")) - {"new"}
    assert (len(first - {"new"}), len(rest), len(first & rest)) == (50, 11, 0) and after(page, "More keys") is None
    assert set(items(page, "accounts")) == {"hay-00"}
    narrowed = many.owner.page("/console/keys?acct=hay-00")
    assert after(narrowed, "More keys").startswith("/console/keys?acct=hay-00&after=")
    assert items(many.owner.page("/console/keys?acct=hay-01"), "keys") == []
