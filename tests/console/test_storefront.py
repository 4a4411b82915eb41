"""The storefront by the admin API and by the console: written, shown to shops, hidden, removed."""

import json

from tests.console.kit import model
from tests.harness import until

SHOP = "/api/v1/storefront"


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def slugs(console, path):
    """What a shop sees, on whichever worker answers."""
    said = json.loads(console.get(f"{SHOP}/{path}")[2])    # a 404 until the worker that is asked knows the category
    return [row["slug"] for row in said.get("data", ())]


def test_shelves_are_written_shown_and_hidden(console, owner):
    ok(owner.api("PUT", "/models/sold", {"model": model("sold"), "rev": 0}))
    shelf = {"slug": "shelf", "title": "A shelf"}
    made = ok(owner.api("PUT", "/categories/shelf", {"category": shelf, "rev": 0}))
    assert (made["rev"], made["active"]) == (1, True)
    thing = {"slug": "thing", "category": "shelf", "model": "sold", "title": "A thing"}
    assert ok(owner.api("PUT", "/listings/thing", {"listing": thing, "rev": 0}))["created"] > 0
    until(lambda: "thing" in slugs(console, "listings") and "shelf" in slugs(console, "categories"), "the listing")
    assert [row["shown"] for row in ok(owner.api("GET", "/storefront"))["listings"] if row["slug"] == "thing"] == [True]
    assert owner.api("PUT", "/listings/thing", {"listing": thing, "rev": 0}).status_code == 409
    assert owner.api("PUT", "/listings/other", {"listing": thing, "rev": 0}).status_code == 400
    assert owner.api("PUT", "/listings/thing", {"listing": {**thing, "price": 1}, "rev": 1}).status_code == 400
    ok(owner.api("PUT", "/categories/shelf", {"category": {**shelf, "active": False}, "rev": 1}))
    until(lambda: "thing" not in slugs(console, "listings") and console.get(f"{SHOP}/listings/thing")[0] == 404, "its hiding")
    assert owner.api("DELETE", "/listings/thing").status_code == 204
    assert owner.api("DELETE", "/listings/thing").status_code == 404
    assert owner.api("DELETE", "/categories/shelf").status_code == 204
    said = [row["action"] for row in ok(owner.api("GET", "/audit"))["entries"]]
    assert {"categories.put", "listings.put", "listings.remove", "categories.remove"} <= set(said)


def test_the_console_writes_them_too(console, owner):
    ok(owner.api("PUT", "/models/paged", {"model": model("paged"), "rev": 0}))
    made = owner.form("/console/storefront/categories/new", slug="by-hand", title="By hand", order="3", active="1",
                      rev="0")
    assert made.status_code == 303, made.text
    owner.form("/console/storefront/listings/new", slug="hand-made", title="Hand made", category="by-hand",
               model="paged", order="0", active="1", tags="one, two", rev="0")
    until(lambda: slugs(console, "listings?category=by-hand") == ["hand-made"], "the listing")
    page = owner.page("/console/storefront")
    assert "Hand made" in page and "By hand" in page
    assert "one, two" in owner.page("/console/storefront/listings/hand-made")
    owner.form("/console/storefront/listings/hand-made", do="remove")
    owner.form("/console/storefront/categories/by-hand", do="remove")
    until(lambda: "by-hand" not in slugs(console, "categories"), "its end")
