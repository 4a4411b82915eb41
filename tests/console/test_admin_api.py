"""The admin API over real sockets: the catalog, money, keys, usage, the audit, and its own description."""

import asyncio
import json
import re
import time

import pytest

from smartoken.adapters.sqlite import open_sqlite
from smartoken.conf import Conf
from smartoken.engine.audit import AUDIT
from smartoken.engine.chain import hash_of
from smartoken.engine.keytext import digest_of
from smartoken.engine.seal import open_pepper
from smartoken.plugin import loader
from smartoken.web import admin
from tests.console.kit import PASSWORD, Person, model
from tests.harness import until

SAY = [{"role": "user", "content": "Say something."}]


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def refused(answer, status, code):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], bool(error["message"])) == (code, True)
    return error["message"]


def test_a_model_and_its_prices(owner):
    made = ok(owner.api("PUT", "/models/priced", {"model": model("priced"), "rev": 0}))
    assert (made["rev"], made["price_rev"]) == (1, "priced@1")
    assert made["examples"][0] == {"what": "1,000 in + 1,000 out", "cost_p": 700_000_000, "cost_u": 700}
    refused(owner.api("PUT", "/models/priced", {"model": model("priced"), "rev": 0}), 409, "conflict")
    steep = model("priced", pricing={"input_per_mtok": "28", "output_per_mtok": "0.42"})
    said = refused(owner.api("PUT", "/models/priced", {"model": steep, "rev": 1}), 409, "price_jump")
    assert "input_per_mtok" in said
    assert "input_per_mtok" in ok(owner.api("POST", "/prices/check",
                                            {"pricing": steep["pricing"], "slug": "priced"}))["jumps"][0]
    changed = ok(owner.api("PUT", "/models/priced", {"model": steep, "rev": 1, "confirm": True}))
    assert changed["price_rev"] == "priced@2"
    history = ok(owner.api("GET", "/models/priced/prices"))["prices"]
    assert [(one["rev"], one["current"]) for one in history] == [("priced@2", True), ("priced@1", False)]
    assert history[0]["changes"] == [["input_per_mtok", 280_000, 28_000_000]]
    refused(owner.api("POST", "/models/priced/prices/1/restore", {"rev": 2}), 409, "price_jump")
    back = ok(owner.api("POST", "/models/priced/prices/1/restore", {"rev": 2, "confirm": True}))
    assert back["pricing"]["input_per_mtok"] == 280_000 and back["price_rev"] == "priced@3"
    assert len(ok(owner.api("GET", "/models/priced/prices"))["prices"]) == 3, "history stays what it was"
    assert owner.api("DELETE", "/models/priced").status_code == 204
    refused(owner.api("GET", "/models/priced"), 404, "model_not_found")


@pytest.mark.parametrize("wrong", [{"pricing": {"input_per_mtok": 0.28, "output_per_mtok": 1}},
                                   {"pricing": {"input_per_mtok": True, "output_per_mtok": 1}},
                                   {"pricing": {"input_per_mtok": "-1", "output_per_mtok": 1}}, {"pricing": {}},
                                   {"type": "text2image", "pricing": {}}, {"rpm": -1}, {"nonsense": 1}])
def test_unsound_models_are_refused(owner, wrong):
    refused(owner.api("PUT", "/models/wrong", {"model": {**model("wrong"), **wrong}, "rev": 0}), 400, "unsound")


