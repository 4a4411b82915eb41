"""Forms that were refused: what somebody wrote is still there, and saving again overwrites nobody."""

import re

import pytest

from tests.console.kit import PASSWORD, Person, model
from tests.console.market_kit import Buyer
from tests.harness import until


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def tags(html: str, name: str) -> list[str]:
    return [tag for tag in re.findall(r"<(?:input|select) [^>]*>", html) if f'name="{name}"' in tag]


def value(html: str, name: str, at: int = 0) -> str:
    """What stands in a field, the `at`-th of this name."""
    return re.search(r'value="([^"]*)"', tags(html, name)[at])[1]


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


# page: (the fields of a form, one of them refused; which of several of a name this form's is, if not the first)
REFUSED = {
    "account topup": ("accounts/typed", {"do": "topup", "amount": "-3", "cause": "INV-7", "note": "by bank", "op": "the-op"}, {}),
    "account adjust": ("accounts/typed", {"do": "adjust", "amount": "-2.5", "note": "a mistake of ours", "op": "the-op",
                                          "below_zero": "1", "password": "not my password"}, {"amount": 1, "note": 1, "op": 1}),
    "account change": ("accounts/typed", {"do": "change", "name": "Other name", "rpm": "many", "tpm": "9", "overdraft": "1.25",
                                          "rev": "1"}, {"rev": 1}),
    "vouchers": ("vouchers", {"face": "free", "count": "3", "uses": "4", "models": "m, n", "until": "2031-01-02", "days": "5",
                              "note": "for a fair"}, {}),
    "new key": ("keys/new", {"acct": "nobody", "name": "app", "models": "m, n", "exp": "2031-01-02", "rpm": "7", "tpm": "8",
                             "show_cost": "1"}, {}),
    "key": ("keys/{kid}", {"name": "renamed", "models": "m, n", "exp": "2031-01-02", "rpm": "many", "tpm": "8", "show_cost": "1"}, {}),
    "people": ("people", {"do": "add", "name": "UP", "role": "billing", "acct": "acc-7", "password": "short"}, {"name": -2}),
    "refund": ("usage/{rid}", {"amount": "0.25", "note": "it was bad", "op": "the-op", "password": "not my password"}, {}),
}
TICKED = ("below_zero", "show_cost")


@pytest.fixture(scope="module")
def ids(console):
    """An account `typed`, a key of it, and a request that it paid for."""
    owner = console.owner
    ok(owner.api("POST", "/accounts", {"name": "Typed", "id": "typed"}), 201)
    ok(owner.api("POST", "/accounts/typed/topups", {"amount_u": "9", "op": "first"}))
    made = ok(owner.api("POST", "/keys", {"acct": "typed", "name": "first"}), 201)
    said = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    until(lambda: all(console.post("/v1/chat/completions", said, made["key"])[0] == 200 for _ in range(4)), "the key on both workers")
    rows = until(lambda: [row for row in ok(owner.api("GET", "/usage?acct=typed"))["rows"] if row["cost_p"] >= 10**6], "a record")
    return {"kid": made["kid"], "rid": rows[0]["rid"]}


@pytest.mark.parametrize("form", REFUSED)
def test_what_was_written_stands_in_a_refused_form(owner, ids, form):
    page, fields, places = REFUSED[form]
    again = owner.form("/console/" + page.format(**ids), **fields)
    assert 400 <= again.status_code < 500, again.text
    html = again.text
    kept = {name: value(html, name, places.get(name, 0)) for name in fields
            if name not in ("do", "password", "role", *TICKED)}
    assert kept == {name: text for name, text in fields.items() if name in kept}
    assert all(" checked" in tag for name in TICKED if name in fields for tag in tags(html, name))
    if "role" in fields:
        assert '<option value="billing" selected>' in html.partition('id="h-add"')[2]
    if "password" in fields:
        assert fields["password"] not in html, "a password is never given back"
    other = owner.page("/console/" + page.format(**ids))
    assert all(text not in other for name, text in fields.items() if len(text) > 4 and name not in ("do", "role"))


