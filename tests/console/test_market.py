"""The market, the sign-up, one's own pages and the playground's key, over real sockets and without a browser."""

import json
import re

import httpx
import pytest

from smartoken.console.measured import Record, first_ms
from tests.console.kit import PASSWORD, Person
from tests.console.market_kit import EVIL, Buyer
from tests.harness import until

SAY = [{"role": "user", "content": "Hello"}]
PUBLIC = ("/", "/models", "/models?view=table", "/models/sandbox/echo", "/models/sandbox/film", "/models/sandbox/picture",
          "/models/acme/vector", "/models/acme/evil", "/playground", "/sign-in", "/sign-up")
OWN = ("/dashboard", "/keys", "/usage", "/account", "/vouchers", "/password", "/playground", "/playground?mode=images",
       "/playground?mode=videos", "/playground?mode=speech")
_ids = iter(range(10_000))


@pytest.fixture
def buyer(market):
    """Somebody new; sign-ups of one address are counted by the minute, so the owner makes them."""
    name = f"buyer-{next(_ids)}"
    acct = market.owner.api("POST", "/accounts", {"name": name}).json()["id"]
    market.run("account", "topup", acct, "5")
    made = market.owner.api("POST", "/people", {"name": name, "role": "user", "password": PASSWORD, "acct": acct})
    assert made.status_code == 201, made.text
    buyer = Buyer(market).sign_in(name)
    buyer.acct = acct
    yield buyer
    buyer.close()


def names(page: str) -> list[str]:
    """Slugs of the cards or rows, in order."""
    return [slug for slug in re.findall(r'<(?:h3|td)><a(?: class="strong")? href="/models/([^"]+)"', page)]


def call(market, key: str, model: str = "sandbox/echo") -> tuple[int, dict, bytes]:
    return market.post("/v1/chat/completions", {"model": model, "messages": SAY, "max_tokens": 5}, key)


# ---------------------------------------------------------------------------------------------------------- the market


@pytest.mark.parametrize("query, found", [
    ("", ["acme/evil", "sandbox/echo", "sandbox/film", "acme/opus", "sandbox/picture", "sandbox/voice",
          "acme/vector"]),
    ("q=ECHO+says", ["sandbox/echo"]), ("q=nothing+like+it", []), ("type=text2video", ["sandbox/film"]),
    ("owner=acme", ["acme/opus", "acme/vector"]), ("type=llm&price=500000", ["acme/evil", "sandbox/echo"]),
    ("context=200000", ["acme/opus"]), ("sort=price&type=llm", ["acme/evil", "sandbox/echo", "acme/opus"]),
    ("sort=context&type=llm", ["acme/opus", "sandbox/echo", "acme/evil"]),
    ("view=table&owner=acme", ["acme/opus", "acme/vector"]), ("price=x&context=-1&sort=?&page=99", None)])
def test_the_market_finds_what_is_asked_for(market, query, found):
    page = httpx.get(f"{market.url}/models?{query}").text
    everything = names(httpx.get(f"{market.url}/models").text)
    assert len(everything) == 7 and "acme/hidden" not in everything
    assert sorted(names(page)) == sorted(everything) if found is None else sorted(names(page)) == sorted(found)
    if "sort" in query and found:
        assert names(page) == found


def test_htmx_gets_the_part_that_changes(market):
    part = httpx.get(f"{market.url}/models?q=echo", headers={"HX-Request": "true", "HX-Target": "found"}).text
    assert names(part) == ["sandbox/echo"] and "<html" not in part


def test_a_models_page_says_all_that_it_is_sold_with(market):
    chat = httpx.get(f"{market.url}/models/sandbox/echo").text
    for said in ("$0.28", "$0.42", "$0.028", "128,000 tokens", "8,192 tokens", "1,000 in + 1,000 out costs $0.0007", "600"):
        assert said in chat, said
    film = httpx.get(f"{market.url}/models/sandbox/film").text
    for said in ("720P", "1080P", "$0.05", "$0.10", "$0.15", "$1.00", "16:9", "3 s", "10 s"):
        assert said in film, said
    picture = httpx.get(f"{market.url}/models/sandbox/picture").text
    for said in ("1024x1024", "1536x1024", "$0.02", "$0.03"):
        assert said in picture, said
    assert "Nothing serves this model" in httpx.get(f"{market.url}/models/acme/opus").text
    missing = httpx.get(f"{market.url}/models/acme/hidden")
    assert missing.status_code == 404 and "There is no such model." in missing.text


