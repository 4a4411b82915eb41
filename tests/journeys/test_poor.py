"""Nearly empty balances: the last cents can be used, nobody gets more than they pay for, and the client is told why."""

import json

import anthropic
import openai
import pytest

from smartoken.domain.money import P_PER_U
from smartoken.testing.process import UpstreamProcess
from tests.harness import PRICE, Gateway, channel, model, until
from tests.journeys.conftest import SAY, rid_of, sdk_of

OUT_P = PRICE.output_u
WATCH = 64
# model: the wire of its channel, the clients' wires that are bridged to it, its field for the limit
BRIDGED = {"by-chat": ("chat", ["responses", "messages"], "max_tokens"),
           "by-resp": ("responses", ["chat", "messages"], "max_output_tokens"),
           "by-msg": ("messages", ["chat", "responses"], "max_tokens")}
WAYS = {"chat": ("/v1/chat/completions", {"messages": SAY}), "responses": ("/v1/responses", {"input": "Say something."}),
        "messages": ("/v1/messages", {"messages": SAY, "max_tokens": 5000})}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    upstream = UpstreamProcess(tmp_path_factory.mktemp("upstream") / "sent.jsonl")
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), workers=1)
    gateway.env["UPSTREAM_KEY"] = "secret"
    deaf = "ok?tokens=600&gap_ms=2"
    tables = [model(slug) for slug in ("plain", "deaf", "long", "tight", "deaf-msg", "deaf-resp", "deaf-gem", *BRIDGED)]
    tables += [way(slug, "anthropic" if wire == "messages" else "vllm", upstream.at(slug), wire, bridges=others)
               for slug, (wire, others, _) in BRIDGED.items()]
    tables += [way("deaf-msg", "anthropic", upstream.at("dm", deaf), "messages"),
               way("deaf-resp", "vllm", upstream.at("dr", deaf), "responses"),
               way("deaf-gem", "gemini", upstream.at("dg", deaf), "gemini")]
    tables += [channel("plain", upstream.at("plain"), {"plain": "plain"}),
               channel("deaf", upstream.at("deaf", deaf), {"deaf": "deaf"}, bridges=["messages", "responses"]),
               channel("long", upstream.at("long", "ok?tokens=3000&gap_ms=0"), {"long": "long"}),
               channel("tight-1", upstream.at("tight-1"), {"tight": "tight"}, rpm=1, priority=0),
               channel("tight-2", upstream.at("tight-2"), {"tight": "tight"}, rpm=1, priority=1)]
    gateway.apply(*tables)
    gateway.start()
    yield gateway
    gateway.close()


def way(name: str, provider: str, base_url: str, wire: str, **more: object) -> str:
    """A [[channels]] table for one model of its name, on one wire."""
    fields = {"name": name, "provider": provider, "base_url": base_url, "models": [name], "wire_api": [wire],
              "credential": "env:UPSTREAM_KEY", **more}
    return "[[channels]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


def seen_body(upstream) -> dict:
    return json.loads(upstream.seen()[-1]["body"])


def spend(sdk, **asked):
    raw = sdk.chat.completions.with_raw_response.create(**{"model": "plain", "messages": SAY, **asked})
    return raw.parse(), raw.headers


def test_a_poor_account_gets_as_much_output_as_it_can_pay_for(gateway, upstream):
    """The limit goes upstream, so that hidden reasoning cannot overrun it, and to the client as a header."""
    client = gateway.client("poor", "0.0001")
    with sdk_of(gateway, client.key) as sdk:
        answer, headers = spend(sdk)
    limit = int(headers["x-output-limit"])
    assert headers["x-output-limit-reason"] == "insufficient_balance"
    assert 16 <= limit <= client.credit_u * P_PER_U // OUT_P
    assert seen_body(upstream)["max_tokens"] == limit == answer.usage.completion_tokens
    assert gateway.record(rid_of(headers)).cost_p <= client.credit_u * P_PER_U


