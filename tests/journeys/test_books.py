"""Quotes, exports of usage, signed top-ups and limits, on a running gateway."""

import csv
import hmac
import io
import json
import time
import urllib.error
import urllib.request

import openai
import pytest

from smartoken.domain.money import P_PER_U
from smartoken.testing.process import UpstreamProcess
from tests.harness import PRICE, Gateway, channel, model
from tests.journeys.conftest import SAY, rid_of, sdk_of

SECRET = "it is signed"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "secret").write_text(SECRET)
    upstream = UpstreamProcess(folder / "sent.jsonl")
    gateway = Gateway(folder, conf=f'[money]\ntopup_secret = "file:{folder}/secret"\n')
    slugs = {"m": {}, "other": {}, "rpm": {"rpm": 6}, "tpm": {"tpm": 6000}}
    boundless = model("boundless").replace("context_length = 128000", "context_length = 0")
    gateway.apply(*(model(slug, **more) for slug, more in slugs.items()), boundless,
                  channel("c", upstream.at("c"), {slug: slug for slug in (*slugs, "boundless")}))
    gateway.start()
    yield gateway
    gateway.check_books()
    gateway.close()
    upstream.stop()


def call(gateway, client, **asked):
    with sdk_of(gateway, client.key) as sdk:
        return sdk.chat.completions.with_raw_response.create(**{"model": "m", "messages": SAY, "max_tokens": 10, **asked})


def quote(gateway, client, query="", **asked):
    body = {"model": "m", "messages": SAY, **asked}
    status, _, answer = gateway.post(f"/v1/quote{query}", body, client.key)
    return status, json.loads(answer)


def test_a_quote_is_never_exceeded_and_costs_nothing(gateway):
    client = gateway.client("quoted", "1")
    status, told = quote(gateway, client, max_tokens=200)
    assert status == 200 and told["affordable"] and told["output_tokens_at_most"] == 200
    record = gateway.record(rid_of(call(gateway, client, max_tokens=200).headers))
    assert record.cost_p <= told["cost_at_most_micro_usd"] * P_PER_U and record.usage.input <= told["input_tokens_at_most"]
    assert told["cost_at_most_micro_usd"] >= told["hold_micro_usd"] > 0
    status, capped = quote(gateway, client, max_tokens=200, max_cost_micro_usd=100)
    assert (status, capped["cost_at_most_micro_usd"] <= 100) == (200, True)
    status, large = quote(gateway, client, max_tokens=2_000_000)
    assert not large["affordable"] or large["output_tokens_affordable"] < 2_000_000
    assert quote(gateway, client, model="none")[0] == 404
    assert quote(gateway, client, "?path=/v1/nowhere")[0] == 400
    assert quote(gateway, client, "?path=/v1/responses", input="x")[1]["error"]["code"] == "wire_not_served"
    assert gateway.post("/v1/quote", {"model": "m", "messages": SAY})[0] == 401
    empty = gateway.client("empty", "")
    status, told = quote(gateway, empty)
    assert (status, told["affordable"], told["usable_micro_usd"]) == (200, False, 0)
    assert len(gateway.records(client)) == 1


def test_a_quote_says_what_nobody_knows(gateway):
    """`m` reads and writes 128,000 tokens at once and lists no limit of output; `boundless` lists nothing."""
    client = gateway.client("unsure", "1")
    status, told = quote(gateway, client)
    assert (status, told["output_tokens_at_most"]) == (200, 128_000)
    assert told["cost_at_most_micro_usd"] > 128_000 * 1_100_000 // 1_000_000 > told["hold_micro_usd"] > 0
    status, told = quote(gateway, client, model="boundless")
    assert status == 200 and told["output_tokens_at_most"] is told["cost_at_most_micro_usd"] is None
    assert told["affordable"] and told["hold_micro_usd"] > 0
    assert quote(gateway, client, model="boundless", max_tokens=10)[1]["output_tokens_at_most"] == 10
    assert quote(gateway, client, model="boundless", max_cost_micro_usd=500)[1]["cost_at_most_micro_usd"] <= 500


def test_a_quote_counts_only_money_that_the_model_may_use(gateway):
    client = gateway.client("for-others", "")
    made, = json.loads(gateway.run("voucher", "create", "3", "--model", "other", "--json"))
    gateway.run("voucher", "redeem", made["code"], client.acct)
    call(gateway, client, model="other")           # now some of the voucher lies in a lease
    status, told = quote(gateway, client)
    assert (status, told["usable_micro_usd"], told["affordable"], told["pockets"]) == (200, 0, False, ["main"])
    status, told = quote(gateway, client, model="other", max_tokens=10)
    assert told["affordable"] and 2_900_000 < told["usable_micro_usd"] <= 3_000_000
    poor = gateway.client("poor-quoted", "0.0005")
    status, told = quote(gateway, poor)
    assert told["hold_micro_usd"] == told["usable_micro_usd"] == 500, "a poor account's call holds all there is"