def test_a_credential_only_ever_goes_in(console, owner, upstream_process):
    secret = "sk-very-secret-indeed-4711"
    body = {"channel": {"provider": "openai", "base_url": upstream_process.at("sealed"), "models": {"x": "y"}},
            "rev": 0}
    made = ok(owner.api("PUT", "/channels/sealed", {**body, "credential": secret}))
    assert made["credential"].startswith("sealed (")
    for path in ("/channels", "/channels/sealed", "/audit"):
        assert secret not in owner.api("GET", path).text
    for path in ("/console/channels", "/console/channels/sealed", "/console/audit"):
        assert secret not in owner.page(path)
    assert secret.encode() not in (console.folder / "var" / "smartoken.db").read_bytes()
    kept = ok(owner.api("PUT", "/channels/sealed", {**body, "channel": {**body["channel"], "weight": 7}, "rev": 1}))
    assert (kept["weight"], kept["credential"]) == (7, made["credential"]), "left out, it stays"
    outcome = ok(owner.api("POST", "/channels/sealed/test", {}))
    assert outcome["ok"] and outcome["status"] == 200 and outcome["model"] == "y"
    seen = upstream_process.seen()[-1]
    assert ["authorization", f"Bearer {secret}"] in [[name.lower(), value] for name, value in seen["headers"]]
    gone = ok(owner.api("PUT", "/channels/sealed", {**body, "credential": "", "rev": 2}))
    assert gone["credential"] == ""


def test_a_credential_is_not_sent_to_somebody_else(console, owner, upstream_process):
    """Who may change a channel still must not have its credential sent to a server of theirs."""
    secret, path = "sk-not-for-everybody-4712", "/channels/guarded"
    body = {"provider": "openai", "base_url": upstream_process.at("guarded"), "models": {"x": "y"}}
    ok(owner.api("PUT", path, {"channel": body, "rev": 0, "credential": secret}))
    thief = upstream_process.at("thief")
    before = len(upstream_process.seen())
    for wrong in ({**body, "base_url": thief}, {**body, "provider": "vllm"}, {**body, "proxy": "http://127.0.0.1:9"}):
        said = refused(owner.api("PUT", path, {"channel": wrong, "rev": 1}), 400, "credential_again")
        assert "credential" in said
        assert owner.api("PUT", path, {"channel": wrong, "rev": 1}).json()["error"]["param"] == "credential"
    page = owner.form("/console/channels/guarded", rev="1", provider="openai", base_url=thief, models="x = y")
    assert page.status_code == 400 and "give the credential again" in page.text
    assert ok(owner.api("GET", path))["base_url"] == body["base_url"] and len(upstream_process.seen()) == before
    moved = ok(owner.api("PUT", path, {"channel": {**body, "base_url": thief}, "rev": 1, "credential": "sk-other"}))
    assert moved["base_url"] == thief and ok(owner.api("POST", f"{path}/test", {}))["ok"]
    assert secret not in str(upstream_process.seen()[before:])
    assert ok(owner.api("PUT", path, {"channel": body, "rev": 2, "credential": ""}))["credential"] == ""
    tls = {**body, "base_url": "https://a.example/v1"}
    ok(owner.api("PUT", path, {"channel": tls, "rev": 3, "credential": "sk-x"}))
    proxied = {**tls, "proxy": "http://127.0.0.1:9"}
    assert ok(owner.api("PUT", path, {"channel": proxied, "rev": 4}))["proxy"], "within TLS a proxy sees nothing"