def test_the_curl_of_a_models_page_runs_as_it_stands(market, buyer):
    page = httpx.get(f"{market.url}/models/sandbox/echo").text
    text = re.search(r'id="text-0">(.*?)</code>', page, re.S)[1].replace("&quot;", '"').replace("&#x27;", "'")
    assert f"{market.url}/v1/chat/completions" in text
    body = json.loads(re.search(r"-d '(.*)'", text, re.S)[1])
    status, _, answer = market.post("/v1/chat/completions", body, buyer.new_key())
    assert status == 200 and b"data: [DONE]" in answer


def test_the_python_and_node_examples_are_programs(market):
    for slug in ("sandbox/echo", "sandbox/picture", "sandbox/film", "sandbox/voice", "acme/vector"):
        page = httpx.get(f"{market.url}/models/{slug}").text
        python = re.search(r'id="text-1">(.*?)</code>', page, re.S)[1].replace("&quot;", '"').replace("&#x27;", "'")
        compile(python, slug, "exec")
        assert slug in re.search(r'id="text-2">(.*?)</code>', page, re.S)[1]


@pytest.mark.parametrize("path", PUBLIC)
def test_every_public_page_is_strict(market, path):
    got = httpx.get(market.url + path, follow_redirects=True)
    assert got.status_code == 200 and got.headers["x-content-type-options"] == "nosniff"
    strict(got)
    for evil in EVIL[:3]:
        assert evil not in got.text
    assert str(7 * 191) not in got.text


def strict(got: httpx.Response) -> None:
    """The page runs nothing of its own and fetches nothing of others."""
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+\s*=\s*[\"']", got.text)
    assert not re.findall(r'(?:src|href)="(https?:)?//(?!127\.0\.0\.1)', got.text)


def test_what_was_measured_is_told_honestly():
    assert Record().uptime == "" and Record(calls=10).uptime == "100 %"
    assert Record(calls=30_000, failed=1).uptime == "99.99 %", "never rounded up to a hundred"
    nodes = [{"up": True, "health": [{"model": "m", "first_ms": 90}, {"model": "m", "first_ms": 40}, {"model": "x", "first_ms": 0}]},
             {"up": False, "health": [{"model": "m", "first_ms": 1}]}]
    assert first_ms(nodes) == {"m": 40}


# --------------------------------------------------------------------------------------------------------- the sign-up


def test_sign_up_makes_a_person_an_account_and_its_credit(market):
    buyer = Buyer(market).sign_up("grace")
    page = buyer.page("/dashboard?done=welcome")
    assert "$2.00" in page and "Welcome. Create a key" in page
    taken = Buyer(market).form("/sign-up", name="grace", password=PASSWORD, again=PASSWORD)
    assert taken.status_code == 409 and "somebody called" in taken.text
    assert len([one for one in json.loads(market.run("account", "list", "--json")) if one["name"] == "grace"]) == 1
    differ = Buyer(market).form("/sign-up", name="hopper", password=PASSWORD, again=PASSWORD + "x")
    assert differ.status_code == 400 and "differ" in differ.text
    foreign = httpx.post(f"{market.url}/sign-up", data={"name": "mallory", "password": PASSWORD, "again": PASSWORD},
                         headers={"Origin": "https://evil.invalid"})
    assert foreign.status_code == 403
    buyer.close()


def test_sign_up_is_closed_unless_the_operator_opens_it(console):
    assert "Sign-up is closed here" in httpx.get(f"{console.url}/sign-up").text
    assert Buyer(console).form("/sign-up", name="grace", password=PASSWORD, again=PASSWORD).status_code == 403
    assert 'href="/sign-up"' not in httpx.get(f"{console.url}/models").text


def test_nobody_signs_up_before_there_is_an_owner(tmp_path):
    from tests.console.market_kit import SIGN_UP
    from tests.harness import Gateway
    gateway = Gateway(tmp_path, conf=SIGN_UP)
    gateway.start()
    try:
        assert Buyer(gateway).form("/sign-up", name="early", password=PASSWORD, again=PASSWORD).status_code == 403
        Person(gateway).first_owner().close()
    finally:
        gateway.close()