def test_a_buyers_key_that_was_refused_keeps_its_fields(market):
    buyer = Buyer(market, market.url).sign_up("typist")
    again = buyer.form("/keys", name="my app", live="90", rpm="lots", models="sandbox/echo")
    assert again.status_code == 400
    assert (value(again.text, "name"), value(again.text, "rpm")) == ("my app", "lots")
    assert '<option value="90" selected>' in again.text
    (box,) = [tag for tag in tags(again.text, "models") if 'value="sandbox/echo"' in tag]
    assert " checked" in box and "<details class=\"full\" open>" in again.text
    made = buyer.form("/keys", name="my app", live="90")
    assert made.status_code == 200 and value(made.text, "name") == "", "the next one begins empty"
    buyer.close()


def test_a_top_up_sent_again_after_a_refusal_is_booked_once(owner, ids):
    page = "/console/accounts/typed"
    before = ok(owner.api("GET", "/accounts/typed"))["balance_u"]
    op = value(owner.page(page), "op")
    refused = owner.form(page, do="topup", amount="-1", op=op)
    assert refused.status_code == 400 and value(refused.text, "op") == op
    for _ in range(2):
        assert owner.form(page, do="topup", amount="1", op=op).status_code == 303
    taken = owner.form(page, do="topup", amount="2", op=op)
    assert taken.status_code == 409 and value(taken.text, "op") != op, "that name is no use any more"
    assert ok(owner.api("GET", "/accounts/typed"))["balance_u"] == before + 1_000_000


def told(html: str) -> str:
    """What the page says went wrong."""
    return re.search(r'<div class="note bad" role="alert">.*?<p>(.*?)</p>', html, re.S)[1]


@pytest.fixture(scope="module")
def chinese(console):
    person = Person(console, Accept_Language="zh-CN").sign_in("ada")
    yield person
    person.close()


@pytest.mark.parametrize("form", REFUSED)
def test_a_refused_form_says_why_in_the_pages_language(chinese, ids, form):
    page, fields, _ = REFUSED[form]
    said = told(chinese.form("/console/" + page.format(**ids), **fields).text)
    assert re.search(r"[\u4e00-\u9fff]{2}", said) and not re.search(r"[A-Za-z]{2,} [a-z]+ [a-z]+", said), said


@pytest.mark.parametrize("page", EDITED)
def test_a_refused_editor_says_why_in_the_pages_language(chinese, page):
    form, wrong = EDITED[page][3:5]
    said = told(chinese.form(f"/console/{page.rpartition('/')[0]}/new", **form, slug="bad name", name="bad name", rev="0", **{
        name: text for name, text in wrong.items() if name not in form}).text)
    assert re.search(r"[\u4e00-\u9fff]{2}", said) and not re.search(r"[A-Za-z]{2,} [a-z]+ [a-z]+", said), said
    assert "[A-Za-z" not in said, "no regular expression"


def test_people_are_told_in_chinese(chinese, market):
    people = "/console/people"
    for fields, said in (({"do": "add", "name": "ada", "role": "owner", "password": PASSWORD}, "已有名为“ada”的人，请换一个名称。"),
                         ({"do": "role", "name": "ada", "role": "support"}, "这是最后一位在用的所有者，请先指定其他人为所有者。"),
                         ({"do": "add", "name": "x", "role": "user", "password": "short"}, "密码至少需要 10 个字符。")):
        assert told(chinese.form(people, **fields).text) == said
    visitor = Buyer(market, market.url, Accept_Language="zh-CN")
    names = {"password": PASSWORD, "again": PASSWORD}
    assert told(visitor.form("/sign-up", name="not a name", **names).text) == (
        "“name”：请填写小写字母、数字和 . _ @ + -，以字母或数字开头")
    visitor.close()
    late = [chinese.form("/console/sign-in", name="stranger", password="not it at all").text for _ in range(12)][-1]
    assert re.fullmatch("尝试过于频繁，请等待 [0-9]+ 秒。", told(late))