def test_a_proxys_password_is_shown_to_nobody(owner):
    path, page = "/channels/proxied", "/console/channels/proxied"
    body = {"provider": "vllm", "base_url": "http://127.0.0.1:9/v1", "models": {"x": "y"},
            "proxy": "http://hugo:open-sesame-9@127.0.0.1:9"}
    made = ok(owner.api("PUT", path, {"channel": body, "rev": 0}))
    shown = made["proxy"]
    assert shown.startswith("http://…") and shown.endswith("@127.0.0.1:9")
    kept = ok(owner.api("PUT", path, {"channel": {**body, "proxy": shown, "weight": 3}, "rev": 1}))
    assert (kept["proxy"], kept["weight"]) == (shown, 3)
    saved = owner.form(page, rev="2", provider="vllm", base_url=body["base_url"], models="x = y", proxy=shown,
                       weight="4")
    assert saved.status_code == 303, saved.text
    kept = ok(owner.api("GET", path))
    assert (kept["proxy"], kept["weight"]) == (shown, 4), "the same user and password: their fingerprint says so"
    stolen = {**body, "proxy": shown.replace("127.0.0.1", "thief.example")}
    refused(owner.api("PUT", path, {"channel": stolen, "rev": 3}), 400, "masked")
    other = ok(owner.api("PUT", path, {"channel": {**body, "proxy": "http://hugo:another@127.0.0.1:9"}, "rev": 3}))
    assert other["proxy"] != shown, "the audit shows that it changed"
    entries = [one for one in ok(owner.api("GET", "/audit"))["entries"] if one["target"] == "channels/proxied"]
    assert (entries[0]["before"]["proxy"], entries[0]["after"]["proxy"]) == (shown, other["proxy"])
    assert "proxy" not in entries[1]["after"]
    outcome = owner.api("POST", f"{path}/test", {})
    for told in (outcome, owner.api("GET", "/channels"), owner.api("GET", "/audit"), owner.api("GET", "/system")):
        assert "hugo" not in told.text and "open-sesame" not in told.text
    assert not any("hugo" in owner.page(where) for where in (page, "/console/channels", "/console/audit"))
    assert owner.api("DELETE", path).status_code == 204


def test_the_gateways_own_secrets_are_no_credential(console, owner, upstream_process, tmp_path):
    data, link = console.folder / "var", tmp_path / "beside"
    link.symlink_to(data)
    (tmp_path / "theirs").write_text("sk-theirs")
    assert (data / "keyring").exists()
    body = {"channel": {"provider": "vllm", "base_url": upstream_process.at("own"), "models": {"x": "y"}}, "rev": 0}
    for file in (data / "keyring", data / "pepper", data / "media" / ".." / "keyring", link / "keyring",
                 "/proc/self/root" + str(data / "keyring")):
        refused(owner.api("PUT", "/channels/own", {**body, "credential": f"file:{file}"}), 400, "own_secret")
        refused(owner.api("PUT", "/channels/own", {**body, "credential": f"file: {file} "}), 400, "own_secret")
    made = ok(owner.api("PUT", "/channels/own", {**body, "credential": f"file:{tmp_path / 'theirs'}"}))
    assert made["credential"] == f"file:{tmp_path / 'theirs'}" and ok(owner.api("POST", "/channels/own/test", {}))["ok"]
    assert owner.api("DELETE", "/channels/own").status_code == 204


@pytest.mark.parametrize("play, meaning", [("401", "credential"), ("429?retry_after=1", "cool"), ("error_200", "retry"),
                                           ("reset_before", "retry"), ("html", "retry")])
def test_the_test_call_says_what_is_wrong(owner, upstream_process, play, meaning):
    body = {"channel": {"provider": "vllm", "base_url": upstream_process.at("t", play), "models": {"x": "y"},
                        "active": False}}
    rev = owner.api("GET", "/channels/tried").json().get("rev", 0)
    ok(owner.api("PUT", "/channels/tried", {**body, "rev": rev}))
    outcome = ok(owner.api("POST", "/channels/tried/test", {"wire": "openai.chat"}))
    assert (outcome["ok"], outcome["meaning"]) == (False, meaning) and outcome["failure"] and outcome["steps"]