@pytest.mark.parametrize("next_url, where", [
    ("/keys", "/keys"), ("/playground?model=sandbox/echo", "/playground?model=sandbox/echo"), ("https://evil.invalid/", "/dashboard"),
    ("//evil.invalid", "/dashboard"), ("/\\evil.invalid", "/dashboard"), ("/\t/evil.invalid", "/dashboard"),
    ("javascript:alert(1)", "/dashboard"), ("/console", "/dashboard")])
def test_the_sign_in_leads_to_pages_of_ours_only(market, buyer, next_url, where):
    name = re.search(r'class="name">([^<]+)', buyer.page("/keys"))[1]
    again = Buyer(market)
    done = again.form("/sign-in", name=name, password=PASSWORD, next=next_url)
    assert done.status_code == 303 and done.headers["location"] == where
    again.close()


# ------------------------------------------------------------------------------------------------------------ one's own


@pytest.mark.parametrize("path", OWN)
def test_every_own_page_is_strict_and_asks_who_one_is(market, buyer, path):
    got = buyer.http.get(path)
    assert got.status_code == 200
    strict(got)
    out = httpx.get(market.url + path)
    assert out.status_code == 200 if path.startswith("/playground") else out.headers["location"].startswith("/sign-in?next=")


def test_a_key_of_ones_own_works_is_shown_once_and_ends(market, buyer):
    key = buyer.new_key("laptop", live="30", rpm="60")
    assert key not in buyer.page("/keys") and "laptop" in buyer.page("/keys")
    status, headers, _ = call(market, key)
    assert status == 200
    market.record(headers["x-request-id"])
    rows = buyer.page("/usage")
    assert f'title="{headers["x-request-id"]}"' in rows and "sandbox/echo" in rows
    kid = key[9:17]
    done = buyer.form(f"/keys/{kid}/revoke")
    assert done.status_code == 303 and done.headers["location"] == "/keys?done=revoked"
    until(lambda: call(market, key)[0] == 401, "the refusal of the revoked key", 3)


def test_a_key_for_some_models_opens_no_other(market, buyer):
    key = buyer.new_key("narrow", models="acme/opus")
    assert call(market, key)[0] == 403


def test_nobody_reaches_into_anothers_account(market, buyer):
    other = Buyer(market)
    key = buyer.new_key("mine")
    rid = call(market, key)[1]["x-request-id"]
    market.record(rid)
    acct = market.owner.api("POST", "/accounts", {"name": "other"}).json()["id"]
    name = f"buyer-{next(_ids)}"
    market.owner.api("POST", "/people", {"name": name, "role": "user", "password": PASSWORD, "acct": acct})
    other.sign_in(name)
    assert other.form(f"/keys/{key[9:17]}/revoke").status_code == 404
    assert rid not in other.page("/usage") and rid not in other.http.get("/usage/export").text
    assert rid in buyer.http.get("/usage/export").text
    assert other.form("/account", acct=buyer.acct).status_code == 403, "an account is the operator's to give"
    for path in ("/console", "/console/usage", "/console/keys"):
        assert other.http.get(path).status_code == 403, path
    assert other.api("GET", "/usage").status_code == 403
    assert call(market, key)[0] == 200
    other.close()


def test_an_operator_chooses_which_account_pays(market, buyer):
    owner = market.owner
    assert owner.http.get("/dashboard").headers["location"] == "/account"
    assert owner.http.post("/playground/key", headers={"Origin": market.url, "X-CSRF-Token": owner.csrf}).status_code == 404
    assert owner.form("/account", acct="acc-none").status_code == 400
    assert owner.form("/account", acct=buyer.acct).status_code == 303
    assert "$5.00" in owner.page("/dashboard")


def made_by(market, name: str) -> list[str]:
    """Accounts that somebody made, by the audit."""
    entries = market.owner.api("GET", "/audit").json()["entries"]
    return [one["target"] for one in entries if (one["action"], one["who"]) == ("accounts.create", name)]


@pytest.mark.parametrize("role", ["billing", "support"])
def test_no_role_comes_to_a_customers_account_by_choosing_it(market, buyer, role):
    """Whose account is chosen is one's own: its keys are made and ended, its balance is shown."""
    name = f"{role}-{next(_ids)}"
    market.owner.api("POST", "/people", {"name": name, "role": role, "password": PASSWORD})
    person = Buyer(market).sign_in(name)
    assert person.form("/account", acct=buyer.acct).status_code == 403
    assert 'name="acct"' not in person.page("/account") and person.api("GET", "/me").json()["acct"] == ""
    assert person.form("/account").status_code == 303
    own = person.api("GET", "/me").json()["acct"]
    assert own and made_by(market, name) == [f"accounts/{own}"]
    assert person.form("/account").status_code == 403, "one is enough"
    assert person.api("GET", "/me").json()["acct"] == own and len(made_by(market, name)) == 1
    person.close()


