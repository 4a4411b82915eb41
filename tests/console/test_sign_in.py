"""Signing in: the first run, sessions, what a change must bring, roles, the second factor, too many tries."""

import re
import stat
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import repeat

import pyotp
import pytest

from smartoken.conf import Conf
from smartoken.plugin import loader
from smartoken.web import admin
from tests.console.kit import PASSWORD, Person, hrefs
from tests.harness import Gateway, until

STEP_S = 30


def test_the_first_run(new_gateway):
    file = new_gateway.folder / "var" / "first-run-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    stranger = Person(new_gateway)
    assert stranger.http.get("/console").headers["location"] == "/console/sign-in"
    assert stranger.http.get("/console/sign-in").headers["location"] == "/console/welcome"
    fields = {"name": "ada", "password": PASSWORD, "again": PASSWORD}
    assert stranger.form("/console/welcome", token="x" * 32, **fields).status_code == 401
    assert stranger.form("/console/welcome", token=token, **{**fields, "again": "another one"}).status_code == 400
    assert stranger.form("/console/welcome", token=token,
                         **{**fields, "password": "short", "again": "short"}).status_code == 400
    owner = Person(new_gateway).first_owner()
    assert owner.api("GET", "/me").json()["role"] == "owner"
    assert not file.exists()
    assert stranger.form("/console/welcome", token=token, **{**fields, "name": "eve"}).status_code == 401, "used up"
    cookie = owner.http.cookies.jar
    assert [one.name for one in cookie if one.has_nonstandard_attr("HttpOnly")] == ["smartoken"]
    store = (new_gateway.folder / "var" / "smartoken.db").read_bytes()
    assert owner.http.cookies["smartoken"].encode() not in store, "a session is stored hashed"
    assert PASSWORD.encode() not in store


def test_what_an_answer_says_to_browsers(owner):
    for path in ("/console", "/console/usage", "/admin/api/me"):
        headers = owner.http.get(path).headers
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff", path
        assert headers["cache-control"] == "no-store"
    policy = owner.http.get("/console").headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy


def test_a_change_must_come_from_our_own_pages(console, owner):
    body = {"name": "Somebody"}
    assert owner.api("POST", "/accounts", body, X_CSRF_Token="wrong").json()["error"]["code"] == "csrf"
    assert owner.api("POST", "/accounts", body, Origin="https://evil.example").json()["error"]["code"] == "origin"
    assert owner.api("POST", "/accounts", body, Origin="null").json()["error"]["code"] == "origin"
    bare = owner.http.post("/admin/api/accounts", json=body, headers={"Sec-Fetch-Site": "cross-site",
                                                                      "X-CSRF-Token": owner.csrf})
    assert bare.json()["error"]["code"] == "origin"
    form = owner.http.post("/console/accounts", data={"name": "x"}, headers={"Origin": console.url})
    assert form.status_code == 403
    assert owner.api("POST", "/accounts", body).status_code == 201
    assert owner.http.post("/console/sign-in", data={"name": "ada", "password": PASSWORD},
                           headers={"Origin": "https://evil.example"}).status_code == 403, "no other site signs in"


def test_sessions_end(console, owner):
    one, other = Person(console).sign_in("ada"), Person(console).sign_in("ada")
    found = one.api("GET", "/me/sessions").json()["sessions"]
    here = next(row for row in found if row["here"])
    assert other.api("DELETE", f"/me/sessions/{here['id']}").status_code == 204
    assert one.api("GET", "/me").status_code == 401
    assert one.http.get("/console/usage").headers["location"] == "/console/sign-in?next=%2Fconsole%2Fusage"
    kept = other.http.cookies["smartoken"]
    assert other.form("/console/sign-out").headers["location"] == "/console/sign-in?done=signed-out"
    other.http.cookies.set("smartoken", kept)
    assert other.api("GET", "/me").status_code == 401, "ended in the store, not only in the browser"
    assert owner.api("GET", "/me").status_code == 200