def test_money_moves_once_per_cause(owner):
    acct = ok(owner.api("POST", "/accounts", {"name": "Payer"}), 201)["id"]
    path = f"/accounts/{acct}"
    for _ in range(2):
        assert ok(owner.api("POST", f"{path}/topups", {"amount_u": "12.50", "op": "inv-1"}))["balance_u"] == 12_500_000
    refused(owner.api("POST", f"{path}/topups", {"amount_u": 1, "op": "inv-1"}), 409, "op_taken")
    refused(owner.api("POST", f"{path}/topups", {"amount_u": 1.5, "op": "inv-2"}), 400, "unsound")
    adjust = {"amount_u": "-2.5", "op": "adj-1", "note": "a mistake of ours"}
    refused(owner.api("POST", f"{path}/adjustments", {**adjust, "password": "not mine at all"}), 401, "password")
    for _ in range(2):
        assert ok(owner.api("POST", f"{path}/adjustments", {**adjust, "password": PASSWORD}))["balance_u"] == 10_000_000
    refused(owner.api("POST", f"{path}/adjustments", {**adjust, "amount_u": -99_000_000, "op": "adj-2",
                                                      "password": PASSWORD}), 400, "funds")
    books = ok(owner.api("GET", f"{path}/books"))["entries"]
    assert [(one["kind"], one["amount_u"], one["balance_u"]) for one in books] == [
        ("adjust", -2_500_000, 10_000_000), ("topup", 12_500_000, 12_500_000)]
    written = [one for one in ok(owner.api("GET", "/audit"))["entries"] if one["target"] == f"accounts/{acct}"]
    assert [one["action"] for one in written] == ["accounts.adjust", "accounts.topup", "accounts.create"]


