"""Accounts that sign in: the admin API over two workers, the pretend issuer and its backend."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from smartoken.testing.issuer import ACCOUNT, CODE, SEAL, Issuer, limits
from tests.console.kit import PASSWORD, Person
from tests.console.test_admin_api import ok, refused
from tests.harness import Gateway, model, until

PLUGIN = '[plugins]\nenabled = ["*", "chatgpt_oauth"]\n[plugins.chatgpt_oauth]\nissuer = "{issuer}"\nbase_url = "{backend}"\n'
CHANNEL = {"provider": "chatgpt", "wire_api": ["responses"], "bridges": ["chat", "messages"], "models": {"m": "gpt-x"}}
BASE = "/oauth/chatgpt"


@pytest.fixture
def issuer():
    issuer = Issuer(person=True)
    yield issuer
    issuer.close()


@pytest.fixture
def gateway(tmp_path, issuer):
    """Two workers, an owner in `gateway.owner`, a model; nobody is signed in."""
    gateway = Gateway(tmp_path, workers=2, conf=PLUGIN.format(issuer=issuer.url, backend=issuer.backend))
    gateway.apply(model("m"))
    gateway.start()
    gateway.owner = Person(gateway).first_owner()
    yield gateway
    gateway.owner.close()
    gateway.close()


def afresh(person: Person, method: str, path: str, body=None):
    """On a connection of its own, so that either worker may be the one who is asked."""
    return person.api(method, path, body, Connection="close")


def begun(owner: Person, id: str = "own") -> dict:
    return ok(owner.api("POST", f"{BASE}/sign-ins", {"id": id, "terms": True}), 201)


def state(owner: Person, pending: dict) -> str:
    return ok(afresh(owner, "POST", f"{BASE}/sign-ins/{pending['ref']}/follow"))["state"]


def signed_in(owner: Person, issuer: Issuer) -> dict:
    """The row of an account that somebody signed in by the code."""
    pending = begun(owner)
    issuer.word = "agree"
    until(lambda: state(owner, pending) == "signed in", "the sign-in")
    (row,) = ok(owner.api("GET", "/oauth"))["accounts"]
    return row


def in_store(gateway: Gateway, work):
    """What `work(store)` gives, with the gateway's store."""
    return gateway.in_sqlite(work)


def said(gateway: Gateway, key: str, items, **fields):
    return gateway.post("/v1/responses", {"model": "m", "input": items, **fields}, key)


def served_by_both(gateway: Gateway, key: str) -> None:
    """Either worker may get a call: many in a row mean that both know the channel."""
    until(lambda: all(said(gateway, key, "x")[0] == 200 for _ in range(12)), "an answer of each worker")