def test_the_last_cents_are_spent_and_not_one_more(gateway):
    client = gateway.client("last-cents", "0.0005")
    calls = 0
    with sdk_of(gateway, client.key) as sdk, pytest.raises(openai.APIStatusError) as refused:
        while calls < 100:
            spend(sdk, max_tokens=40)
            calls += 1
    assert (refused.value.status_code, refused.value.code) == (402, "insufficient_balance")
    shown = until(lambda: (seen := gateway.account(client))["balance_u"] == seen["available_u"] and seen, "the lease")
    least_u = (PRICE.input_u * 200 + 16 * OUT_P) // P_PER_U
    assert calls >= 5 and 0 <= shown["balance_u"] <= least_u, "what is left pays for no call"
    spent_p = sum(row.cost_p for row in gateway.records(client))
    assert client.credit_u - shown["balance_u"] == spent_p // P_PER_U


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_without_money_ends_as_one_that_reached_its_limit(gateway, upstream, usage):
    """The upstream does not keep to the limit; the client sees a whole, parsable stream with the reason in it."""
    client = gateway.client(f"deaf-{usage}", "0.0002")
    more = {"stream_options": {"include_usage": True}} if usage else {}
    with sdk_of(gateway, client.key) as sdk:
        stream = sdk.chat.completions.create(model="deaf", messages=SAY, stream=True, **more)
        chunks = list(stream)
        rid = rid_of(stream.response.headers)
    got = sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks)
    last = chunks[-2] if usage else chunks[-1]
    assert last.choices[0].finish_reason == "length" and last.id == chunks[0].id
    assert last.stop_detail["code"] == "insufficient_balance" and "balance" in last.stop_detail["message"]
    record = gateway.record(rid)
    assert (record.status, record.note) == ("cut", "insufficient_balance")
    assert got == record.usage.output < 600
    if usage:
        assert chunks[-1].usage.completion_tokens == record.usage.output
    assert record.cost_p <= client.credit_u * P_PER_U + WATCH * OUT_P, "never more than the bound"


def test_money_is_watched_after_the_first_of_several_choices_has_finished(gateway):
    """The upstream sends one choice after the other, 600 tokens each; there is money for little more than the first."""
    client = gateway.client("choices", "0.0008")
    with sdk_of(gateway, client.key) as sdk:
        stream = sdk.chat.completions.create(model="deaf", messages=SAY, stream=True, n=2)
        choices = [choice for chunk in stream for choice in chunk.choices]
        rid = rid_of(stream.response.headers)
    ends = [(choice.index, choice.finish_reason) for choice in choices if choice.finish_reason]
    assert [index for index, _ in ends] == [0, 1] and ends[1][1] == "length", "each choice ends once"
    record = gateway.record(rid)
    assert (record.status, record.note) == ("cut", "insufficient_balance")
    assert 600 < sum(bool(choice.delta.content) for choice in choices) == record.usage.output < 1200
    assert record.cost_p <= client.credit_u * P_PER_U + WATCH * OUT_P


@pytest.mark.parametrize("slug", ["deaf-msg", "deaf"])
def test_the_end_of_money_in_messages(gateway, slug):
    """Native and over a bridge: Anthropic's SDK sees a message that reached max_tokens."""
    client = gateway.client(f"messages-{slug}", "0.0002")
    with (anthropic.Anthropic(api_key=client.key, base_url=gateway.url, max_retries=0, timeout=60) as sdk,
          sdk.messages.stream(model=slug, max_tokens=5000, messages=SAY) as stream):
        message = stream.get_final_message()
    row, = until(lambda: gateway.records(client), "the record")
    assert message.stop_reason == "max_tokens" and row.note == "insufficient_balance"
    assert message.usage.output_tokens == row.usage.output < 600
    assert row.cost_p <= client.credit_u * P_PER_U + WATCH * OUT_P


@pytest.mark.parametrize("slug", ["deaf-resp", "deaf"])
def test_the_end_of_money_in_responses(gateway, slug):
    client = gateway.client(f"responses-{slug}", "0.0002")
    with sdk_of(gateway, client.key) as sdk:
        events = list(sdk.responses.create(model=slug, input="Say something.", stream=True, max_output_tokens=5000))
    row, = until(lambda: gateway.records(client), "the record")
    last = events[-1]
    assert last.type == "response.incomplete" and last.response.status == "incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens" and row.note == "insufficient_balance"
    assert last.response.usage.output_tokens == row.usage.output < 600