def test_the_books_go_on_behind_what_was_pruned(new_gateway):
    owner = Person(new_gateway).first_owner()
    acct = ok(owner.api("POST", "/accounts", {"name": "Old"}), 201)["id"]
    for number in range(1, 81):
        ok(owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": number, "op": f"old-{number}"}))

    async def prune(seqs) -> None:
        store = open_sqlite(f"sqlite:///{new_gateway.folder}/var/smartoken.db")
        await store.open()
        try:
            await store.remove_entries(acct, seqs)
        finally:
            await store.close()

    asyncio.run(prune(list(range(5, 76))))
    page = ok(owner.api("GET", f"/accounts/{acct}/books"))
    assert [one["seq"] for one in page["entries"]] == [80, 79, 78, 77, 76, 4, 3, 2, 1] and page["next"] == 0
    page = ok(owner.api("GET", f"/accounts/{acct}/books?before=77"))
    assert [one["seq"] for one in page["entries"]] == [76, 4, 3, 2, 1]
    owner.close()


def cause(page: str) -> str:
    """The op that a form will bring."""
    return re.search(r'name="op" value="([^"]+)"', page)[1]


def test_a_form_that_was_refused_keeps_its_cause(console, owner):
    """Who tries again after "nobody knows whether it was done" must not do it twice."""
    acct = ok(owner.api("POST", "/accounts", {"name": "Twice"}), 201)["id"]
    place = f"/console/accounts/{acct}"

    first = cause(owner.page(place))
    assert first != cause(owner.page(place)), "every page has its own"
    again = owner.form(place, do="topup", amount="ten", op=first)
    assert again.status_code == 400 and cause(again.text) == first
    assert owner.form(place, do="topup", amount="10", op=cause(again.text)).status_code == 303
    assert owner.form(place, do="topup", amount="10", op=cause(again.text)).status_code == 303
    assert ok(owner.api("GET", f"/accounts/{acct}"))["balance_u"] == 10_000_000
    other = owner.form(place, do="topup", amount="11", op=first)
    assert other.status_code == 409 and cause(other.text) != first, "another amount needs another name"
    down = owner.form(place, do="adjust", amount="-1", note="a slip", op="console-down", password="not mine at all")
    assert down.status_code == 401 and 'name="op" value="console-down"' in down.text
    assert cause(down.text) != "console-down", "each form has its own"

    key = ok(owner.api("POST", "/keys", {"acct": acct}), 201)["key"]
    dear = {**model("refunded"), "pricing": {"input_per_mtok": "500", "output_per_mtok": "500"}}
    ok(owner.api("PUT", "/models/refunded", {"model": dear, "rev": 0}))
    ok(owner.api("PUT", "/channels/refunded", {"rev": 0, "channel": {
        "provider": "vllm", "base_url": owner.api("GET", "/channels/well").json()["base_url"],
        "models": {"refunded": "up"}}}))
    call = lambda: console.post("/v1/chat/completions", {"model": "refunded", "messages": SAY, "max_tokens": 9}, key)
    _, headers, _ = until(lambda: (got := call())[0] == 200 and got, "the new model on the worker that is asked")
    rid = headers["x-request-id"]
    console.record(rid)
    place = f"/console/usage/{rid}"
    first = cause(owner.page(place))
    wrong = owner.form(place, amount="0.0001", note="a slip", op=first, password="not mine at all")
    assert wrong.status_code == 401 and cause(wrong.text) == first
    for _ in range(2):
        assert owner.form(place, amount="0.0001", note="a slip", op=first, password=PASSWORD).status_code == 303
    other = owner.form(place, amount="0.0002", note="a slip", op=first, password=PASSWORD)
    assert other.status_code == 400 and cause(other.text) != first


def test_a_key_is_shown_once_and_revoked_everywhere(console, owner):
    acct = ok(owner.api("POST", "/accounts", {"name": "Caller"}), 201)["id"]
    ok(owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "caller-1"}))
    made = ok(owner.api("POST", "/keys", {"acct": acct, "name": "first", "rpm": 100}), 201)
    text, kid = made["key"], made["kid"]
    for path in ("/keys", f"/keys/{kid}", f"/keys?acct={acct}", "/audit"):
        said = owner.api("GET", path).text
        assert text not in said and (path == "/audit" or "digest" not in said)
    digest = digest_of(open_pepper(console.folder / "var"), text.encode()).hex()
    (entry,) = [one for one in ok(owner.api("GET", "/audit"))["entries"] if one["target"] == f"keys/{kid}"]
    assert re.fullmatch("digest [0-9a-f]{8}", entry["after"]["_id"]), "what it is stored under is not written down"
    assert digest not in owner.api("GET", "/audit").text + owner.page("/console/audit")
    call = lambda: console.post("/v1/chat/completions", {"model": "m", "messages": SAY, "max_tokens": 3}, text)
    until(lambda: call()[0] == 200, "the model on the worker that is asked")
    changed = ok(owner.api("PATCH", f"/keys/{kid}", {"models": ["m"], "name": "renamed"}))
    assert (changed["models"], changed["name"], changed["rpm"]) == (["m"], "renamed", 100)
    begun = time.monotonic()
    ok(owner.api("POST", f"/keys/{kid}/revoke"))
    until(lambda: call()[0] == 401, "the refusal of a revoked key", 3)
    assert time.monotonic() - begun < 3.5
    ok(owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": "1", "op": "caller-2"}))
    suspended = ok(owner.api("PATCH", f"/accounts/{acct}", {"rev": 1, "active": False}))
    assert suspended["active"] is False


def test_usage_is_found_summed_and_exported(console, owner):
    acct = ok(owner.api("POST", "/accounts", {"name": "Reader"}), 201)["id"]
    ok(owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "reader-1"}))
    key = ok(owner.api("POST", "/keys", {"acct": acct}), 201)["key"]
    asked = [console.post("/v1/chat/completions", {"model": "m", "messages": SAY, "max_tokens": n}, key)
             for n in (2, 3, 4)]
    assert [status for status, _, _ in asked] == [200, 200, 200], asked
    rids = [headers["x-request-id"] for _, headers, _ in asked]
    records = [console.record(rid) for rid in rids]
    rows = ok(owner.api("GET", f"/usage?acct={acct}"))["rows"]
    assert [row["rid"] for row in rows] == rids[::-1]
    one = ok(owner.api("GET", f"/usage/{rids[0]}"))
    assert one["attempts"][0]["result"] == "ok" and one["cost_p"] == records[0].cost_p and one["price"]["_id"] == "m@1"
    (whole,) = ok(owner.api("GET", f"/usage/sums?by=&acct={acct}"))["sums"]
    assert (whole["calls"], whole["cost_p"]) == (3, sum(record.cost_p for record in records))
    assert owner.api("GET", "/usage/sums?by=rid").status_code == 400
    refused(owner.api("GET", "/usage/nothing"), 404, "request_not_found")
    table = owner.http.get(f"/admin/api/usage/export?acct={acct}").text.splitlines()
    assert table[0].startswith("rid,at_ms,acct") and [line.split(",")[0] for line in table[1:]] == rids[::-1]
    lines = owner.http.get(f"/admin/api/usage/export?acct={acct}&format=jsonl").text.splitlines()
    assert [json.loads(line)["rid"] for line in lines] == rids[::-1]