def test_sign_in_by_a_code_at_either_worker_and_call_through_it(gateway, issuer):
    owner = gateway.owner
    assert ok(owner.api("GET", "/oauth"))["accounts"] == []
    refused(owner.api("POST", f"{BASE}/sign-ins", {"id": "own"}), 400, "terms")
    pending = begun(owner)
    assert (pending["code"], pending["state"]) == (CODE, "waiting") and pending["link"].startswith(issuer.url)
    for _ in range(8):
        assert state(owner, pending) == "waiting"
        assert ok(afresh(owner, "GET", f"{BASE}/sign-ins/{pending['ref']}"))["code"] == CODE
    issuer.word = "agree"
    with ThreadPoolExecutor(8) as pool:    # many pages at once: the issuer gives its tokens to one
        until(lambda: set(pool.map(lambda _: state(owner, pending), range(8))) == {"signed in"}, "the sign-in")
    (row,) = ok(owner.api("GET", "/oauth"))["accounts"]
    assert (row["id"], row["credential"], row["plan"], row["account"], row["state"]) == (
        "own", "oauth:own", "plus", ACCOUNT[-4:], "ok")
    assert row["until_ms"] > row["renewed_ms"] > 0 and row["limits"] == [] and row["channels"] == []

    ok(owner.api("PUT", "/channels/own", {"channel": CHANNEL, "rev": 0, "credential": "oauth:own"}))
    # The worker that signed in knows the account at once, the other within a second.
    test = lambda: owner.api("POST", "/channels/own/test", {"wire": "openai.responses"})
    outcome = ok(until(lambda: (answer := test()).status_code == 200 and answer, "the account on the worker asked"))
    assert outcome["ok"] and outcome["usage"] and issuer.access not in str(outcome)
    client = gateway.client("c")
    until(lambda: said(gateway, client.key, "x")[0] == 200, "an answer through the account")
    (row,) = ok(owner.api("GET", "/oauth"))["accounts"]
    assert [one["name"] for one in row["channels"]] == ["own"]

    wanted = {"GET /admin/api/oauth", f"POST /admin/api{BASE.replace('chatgpt', '{issuer}')}/sign-ins"}
    document = ok(owner.api("GET", "/openapi.json"))
    assert wanted <= {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    written = ok(owner.api("GET", "/audit"))["entries"]
    done = next(one for one in written if one["action"] == "oauth.sign-in")
    assert done["target"] == "oauth/own" and done["after"]["credential"].startswith("secret ")
    assert sum(one["action"] == "oauth.sign-in" for one in written) == 1
    shown = "".join(owner.api("GET", path).text for path in ("/oauth", "/audit", "/channels"))
    for secret in (issuer.access, issuer.refresh, issuer.id_token, "device-1", "verifier-1"):
        assert secret not in shown and secret.encode() not in gateway.log.read_bytes()
        for file in (gateway.folder / "var").rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    gateway.check_books()


def test_limits_are_told_by_either_worker_and_a_used_up_account_rests(gateway, issuer):
    owner = gateway.owner
    signed_in(owner, issuer)
    ok(owner.api("PUT", "/channels/own", {"channel": CHANNEL, "rev": 0, "credential": "oauth:own"}))
    client = gateway.client("c")

    def windows() -> list[int]:
        (row,) = ok(owner.api("GET", "/oauth"))["accounts"]
        return [one["used_permille"] for one in row["limits"]]

    for primary, secondary in ((12, 3), (47.5, 9)):
        issuer.told = limits(primary, secondary)
        until(lambda: said(gateway, client.key, "x")[0] == 200, "an answer")
        until(lambda: windows() == [primary * 10, secondary * 10], "the limits of the last answer")
        served_by_both(gateway, client.key)
    (row,) = ok(owner.api("GET", "/oauth"))["accounts"]
    assert [one["minutes"] for one in row["limits"]] == [300, 10080]
    assert all(one["reset_ms"] > row["seen_ms"] > 0 for one in row["limits"])
    issuer.limit_s = 5000
    until(lambda: said(gateway, client.key, "x")[0] == 429, "the refusal")
    until(lambda: ok(owner.api("GET", "/oauth"))["accounts"][0]["channels"][0]["rest_ms"] > 4_000_000, "its rest")
    told = in_store(gateway, lambda store: store.get("oauth_tokens", "own:limits"))
    assert told["rev"] <= 4, "each of two workers told each of two states once at most, however many answers came"


def test_a_sign_in_is_cancelled_refused_or_runs_out(gateway, issuer):
    owner = gateway.owner
    pending = begun(owner)
    assert owner.api("DELETE", f"{BASE}/sign-ins/{pending['ref']}").status_code == 204
    issuer.word = "agree"
    refused(owner.api("POST", f"{BASE}/sign-ins/{pending['ref']}/follow"), 404, "sign-in_not_found")
    refused(owner.api("DELETE", f"{BASE}/sign-ins/{pending['ref']}"), 404, "sign-in_not_found")
    assert ok(owner.api("GET", "/oauth"))["accounts"] == []
    pending = begun(owner)
    issuer.word = "refuse"
    until(lambda: state(owner, pending) == "refused", "the refusal")
    assert "access_denied" in ok(owner.api("GET", f"{BASE}/sign-ins/{pending['ref']}"))["why"]
    asked = issuer.polls
    assert state(owner, pending) == "refused" and issuer.polls == asked, "it is asked no more"
    issuer.word = ""
    pending = begun(owner)

    async def over(store):
        doc = await store.get("oauth_tokens", f"sign-in:{pending['ref']}")
        return await store.replace("oauth_tokens", doc | {"rev": doc["rev"] + 1, "until_ms": 1}, doc["rev"])
    assert in_store(gateway, over)
    issuer.word, asked = "agree", issuer.polls
    assert state(owner, pending) == "expired" and issuer.polls == asked, "nor after its time"
    begun(owner)
    refused(owner.api("GET", f"{BASE}/sign-ins/{pending['ref']}"), 404, "sign-in_not_found")
    refused(owner.api("POST", "/oauth/nobody/sign-ins", {"id": "own", "terms": True}), 404, "issuer_not_found")
    refused(owner.api("GET", f"{BASE}/sign-ins/nothing"), 404, "sign-in_not_found")


def test_import_and_sign_out_and_in_again(gateway, issuer):
    owner, text = gateway.owner, issuer.auth_json()
    for wrong, code in (({"id": "own", "file": text}, "terms"), ({"id": "own", "terms": True, "file": "{}"}, "unsound"),
                        ({"id": "../own", "terms": True, "file": text}, "unsound"),
                        ({"id": "own", "terms": True, "file": text + "x" * 100_000}, "unsound")):
        told = refused(owner.api("POST", f"{BASE}/imports", wrong), 400, code)
        assert issuer.refresh not in told
    made = ok(owner.api("POST", f"{BASE}/imports", {"id": "own", "terms": True, "file": text}), 201)
    assert made["id"] == "own" and issuer.refresh not in str(made)
    ok(owner.api("PUT", "/channels/own", {"channel": CHANNEL, "rev": 0, "credential": "oauth:own"}))
    client = gateway.client("c")
    until(lambda: said(gateway, client.key, "x")[0] == 200, "an answer")
    assert ok(owner.api("DELETE", f"{BASE}/accounts/own"))["revoked"] is True and issuer.revoked
    refused(owner.api("DELETE", f"{BASE}/accounts/own"), 404, "signed-in_account_not_found")
    until(lambda: said(gateway, client.key, "x")[0] == 503, "the end of service")
    # A new life of the same name: nothing of the former one (generation, claims) may stand in its way.
    signed_in(owner, issuer)
    until(lambda: said(gateway, client.key, "x")[0] == 200, "an answer again")
    issuer.expire()
    until(lambda: said(gateway, client.key, "x")[0] == 200, "an answer after a refresh")
    assert issuer.refreshes == 1
    gone = [one for one in ok(owner.api("GET", "/audit"))["entries"] if one["action"] == "oauth.sign-out"]
    assert gone[0]["before"]["credential"].startswith("secret ") and gone[0]["before"]["account"] == ACCOUNT[-4:]


@pytest.mark.parametrize("role, sees", [("support", True), ("billing", True), ("user", False)])
def test_who_may_not_manage_channels_may_not_do_this(gateway, issuer, role, sees):
    owner = gateway.owner
    pending = begun(owner)
    ok(owner.api("POST", "/people", {"name": "bo", "role": role, "password": PASSWORD}), 201)
    bo = Person(gateway).sign_in("bo")
    assert bo.api("GET", "/oauth").status_code == (200 if sees else 403)
    for method, path, body in (("POST", f"{BASE}/sign-ins", {"id": "own", "terms": True}),
                               ("GET", f"{BASE}/sign-ins/{pending['ref']}", None),
                               ("POST", f"{BASE}/sign-ins/{pending['ref']}/follow", None),
                               ("DELETE", f"{BASE}/sign-ins/{pending['ref']}", None),
                               ("POST", f"{BASE}/imports", {"id": "own", "terms": True, "file": "{}"}),
                               ("DELETE", f"{BASE}/accounts/own", None)):
        refused(bo.api(method, path, body), 403, "role")
    assert bo.http.get("/console/oauth/new").status_code == 403
    if sees:
        assert "/console/oauth/new" not in bo.page("/console/oauth")
    refused(owner.http.post(f"/admin/api{BASE}/sign-ins", json={"id": "own", "terms": True}), 403, "csrf")
    bo.close()


def test_it_is_nowhere_while_the_plugin_is_off(console, owner):
    assert owner.http.get("/admin/api/oauth").status_code == 404
    assert not any("/oauth" in path for path in ok(owner.api("GET", "/openapi.json"))["paths"])
    assert owner.http.get("/console/oauth").status_code == 404 and "/console/oauth" not in owner.page("/console")


def test_what_another_account_sealed_is_left_out_once_and_conversations_are_named(gateway, issuer):
    owner = gateway.owner
    signed_in(owner, issuer)
    ok(owner.api("PUT", "/channels/own", {"channel": CHANNEL, "rev": 0, "credential": "oauth:own"}))
    client = gateway.client("c")
    served_by_both(gateway, client.key)
    issuer.bodies.clear()
    issuer.headers.clear()
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEAL}
    words = {"type": "message", "role": "user", "content": "x"}
    status, headers, _ = said(gateway, client.key, [thought, words], prompt_cache_key="talk-1")
    assert status == 200 and issuer.bodies[-1]["input"] == [thought, words], "its own goes there untouched"
    assert issuer.headers[-1]["session-id"] == "talk-1" and issuer.headers[-1]["originator"] == "smartoken"
    assert issuer.headers[-1]["user-agent"].startswith("smartoken/")
    foreign = thought | {"encrypted_content": "sealed for another"}
    for stream in (False, True):
        before = len(issuer.headers)
        status, headers, _ = said(gateway, client.key, [foreign, words], stream=stream)
        assert status == 200 and issuer.bodies[-1]["input"] == [words], "and a foreign one is left out"
        assert len(issuer.headers) == before + 2 and "session-id" not in issuer.headers[-1]
        record = gateway.record(headers["x-request-id"])
        assert [one.result for one in record.attempts] == ["invalid_encrypted_content", "ok"]
    status, _, _ = said(gateway, client.key, [{"role": "user", "content": "x"}], prompt_cache_key="two words")
    assert status == 200 and "session-id" not in issuer.headers[-1], "what does not fit into a header stays in the body"
    gateway.check_books()