def test_the_audit_says_who_made_an_account(market):
    stranger = Buyer(market).sign_up(f"stranger-{next(_ids)}")
    me = stranger.api("GET", "/me").json()
    assert made_by(market, me["name"]) == [f"accounts/{me['acct']}"]
    stranger.close()
    # Half of a sign-up: a person whose account is not there yet.
    name = f"half-{next(_ids)}"
    market.owner.api("POST", "/people", {"name": name, "role": "user", "password": PASSWORD, "acct": f"acc-{name}"})
    half = Buyer(market).sign_in(name)
    half.page("/dashboard")
    assert made_by(market, name) == [f"accounts/acc-{name}"]
    half.close()


def test_a_voucher_is_redeemed_once(market, buyer):
    code = json.loads(market.run("voucher", "create", "3", "--model", "sandbox/echo", "--json"))[0]["code"]
    assert buyer.form("/vouchers", code="stv-nothing").status_code == 404
    done = buyer.form("/vouchers", code=code)
    assert done.status_code == 303 and done.headers["location"] == "/vouchers?done=redeemed"
    page = buyer.page("/vouchers")
    assert "$8.00" in page and "$3.00" in page and "sandbox/echo" in page
    assert buyer.form("/vouchers", code=code).headers["location"] == "/vouchers?done=redeemed-before"
    assert "$8.00" in buyer.page("/vouchers")
    assert [buyer.form("/vouchers", code="stv-nothing").status_code for _ in range(9)][-1] == 429


def test_a_new_password_ends_every_session(market, buyer):
    assert buyer.form("/password", old="wrong password", password="another password", again="another password").status_code == 401
    assert buyer.form("/password", old=PASSWORD, password="another password", again="another password").status_code == 303
    assert buyer.http.get("/keys").status_code == 303


@pytest.mark.parametrize("evil", EVIL)
def test_a_keys_name_is_only_ever_text(market, buyer, evil):
    buyer.new_key(evil)
    page = buyer.page("/keys")
    assert not re.search(r"<(script|img|svg)[ />](?![^>]*(src=\"/console/static|class=\"icon\"))", page)
    strict(buyer.http.get("/keys"))
    rows = buyer.http.get("/usage/export").text.splitlines()[0]
    assert rows.startswith("rid,at_ms")


# ------------------------------------------------------------------------------------------------- the playground's key


def test_the_playgrounds_key_is_priced_and_booked_and_ends(market, buyer):
    first = buyer.play_key()
    status, headers, body = call(market, first)
    assert status == 200 and json.loads(body)["usage"]["cost_micro_usd"] > 0, "it shows what it cost"
    record = market.record(headers["x-request-id"])
    assert record.acct == buyer.acct and record.key == f"playground-{buyer.acct}" and record.cost_p > 0
    assert "Playground" in buyer.page("/usage") and "playground-" not in buyer.page("/keys")
    second = buyer.play_key()
    assert call(market, second)[0] == 200
    until(lambda: call(market, first)[0] == 401, "the end of the key before", 3)
    assert buyer.form("/sign-out").status_code == 303
    until(lambda: call(market, second)[0] == 401, "the end of the key at the sign-out", 3)


def test_the_playgrounds_key_takes_a_token_and_our_origin(market, buyer):
    assert buyer.http.post("/playground/key", headers={"Origin": market.url}).status_code == 403
    assert buyer.http.post("/playground/key", headers={"Origin": "https://evil.invalid", "X-CSRF-Token": buyer.csrf}).status_code == 403
    assert httpx.post(f"{market.url}/playground/key").headers["location"].startswith("/sign-in")


def test_the_playground_shows_what_is_sold_and_served(market, buyer, console):
    page = buyer.page("/playground")
    assert [word in page for word in ("mode=images", "mode=videos", "mode=speech")] == [True, True, True]
    assert "acme/opus" not in page, "no channel serves it"
    assert 'data-mode="images"' in buyer.page("/playground?model=sandbox/picture")
    assert "mode=images" not in httpx.get(f"{console.url}/playground").text