@pytest.mark.parametrize("where", ["//evil.example/x", "https://evil.example", "/console\\@evil",
                                   "/console/../x\\"])
def test_nobody_is_sent_to_another_site(console, where):
    done = Person(console).form("/console/sign-in", name="ada", password=PASSWORD, next=where)
    assert done.headers["location"].startswith("/console") and "evil" not in done.headers["location"]


def test_a_wrong_password_and_too_many(new_gateway):
    Person(new_gateway).first_owner()
    stranger = Person(new_gateway)
    wrong = stranger.form("/console/sign-in", name="ada", password="not it at all")
    nobody = stranger.form("/console/sign-in", name="nobody", password="not it at all")
    assert wrong.status_code == nobody.status_code == 401
    assert "Name or password is wrong." in wrong.text and "Name or password is wrong." in nobody.text
    codes = [stranger.form("/console/sign-in", name="ada", password="not it at all").status_code for _ in range(12)]
    assert codes[-1] == 429
    late = stranger.form("/console/sign-in", name="ada", password=PASSWORD)
    assert late.status_code == 429 and int(late.headers["retry-after"]) > 0, "the right one has to wait, too"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    """A gateway behind a proxy, so that people come from where they say; `at(where)` is somebody there."""
    gateway = Gateway(tmp_path_factory.mktemp("proxied"), server='trusted_proxies = ["127.0.0.1"]\n')
    gateway.start()
    gateway.at = lambda where: Person(gateway, X_Forwarded_For=where)
    gateway.at("192.0.2.1").first_owner()
    yield gateway
    gateway.close()


def guess(people: Iterable[Person], name: str = "ada") -> int:
    """How many wrong tries of people one after the other it takes until one is refused."""
    for number, person in enumerate(people):
        if person.form("/console/sign-in", name=name, password="not it at all").status_code == 429:
            return number
    raise AssertionError("nobody was slowed down")


def test_a_stranger_locks_nobody_out(proxied):
    owner = proxied.at("192.0.2.1").sign_in("ada")
    acct = owner.api("POST", "/accounts", {"name": "x"}).json()["id"]
    stranger = proxied.at("203.0.113.5")
    assert 10 <= guess(repeat(stranger, 40)) < 40
    assert stranger.form("/console/sign-in", name="ada", password=PASSWORD).status_code == 429, "guessing does not pay"
    assert proxied.at("192.0.2.2").sign_in("ada").api("GET", "/me").status_code == 200
    money = {"amount_u": 5, "op": "a-1", "note": "a test", "password": PASSWORD}
    assert owner.api("POST", f"/accounts/{acct}/adjustments", money).status_code == 200

    # One's own wrong tries count for one's own session.
    other = proxied.at("192.0.2.1").sign_in("ada")
    proofs = [other.api("POST", "/me/proof", {"password": "not it at all"}).status_code for _ in range(20)]
    assert proofs[:10] == [401] * 10 and 429 in proofs
    assert other.api("POST", f"/accounts/{acct}/adjustments", {**money, "op": "a-2"}).status_code == 429
    assert owner.api("POST", f"/accounts/{acct}/adjustments", {**money, "op": "a-2"}).status_code == 200


def test_a_crowd_does_not_guess_a_password_either(proxied):
    lines = [proxied.at(f"2001:db8:7:7::{number:x}") for number in range(1, 41)]
    assert 10 <= guess(lines, "nobody") < 40, "one line has many addresses of IPv6"
    crowd = [proxied.at(f"198.51.100.{number}") for number in range(1, 41)]
    assert 100 <= guess((person for person in crowd for _ in range(10)), "bob")