def test_usage_is_exported_exactly(gateway):
    client = gateway.client("exported")
    for slug in ("m", "m", "other"):
        gateway.record(rid_of(call(gateway, client, model=slug).headers))
    cost_p = sum(row.cost_p for row in gateway.records(client))
    table = list(csv.DictReader(io.StringIO(gateway.run("usage", "export", "--account", client.acct))))
    assert [(row["model"], row["requests"], row["key"]) for row in table] == [("m", "2", client.kid), ("other", "1", client.kid)]
    assert sum(int(row["cost_p"]) for row in table) == cost_p
    assert sum(int(row["cost_usd"].replace(".", "")) for row in table) == cost_p, "USD with all twelve places"
    text = gateway.run("usage", "export", "--account", client.acct, "--by", "account", "--format", "json")
    line, = map(json.loads, text.splitlines())
    assert (line["account"], line["requests"], line["output"], line["cost_p"]) == (client.acct, 3, 30, cost_p)
    each = gateway.run("usage", "export", "--account", client.acct, "--each").splitlines()
    assert [json.loads(row)["rid"] for row in each] == [row.rid for row in gateway.records(client)]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert gateway.run("usage", "export", "--account", client.acct, "--until", "2020-01-01").count("\n") == 1
    assert gateway.run("usage", "export", "--account", client.acct, "--since", today).count("\n") >= 1
    gateway.run("usage", "export", "--by", "colour", code=2)


def signed(gateway, event, *, secret=SECRET, at=None):
    body = json.dumps(event).encode()
    at = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, "sha256").hexdigest()
    request = urllib.request.Request(f"{gateway.url}/hooks/topup", body, {"X-Smartoken-Signature": f"t={at},v1={mac}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["code"]


def test_a_topup_event_counts_once(gateway):
    client = gateway.client("payer", "")
    event = {"event": "evt_1", "account": client.acct, "amount_micro_usd": 2_000_000}
    for _ in range(3):
        status, answer = signed(gateway, event)
        assert (status, answer["balance_micro_usd"]) == (200, 2_000_000)
    assert signed(gateway, {**event, "amount_micro_usd": 3}) == (409, "topup_declined")
    assert signed(gateway, {**event, "event": "evt_2", "account": "nobody"}) == (404, "account_not_found")
    assert signed(gateway, event, secret="") == signed(gateway, event, at=1) == (401, "invalid_signature")
    for wrong in ({**event, "amount_micro_usd": True}, {**event, "amount_micro_usd": 1.5}, {**event, "x": 1}):
        assert signed(gateway, wrong) == (400, "invalid_json")
    assert gateway.account(client)["balance_u"] == 2_000_000
    gateway.run("account", "adjust", client.acct, "--key", "k", "--reason", "undo", "--", "-2")


def test_limits_are_told_right_to_the_second(gateway):
    """Six a minute, all at once; then one every ten seconds."""
    client = gateway.client("limited")
    for left in (5, 4, 3, 2, 1, 0):
        headers = call(gateway, client, model="rpm").headers
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("6", str(left))
    with pytest.raises(openai.RateLimitError) as refused:
        call(gateway, client, model="rpm")
    headers = refused.value.response.headers
    assert refused.value.code == "requests_per_minute" and headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(headers["retry-after"]) <= 10 and int(headers["x-ratelimit-reset-requests"][:-1]) <= 60
    time.sleep(int(headers["retry-after"]))
    assert call(gateway, client, model="rpm").status_code == 200, "what we said is when it passes"


def test_token_limits_are_corrected_by_what_was_used(gateway):
    client = gateway.client("counted")
    headers = call(gateway, client, model="tpm", max_tokens=5000).headers
    assert int(headers["x-ratelimit-remaining-tokens"]) < 1000, "all that it may use is taken first"
    used = gateway.record(rid_of(headers)).usage.total
    assert used > 5000, "the upstream filled it"
    with pytest.raises(openai.RateLimitError) as refused:
        call(gateway, client, model="tpm", max_tokens=5000)
    assert refused.value.code == "tokens_per_minute" and int(refused.value.response.headers["retry-after"]) <= 60
    short = gateway.client("short")
    for _ in range(3):
        left = call(gateway, short, model="tpm", max_tokens=3000, extra_body={"x_fault": "ok?tokens=10"}).headers
    assert int(left["x-ratelimit-remaining-tokens"]) > 2500, "what was not used was given back"
    with pytest.raises(openai.BadRequestError) as refused:
        call(gateway, client, model="tpm", max_tokens=7000)
    assert refused.value.code == "request_too_large" and "6000" in refused.value.message


def test_a_limited_client_moves_no_money(gateway):
    """Limits come before the ledger: a refused call without a lease leaves no trace in the books."""
    poor = gateway.client("hasty", "0.0002", "--rpm", "1")
    assert call(gateway, poor, max_tokens=20).status_code == 200
    for _ in range(5):
        with pytest.raises(openai.RateLimitError):
            call(gateway, poor, max_tokens=20)
    assert PRICE.output_u and len(gateway.records(poor)) <= 1
