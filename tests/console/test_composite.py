"""Members and rules of a composite model: as plain form posts, and in a real browser."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from smartoken.console import rules
from smartoken.domain.documents import CompositeDoc, RuleDoc
from smartoken.engine.composite import SCRIPTS
from tests.console.browser import Watched, browser
from tests.console.kit import model
from tests.harness import until

PAGE = "/console/models/{slug}/composite"
EMPTY = {"members": "m\nm2", "order": "listed", "max_rounds": "4", "max_seconds": "60"}


@pytest.fixture(scope="module")
def members(console):
    """Two models that can be members, and one that is to stand for them."""
    for slug in ("m2", "both", "clicked"):
        console.owner.api("PUT", f"/models/{slug}", {"model": model(slug), "rev": 0})
    names = {"provider": "vllm", "base_url": "http://127.0.0.1:9/v1", "wire_api": ["chat"], "models": {"m2": "x"}}
    assert console.owner.api("PUT", "/channels/second", {"channel": names, "rev": 0}).status_code == 200
    until(lambda: all(b'"clicked"' in console.get("/v1/models")[2] or
                      console.owner.api("GET", "/models/clicked").status_code == 200 for _ in range(8)), "the models")


def stored(owner, slug):
    return owner.api("GET", f"/models/{slug}").json()


def post(owner, slug, do="save", **fields):
    rev = stored(owner, slug)["rev"]
    return owner.form(PAGE.format(slug=slug), rev=str(rev), do=do, **{name.replace("__", "."): value
                                                                     for name, value in fields.items()})


def test_the_form_knows_every_field_of_the_documents():
    assert {field.name for field in rules.RULE} == set(RuleDoc.model_fields)
    assert {field.name for field in rules.WHOLE_MODEL} | {"rules"} == set(CompositeDoc.model_fields)
    assert set(rules.NAMES) == set(SCRIPTS) == set(rules.LANGUAGES)
    assert {field.kind for field in (*rules.RULE, *rules.WHOLE_MODEL)} == set(rules.KINDS)


def test_a_draft_is_what_was_stored():
    given = {"members": ["a", "b"], "order": "cheapest", "router": "r", "tools": ["search"], "max_rounds": 3,
             "max_seconds": 20, "max_cost": 1_500_000, "rules": [
                 {"reason": "why", "pick": ["b"], "order": "fastest", "tools": False, "images": True,
                  "min_input_tokens": 5, "max_input_tokens": 9, "languages": ["zh"], "keywords": ["law", "条款"],
                  "max_output_per_mtok": 0, "max_first_ms": 700}, {"reason": ""}]}
    doc, wrong = rules.checked(rules.draft_of(given), ["a", "b"], ["r"], ["search"])
    assert (doc, wrong) == (CompositeDoc.model_validate(given), {})


def test_rules_are_added_moved_and_stored_without_a_script(console, owner, members):
    page = post(owner, "both", "add", **EMPTY, rules="0").text
    assert 'id="rule-0"' in page and "Not saved yet." in page and stored(owner, "both").get("composite") is None
    first = {"r0__tools": "yes", "r0__pick": "m2", "r0__reason": "tools were brought along", "r0__order": "listed"}
    second = {"r1__languages": "zh", "r1__max_output_per_mtok": "0.5", "r1__order": "cheapest"}
    page = post(owner, "both", "down.0", **EMPTY, rules="2", **first, **second).text
    assert 'value="tools were brought along"' in page.partition('id="rule-1"')[2], "it moved down"
    done = post(owner, "both", "save", **EMPTY, rules="2", **first, **second)
    assert (done.status_code, done.headers["location"]) == (303, "/console/models/both/composite?done=saved")
    composite = stored(owner, "both")["composite"]
    assert composite["members"] == ["m", "m2"]
    assert [rule["reason"] for rule in composite["rules"]] == ["tools were brought along", ""]
    assert composite["rules"][0] | {"tools": True, "pick": ["m2"]} == composite["rules"][0]
    assert composite["rules"][1] | {"languages": ["zh"], "max_output_per_mtok": 500_000, "order": "cheapest"} == \
        composite["rules"][1]
    assert 'value="0.50"' in owner.page(PAGE.format(slug="both"))
    page = post(owner, "both", "remove.0", **EMPTY, rules="2", **first, **second).text
    assert 'id="rule-1"' not in page and "tools were brought along" not in page
    done = post(owner, "both", "plain", **EMPTY, rules="0")
    assert done.status_code == 303 and stored(owner, "both").get("composite") is None


@pytest.mark.parametrize(("fields", "beside"), [
    ({"members": "m\nnobody"}, "members"), ({"members": "both"}, "members"), ({"members": ""}, "members"),
    ({"max_rounds": "17"}, "max_rounds"), ({"max_seconds": "x"}, "max_seconds"), ({"max_cost": "much"}, "max_cost"),
    ({"router": "nobody"}, "router"), ({"tools": "nothing"}, "tools"), ({"order": "any"}, "order"),
    ({"r0__pick": "nobody"}, "r0.pick"), ({"r0__min_input_tokens": "-1"}, "r0.min_input_tokens"),
    ({"r0__max_output_per_mtok": "0.0000001"}, "r0.max_output_per_mtok"), ({"r0__languages": "xx"}, "r0.languages"),
    ({"r0__reason": "x" * 201}, "r0.reason"), ({"r0__keywords": "x" * 65}, "r0.keywords"),
    ({"r0__tools": "perhaps"}, "r0.tools")])
def test_what_is_wrong_stands_beside_its_field(console, owner, members, fields, beside):
    done = post(owner, "both", **EMPTY | {"rules": "1", "r0__order": "listed"} | fields)
    assert done.status_code == 400
    assert re.findall(r'class="wrong" id="e-f-([^"]+)"', done.text) == [beside]
    assert stored(owner, "both").get("composite") is None


def test_somebody_was_quicker(console, owner, members):
    done = owner.form(PAGE.format(slug="both"), rev="99", do="save", **EMPTY, rules="0")
    assert done.status_code == 409 and 'value="99"' in done.text


def test_in_a_browser(console, owner, members):
    with browser() as chromium:
        context = chromium.new_context(locale="en-US")
        context.add_cookies([{"name": "smartoken", "value": owner.http.cookies["smartoken"], "url": console.url}])
        watched = Watched(context.new_page())
        page = watched.page
        page.goto(f"{console.url}/console/models/clicked")
        page.click("text=Members and rules")
        page.fill("#f-members", "m\nm2")
        for at, reason in enumerate(("first", "second")):
            page.click("button:has-text('Add a rule')")
            page.fill(f"[name='r{at}.reason']", reason)
        page.select_option("[name='r1.images']", "yes")
        page.click("#rule-1 button:has-text('Up')")
        page.wait_for_url("**#rule-0")
        assert page.input_value("[name='r0.reason']") == "second" and page.input_value("[name='r0.images']") == "yes"
        page.fill("[name='r0.pick']", "nobody")
        page.press("[name='r0.pick']", "Enter")
        page.get_by_text("Only members, by their names.").wait_for()
        found = Axe().run(page).response["violations"]
        assert not [row["id"] for row in found if row["impact"] in ("serious", "critical")], found
        page.fill("[name='r0.pick']", "m2")
        page.click("button.primary:has-text('Save')")
        page.wait_for_url("**/composite?done=saved**")
        assert [line for line in watched.wrong if "400" not in line] == []
    kept = stored(owner, "clicked")["composite"]
    assert [rule["reason"] for rule in kept["rules"]] == ["second", "first"] and kept["rules"][0]["images"] is True