def test_the_second_factor(new_gateway):
    owner = Person(new_gateway).first_owner()
    offer = owner.api("GET", "/me/second-factor").json()
    totp = pyotp.TOTP(offer["secret"])
    assert offer["uri"].startswith("otpauth://totp/Smartoken:ada") and not offer["on"]
    body = {"secret": offer["secret"], "password": PASSWORD}
    assert owner.api("PUT", "/me/second-factor", {**body, "code": "000"}).json()["error"]["code"] == "totp"
    first = totp.now()
    assert owner.api("PUT", "/me/second-factor", {**body, "code": first, "password": "wrong one!"}).status_code == 401
    assert owner.api("PUT", "/me/second-factor", {**body, "code": first}).status_code == 204
    assert offer["secret"].encode() not in (new_gateway.folder / "var" / "smartoken.db").read_bytes()
    stranger = Person(new_gateway)
    for code in ("", "123", first):
        said = stranger.form("/console/sign-in", name="ada", password=PASSWORD, code=code)
        assert said.status_code == 401, f"{code!r}: missing, wrong or used before"
    ahead = totp.at(int(time.time()) + STEP_S)
    assert stranger.form("/console/sign-in", name="ada", password=PASSWORD, code=ahead).status_code == 303
    assert stranger.form("/console/sign-in", name="ada", password=PASSWORD, code=ahead).status_code == 401


# role: (may, may not), as (method, path, body)
TOPUP = ("POST", "/accounts/{acct}/topups", {"amount_u": 1, "op": "t"})
LEND = [("POST", "/accounts", {"name": "Lent", "overdraft_u": "1000"}),
        ("PATCH", "/accounts/{acct}", {"rev": 1, "overdraft_u": "1000"})]
PUT_MODEL = ("PUT", "/models/r",
             {"model": {"slug": "r", "pricing": {"input_per_mtok": 1, "output_per_mtok": 1}}, "rev": 0})
ROLES = {
    "admin": ([("GET", "/audit", None), ("GET", "/usage", None), PUT_MODEL], [TOPUP, *LEND, ("GET", "/people", None)]),
    "billing": ([TOPUP, ("GET", "/accounts/{acct}/books", None)], [PUT_MODEL, ("GET", "/audit", None),
                                                                  ("POST", "/keys", {"acct": "x"})]),
    "support": ([("GET", "/usage", None), ("GET", "/accounts/{acct}", None)],
                [TOPUP, PUT_MODEL, ("GET", "/accounts/{acct}/books", None), ("GET", "/audit", None)]),
    "user": ([("GET", "/me", None)], [("GET", "/usage", None), ("GET", "/models", None), ("GET", "/accounts", None)]),
}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_what_a_role_may(console, owner, role):
    acct = owner.api("POST", "/accounts", {"name": f"For {role}"}).json()["id"]
    made = owner.api("POST", "/people", {"name": f"a-{role}", "role": role, "password": PASSWORD})
    assert made.status_code == 201, made.text
    person = Person(console).sign_in(f"a-{role}")
    may, may_not = ROLES[role]
    for method, path, body in may:
        assert person.api(method, path.format(acct=acct), body).status_code == 200, (role, path)
    for method, path, body in may_not:
        said = person.api(method, path.format(acct=acct), body)
        assert (said.status_code, said.json()["error"]["code"]) == (403, "role"), (role, path)


def test_who_may_not_see_money_sees_none(console, owner):
    acct = owner.api("POST", "/accounts", {"name": "Rich"}).json()["id"]
    owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": 77_123_456, "op": "rich-1"})
    key = owner.api("POST", "/keys", {"acct": acct}).json()["key"]
    status, headers, _ = console.post("/v1/chat/completions", {"model": "m", "messages": [
        {"role": "user", "content": "hi"}], "max_tokens": 4}, key)
    assert status == 200
    console.record(headers["x-request-id"])
    owner.api("POST", "/people", {"name": "blind", "role": "support", "password": PASSWORD})
    person = Person(console).sign_in("blind")
    rows = person.api("GET", f"/usage?acct={acct}").json()["rows"]
    assert rows and not {"cost_p", "split", "upstream_p"} & set(rows[0])
    assert not any("cost_p" in attempt for attempt in rows[0]["attempts"])
    assert "cost_p" not in person.api("GET", "/usage/sums?by=model").json()["sums"][0]
    assert not {"balance_u", "charged_p", "overdraft_u"} & set(person.api("GET", f"/accounts/{acct}").json())
    assert "cost_p" not in person.http.get("/admin/api/usage/export").text.splitlines()[0]
    for path in ("/console", "/console/usage", f"/console/accounts/{acct}", "/console/accounts",
                 f"/console/usage/{headers['x-request-id']}"):
        shown = person.page(path)
        assert "77.12" not in shown and "$0.0" not in shown and "Balance" not in shown, path


