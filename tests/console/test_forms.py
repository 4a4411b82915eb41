"""Forms that were refused: what somebody wrote is still there, and saving again overwrites nobody."""

import re

import pytest

from tests.console.kit import model


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def value(html: str, name: str) -> str:
    """What stands in a field."""
    tag = next(tag for tag in re.findall(r"<input [^>]*>", html) if f'name="{name}"' in tag)
    return re.search(r'value="([^"]*)"', tag)[1]


MODEL = {"type": "llm", "owned_by": "smartoken", "active": "1", "public": "1", "input_per_mtok": "0.28", "output_per_mtok": "0.42"}
CHANNEL = {"provider": "vllm", "base_url": "http://127.0.0.1:9", "wire_api": "openai.chat", "models": "lost-m", "active": "1"}
SHELF = {"active": "1", "order": "0"}
THING = {**SHELF, "category": "lost-shelf", "model": "m"}
# page: (where the API has it, its name there, a document, the form, a field with something refused in it, and one to change)
EDITED = {
    "models/lost": ("/models/lost", "model", model("lost"), MODEL, {"input_per_mtok": "dear"}, "title"),
    "channels/lost": ("/channels/lost", "channel", {"name": "lost", "provider": "vllm", "base_url": "http://127.0.0.1:9",
                      "wire_api": ["chat"], "models": {"lost-m": "lost-m"}}, CHANNEL, {"weight": "heavy"}, "proxy"),
    "storefront/categories/lost": ("/categories/lost", "category", {"slug": "lost", "title": "a"}, SHELF, {"order": "first"}, "title"),
    "storefront/listings/lost": ("/listings/lost", "listing", {"slug": "lost", "category": "lost-shelf", "model": "m", "title": "a"},
                                 THING, {"order": "first"}, "title"),
}
TEXT = {"title": "Mine", "proxy": "http://mine:1"}


@pytest.mark.parametrize("page", EDITED)
def test_saving_after_a_refusal_overwrites_nobody(owner, page):
    path, name, doc, form, wrong, field = EDITED[page]
    if name == "listing":
        ok(owner.api("PUT", "/categories/lost-shelf", {"category": {"slug": "lost-shelf", "title": "Shelf"}, "rev": 0}))
    ok(owner.api("PUT", path, {name: doc, "rev": 0}))
    mine, theirs = TEXT[field], TEXT[field].replace("ine", "ore")
    typed = {**form, field: mine, "rev": value(owner.page(f"/console/{page}"), "rev")}
    ok(owner.api("PUT", path, {name: {**doc, field: theirs}, "rev": 1}))
    refused = owner.form(f"/console/{page}", **{**typed, **wrong})
    assert refused.status_code == 400, refused.text
    assert (value(refused.text, "rev"), value(refused.text, field)) == ("1", mine)
    again = owner.form(f"/console/{page}", **{**typed, "rev": value(refused.text, "rev")})
    assert again.status_code == 409
    assert "there is another version now" in again.text and f'href="/console/{page}" target="_blank"' in again.text
    assert (value(again.text, "rev"), value(again.text, field)) == ("1", mine)
    assert ok(owner.api("GET", path))[field] == theirs
    assert value(owner.page(f"/console/{page}"), "rev") == "2"
    assert owner.form(f"/console/{page}", **{**typed, "rev": "2"}).status_code == 303