def test_the_end_of_money_in_gemini(gateway):
    client = gateway.client("gemini", "0.0002")
    _, _, body = gateway.post("/v1beta/models/deaf-gem:streamGenerateContent?alt=sse",
                              {"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]}, client.key)
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]
    row, = until(lambda: gateway.records(client), "the record")
    assert events[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert events[-1]["candidates"][0]["finishMessage"].startswith("insufficient_balance")
    assert events[-1]["usageMetadata"]["totalTokenCount"] == row.usage.total and row.note == "insufficient_balance"


def test_a_hold_grows_while_tokens_flow(gateway):
    """3,000 tokens where 1,024 were held for: the ledger is asked on the way, and nothing is cut."""
    client = gateway.client("grows", "0.03")
    with sdk_of(gateway, client.key) as sdk:
        stream = sdk.chat.completions.create(model="long", messages=SAY, stream=True)
        got = sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream)
        rid = rid_of(stream.response.headers)
    record = gateway.record(rid)
    assert (got, record.status, record.usage.output) == (3000, "ok", 3000)


def test_a_client_may_limit_the_cost_of_a_call(gateway, upstream):
    client = gateway.client("careful")
    with sdk_of(gateway, client.key) as sdk:
        answer, headers = spend(sdk, extra_body={"max_cost_micro_usd": 150})
        assert headers["x-output-limit-reason"] == "max_cost"
        body = seen_body(upstream)
        assert "max_cost_micro_usd" not in body, "that field is ours"
        assert body["max_tokens"] == int(headers["x-output-limit"]) == answer.usage.completion_tokens
        assert gateway.record(rid_of(headers)).cost_p <= 150 * P_PER_U
        spend(sdk, max_tokens=3, extra_body={"max_cost_micro_usd": 1000})
        assert seen_body(upstream)["max_tokens"] == 3, "the client's own limit is the lower one"
        for wrong in (1, 0, "5", 1.5):
            with pytest.raises(openai.BadRequestError) as refused:
                spend(sdk, extra_body={"max_cost_micro_usd": wrong})
            assert refused.value.param == "max_cost_micro_usd"
            assert refused.value.code == ("max_cost_too_low" if wrong == 1 else "invalid_value")
        stream = sdk.chat.completions.create(model="deaf", messages=SAY, stream=True,
                                             extra_body={"max_cost_micro_usd": 200})
        chunks = list(stream)
        assert chunks[-1].choices[0].finish_reason == "length"
        assert chunks[-1].stop_detail["code"] == "max_cost_reached"
        assert gateway.record(rid_of(stream.response.headers)).cost_p <= 200 * P_PER_U + WATCH * OUT_P


@pytest.mark.parametrize("slug, wire", [(slug, wire) for slug, (_, wires, _) in BRIDGED.items() for wire in wires])
@pytest.mark.parametrize("stream", [False, True])
def test_over_a_bridge_the_upstream_is_told_the_limit_as_well(gateway, upstream, slug, wire, stream):
    """Whether the balance sets it, or the client's own `max_cost_micro_usd`, which is no field of the upstream's."""
    path, body = WAYS[wire]
    body = {**body, "model": slug, "stream": stream}
    for usd, more, reason in (("0.0001", {}, "insufficient_balance"), ("1", {"max_cost_micro_usd": 150}, "max_cost")):
        client = gateway.client(f"{reason}-{slug}-{wire}-{stream}", usd)
        status, headers, data = gateway.post(path, {**body, **more}, client.key)
        assert (status, headers.get("x-output-limit-reason")) == (200, reason), data
        sent = seen_body(upstream)
        assert sent[BRIDGED[slug][2]] == int(headers["x-output-limit"]) and "max_cost_micro_usd" not in sent


def test_a_channel_at_its_limit_is_passed_over(gateway):
    """Two channels of one request a minute each: the third call is told when to come again, and cost nothing."""
    client = gateway.client("tight")
    with sdk_of(gateway, client.key) as sdk:
        used = [gateway.record(rid_of(spend(sdk, model="tight", max_tokens=2)[1])).channel for _ in range(2)]
        assert used == ["tight-1", "tight-2"]
        with pytest.raises(openai.InternalServerError) as refused:
            spend(sdk, model="tight", max_tokens=2)
    assert (refused.value.status_code, refused.value.code) == (503, "channels_full")
    assert 50 <= int(refused.value.response.headers["retry-after"]) <= 60


def test_the_books_of_all_this(gateway):
    gateway.check_books()