def test_no_place_tells_money_to_who_may_not_see_it(console, owner):
    """Every GET operation, and every page that a page leads to, once somebody has paid, owes, and a channel costs."""
    made = owner.api("POST", "/accounts", {"name": "Deep in debt"}).json()["id"]
    for op, amount_u in (("debt-1", 61_345_678), ("debt-2", -64_567_899)):
        moved = owner.api("POST", f"/accounts/{made}/adjustments", {
            "amount_u": amount_u, "op": op, "note": "a test", "below_zero": True, "password": PASSWORD})
        assert moved.status_code == 200, moved.text
    channel = {"provider": "vllm", "base_url": "http://127.0.0.1:9/v1", "models": {"far": "x"},
               "costs": {"far": {"input_per_mtok": "51.234567", "output_per_mtok": "52.345678"}}}
    assert owner.api("PUT", "/channels/costly", {"channel": channel, "rev": 0}).status_code == 200
    assert owner.api("POST", "/system/reconcile").status_code == 202
    checked = until(lambda: (page := owner.api("GET", "/system").json())["reconcile"] and not page["reconciling"]
                    and "3.222221" in str(page["reconcile"]) and page["reconcile"], "the finding about who owes")
    money = ["61345678", "61.345678", "61.34", "64567899", "64.56", "-3222221", "3.222221", "3.22", "51234567",
             "51.234567", "52345678", "52.345678", *(f'"{name}"' for name in ("charged_p", "balance_u", "upstream_p"))]
    known = {"id": made, "name": "costly", "slug": "m"}
    said = {path: owner.api("GET", path).text for path in ("/system", "/channels", f"/accounts/{made}")}
    assert all(any(amount in text for amount in money) for text in said.values()), "there is something to hide"
    owner.api("POST", "/people", {"name": "sightless", "role": "support", "password": PASSWORD})
    person = Person(console).sign_in("sightless")
    seen = 0
    for one in admin.operations(loader.load(Conf()).registry):
        path = one.path.format_map(defaultdict(lambda: "none", known))
        if one.method != "GET":
            continue
        answer = person.api("GET", path)
        assert answer.status_code in (200, 403, 404), path
        seen += answer.status_code == 200
        assert not [amount for amount in money if amount in answer.text], path
    assert seen >= 15
    assert checked["charged_p"] not in person.api("GET", "/system").text
    money, todo, walked = money[:-3], ["/console", f"/console/accounts/{made}"], set()
    while todo:
        walked.add(path := todo.pop(0))
        got = person.http.get(path)
        assert got.status_code in (200, 303, 403, 404), path
        assert not [amount for amount in money if amount in got.text], path
        if got.status_code == 200 and "text/html" in got.headers["content-type"]:
            found = {link.partition("?")[0] for link in hrefs(got.text)}
            todo += sorted(found - walked - set(todo))[:200 - len(walked)]
    assert {"/console/system", "/console/channels/costly", "/console/usage", "/console/models/m"} <= walked
    owner.api("DELETE", "/channels/costly")
    owner.api("POST", f"/accounts/{made}/adjustments", {"amount_u": 3_222_221, "op": "debt-3", "note": "the end",
                                                       "password": PASSWORD})