def test_vouchers_are_shown_once_and_stopped(console, owner):
    body = {"op": "spring-27", "face_u": "5", "count": 3, "models": ["m"], "note": "spring"}
    made = ok(owner.api("POST", "/vouchers", body), 201)
    assert ok(owner.api("POST", "/vouchers", body), 201) == made, "who lost the answer gets it again"
    for other in ({"count": 4}, {"face_u": "6"}, {"models": []}):
        refused(owner.api("POST", "/vouchers", body | other), 409, "op_taken")
    codes = [one["code"] for one in made["codes"]]
    assert len(set(codes)) == 3
    acct = ok(owner.api("POST", "/accounts", {"name": "Lucky"}), 201)["id"]
    key = ok(owner.api("POST", "/keys", {"acct": acct}), 201)["key"]
    assert console.post("/v1/vouchers/redeem", {"code": codes[0]}, key)[0] == 200
    listed = ok(owner.api("GET", f"/vouchers?batch={made['batch']}"))["vouchers"]
    assert sorted(row["redeemed"] for row in listed) == [0, 0, 1] and {row["face_u"] for row in listed} == {5_000_000}
    assert not any(code in owner.api("GET", path).text for code in (*codes, "spring-27") for path in ("/vouchers", "/audit"))
    assert len(listed) == 3
    pockets = ok(owner.api("GET", f"/accounts/{acct}"))["pockets"]
    assert [pocket["models"] for pocket in pockets if pocket["pocket"] != "main"] == [["m"]]
    assert ok(owner.api("POST", f"/vouchers/{made['codes'][1]['id']}/stop"))["active"] is False
    status, _, said = console.post("/v1/vouchers/redeem", {"code": codes[1]}, key)
    assert (status, json.loads(said)["error"]["code"]) == (400, "voucher_stopped")
    op = cause(owner.page("/console/vouchers"))
    pages = [owner.form("/console/vouchers", op=op, face="2.50", count="2", uses="1") for _ in range(2)]
    assert all(page.status_code == 200 and page.text.count("stv-") == 2 for page in pages)
    assert pages[0].text.split("stv-")[1:] == pages[1].text.split("stv-")[1:], "a form sent twice makes no others"
    named = [owner.form("/console/vouchers", op=op, cause="fair-27", face="2.50") for op in ("one", "two")]
    assert named[0].text.split("stv-")[1:] == named[1].text.split("stv-")[1:], "nor one that names the same cause"