def test_everybody_is_on_some_page(new_gateway):
    owner = Person(new_gateway).first_owner("zoe")
    for number in range(61):
        role = "billing" if number % 20 == 0 else "user"
        made = owner.api("POST", "/people", {"name": f"p-{number:02}", "role": role, "password": PASSWORD})
        assert made.status_code == 201, made.text
    everybody = [*(f"p-{number:02}" for number in range(61)), "zoe"]
    first = owner.api("GET", "/people").json()
    rest = owner.api("GET", f"/people?after={first['next']}").json()
    assert len(first["people"]) == 50 and rest["next"] == ""
    assert [one["name"] for one in (*first["people"], *rest["people"])] == everybody
    assert rest["people"][-1]["sessions"] == 1 and not any(one["sessions"] for one in first["people"])
    for query, found in (("q=p-0", everybody[:10]), ("q=P-07", ["p-07"]), ("q=zoe", ["zoe"]), ("q=q", []),
                         ("role=billing", everybody[:61:20]), ("role=billing&q=p-2", ["p-20"]), ("role=owner&q=p", []),
                         ("q=p&after=p-57", everybody[58:61]), ("q=p-60&after=p-60", [])):
        page = owner.api("GET", f"/people?{query}").json()
        assert ([one["name"] for one in page["people"]], page["next"]) == (found, ""), query
    assert owner.api("GET", "/people?role=nobody").status_code == 400

    page = owner.page("/console/people?q=p-")
    more = re.search(r'<a class="button" href="([^"]+)">More people', page)[1].replace("&amp;", "&")
    assert page.count('value="end"') == 50 and "p-60" not in page and "p-60" in owner.page(more)
    assert "zoe" not in re.findall(r"<strong>([^<]+)</strong>", owner.page(more))
    done = owner.form("/console/people?q=p-6&only=billing", do="role", name="p-60", role="support")
    assert done.status_code == 303 and done.headers["location"] == "/console/people?q=p-6&only=billing&done=saved"
    assert [one["role"] for one in owner.api("GET", "/people?q=p-60").json()["people"]] == ["support"]
    owner.close()


def test_a_person_is_changed_whole_or_not_at_all(console, owner):
    owner.api("POST", "/people", {"name": "climber", "role": "support", "password": PASSWORD})
    climber, other = Person(console).sign_in("climber"), "another correct horse"

    def written() -> list[dict]:
        return [one for one in owner.api("GET", "/audit").json()["entries"]
                if (one["action"], one["target"]) == ("people.change", "people/climber")]

    for half in ({"role": "owner", "password": "short"}, {"active": False, "password": "short"}):
        said = owner.api("PATCH", "/people/climber", half)
        assert (said.status_code, said.json()["error"]["code"]) == (400, "password")
        assert climber.api("GET", "/me").json()["role"] == "support" and not written()
    changed = owner.api("PATCH", "/people/climber", {"role": "admin", "password": other})
    assert (changed.status_code, changed.json()["role"]) == (200, "admin")
    assert climber.api("GET", "/me").status_code == 401, "every session ends with the password"
    (entry,) = written()
    assert (entry["before"], entry["after"], entry["note"]) == ({"role": "support"}, {"role": "admin"}, "new password")
    assert Person(console).sign_in("climber", other).api("GET", "/me").json()["role"] == "admin"


def test_the_last_owner_stays(console, owner):
    said = owner.api("PATCH", "/people/ada", {"role": "support"})
    assert said.status_code == 400 and "last active owner" in said.json()["error"]["message"]
    owner.api("POST", "/people", {"name": "heir", "role": "owner", "password": PASSWORD})
    heir = Person(console).sign_in("heir")
    assert owner.api("PATCH", "/people/heir", {"active": False}).status_code == 200
    assert heir.api("GET", "/me").status_code == 401, "whoever is switched off is out at once"