def test_a_refund_gives_back_at_most_what_was_charged(console, owner):
    dear = model("dear", pricing={"input_per_mtok": "500", "output_per_mtok": "500"})
    ok(owner.api("PUT", "/channels/dear", {"rev": 0, "channel": {
        "provider": "vllm", "base_url": owner.api("GET", "/channels/well").json()["base_url"],
        "models": {"dear": "up"}}}))
    ok(owner.api("PUT", "/models/dear", {"model": dear, "rev": 0}))
    acct = ok(owner.api("POST", "/accounts", {"name": "Unhappy"}), 201)["id"]
    ok(owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": "5", "op": "unhappy-1"}))
    key = ok(owner.api("POST", "/keys", {"acct": acct}), 201)["key"]
    call = lambda: console.post("/v1/chat/completions", {"model": "dear", "messages": SAY, "max_tokens": 9}, key)
    status, headers, _ = until(lambda: (got := call())[0] == 200 and got, "the new model on the worker that is asked")
    rid = headers["x-request-id"]
    record = console.record(rid)
    charged_u = record.cost_p // 1_000_000
    body = {"amount_u": 100, "op": "r-1", "note": "it was wrong", "password": PASSWORD}
    refused(owner.api("POST", f"/usage/{rid}/refunds", {**body, "password": "not mine at all"}), 401, "password")
    for _ in range(2):
        assert ok(owner.api("POST", f"/usage/{rid}/refunds", body))["amount_u"] == 100
    assert ok(owner.api("POST", f"/usage/{rid}/refunds",
                        {**body, "amount_u": 0, "op": "r-2"}))["amount_u"] == charged_u - 100
    refused(owner.api("POST", f"/usage/{rid}/refunds", {**body, "amount_u": 1, "op": "r-3"}), 400, "excess")
    page = owner.page(f"/console/usage/{rid}")
    assert "Give it back" in page


def test_no_other_field_is_a_filter(owner):
    """A JSON object, an operator or a made-up field never reaches the store."""
    for query in ("acct[$ne]=x", "where=1", "sort=rid"):
        refused(owner.api("GET", f"/usage?{query}"), 400, "unsound")
    refused(owner.api("POST", "/keys", {"acct": {"$ne": ""}}), 400, "unsound")


def test_the_audit_is_a_chain(console, owner):
    """Each entry's hash covers the one before; reading it back proves that none was changed."""
    async def read():
        store = open_sqlite(f"sqlite:///{console.folder}/var/smartoken.db")
        await store.open()
        try:
            return await store.entries(AUDIT)
        finally:
            await store.close()

    entries = asyncio.run(read())
    assert len(entries) >= 3 and entries[0].kind == "people.first"
    before = ""
    for entry in entries:
        assert (entry.prev_hash, entry.hash) == (before, hash_of(entry))
        before = entry.hash
    assert PASSWORD not in str(entries)


def test_the_state_of_the_system(owner):
    until(lambda: len(ok(owner.api("GET", "/system"))["nodes"]) == 2, "the figures of both workers")
    found = ok(owner.api("GET", "/system"))
    assert all(node["up"] and node["journal"]["healthy"] for node in found["nodes"])
    assert {port["port"]: port["up"] for port in found["ports"]}["store"] is True
    assert owner.api("POST", "/system/reconcile").status_code == 202
    page = until(lambda: ok(owner.api("GET", "/system"))["reconcile"], "the result")
    assert page["differences"] == 0 and page["seal"]


def test_plugins_and_their_settings(owner):
    found = {row["name"]: row for row in ok(owner.api("GET", "/plugins"))["plugins"]}
    assert "wire openai.chat" in found["wire_openai"]["gave"]
    assert found["sandbox"]["schema"]["properties"]["word_ms"]["type"] == "integer"
    said = ok(owner.api("POST", "/plugins/sandbox/settings", {"settings": {"word_ms": 5}}))
    assert said["toml"] == "[plugins.sandbox]\nword_ms = 5\n"
    refused(owner.api("POST", "/plugins/sandbox/settings", {"settings": {"word_mss": 5}}), 400, "unsound")


def test_the_description_names_every_operation(owner):
    document = ok(owner.api("GET", "/openapi.json"))
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == {(one.method, admin.BASE + one.path) for one in admin.operations(loader.load(Conf()).registry)}
    text = json.dumps(document)
    for part in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert part in document["components"]["schemas"], part


def test_nobody_gets_in_without_a_session(console):
    stranger = Person(console)
    for one in admin.operations(loader.load(Conf()).registry):
        path = one.path.replace("{", "").replace("}", "")
        assert stranger.api(one.method, path, {} if one.body else None, X_CSRF_Token="x").status_code == 401, one.path
