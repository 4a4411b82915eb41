"""Chat through the official SDK: what goes through untouched, and what the usage says."""

import json

import pytest

from smartoken.testing.answers import words
from tests.harness import PRICE, token_cost_p
from tests.journeys.conftest import SAY, ask, rid_of

HABITS = ("renamed", "always", "every", "openrouter", "deepseek", "moonshot", "zhipu", "no-done")
UNKNOWN = b'"x_unknown":{"b": 1.50, "a": [1]}'


def events(lines):
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_plain_chat_with_its_record(gateway, client, sdk):
    raw = sdk.chat.completions.with_raw_response.create(model="renamed", messages=SAY, max_tokens=5)
    answer = raw.parse()
    assert answer.choices[0].message.content == "".join(words(5))
    record = gateway.record(rid_of(raw.headers))
    assert (record.status, record.model, record.channel, record.acct) == ("ok", "renamed", "c-renamed", client.acct)
    assert record.usage.output == 5 == answer.usage.completion_tokens
    assert record.usage.input == answer.usage.prompt_tokens
    assert record.cost_p == token_cost_p(PRICE, record.usage)


def test_streamed_chat_with_its_record(gateway, sdk):
    with sdk.chat.completions.with_streaming_response.create(
            model="renamed", messages=SAY, max_tokens=7, stream=True) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = list(raw.iter_lines())
        rid = rid_of(raw.headers)
    text = [e["choices"][0]["delta"].get("content") for e in events(lines)]
    assert "".join(filter(None, text)) == "".join(words(7))
    assert [line for line in lines if line][-1] == "data: [DONE]"
    record = gateway.record(rid)
    assert (record.status, record.stream, record.usage.output, record.usage.source) == ("ok", True, 7, "reported")


def test_unknown_fields_arrive_byte_for_byte(gateway, client, upstream_process):
    """The body is written by hand: an SDK would write 1.50 as 1.5 before it ever left."""
    body = b'{"enable_thinking":true, ' + UNKNOWN + b', "model": "renamed", "max_tokens": 4,"messages":' \
        + json.dumps(SAY).encode() + b',"seed": 1e2}'
    status, _, answer = gateway.post("/v1/chat/completions", body, client.key)
    assert status == 200
    seen = upstream_process.seen()[-1]
    assert seen["model"] == "up-renamed"
    for part in (b'{"b": 1.50, "a": [1]}', b"1e2", json.dumps(SAY).encode()):
        assert part in seen["body"]
    assert list(json.loads(seen["body"])) == list(json.loads(body)), "fields keep their order"
    names = {name.lower(): value for name, value in seen["headers"]}
    assert client.key not in str(names), "a client's key goes no further"
    assert json.loads(answer)["choices"][0]["message"]["reasoning_content"] == "".join(words(3))


def test_unknown_fields_of_the_sdk_arrive(sdk, upstream_process):
    more = {"enable_thinking": True, "x_unknown": {"b": 1.50, "a": [1]}}
    answer = sdk.chat.completions.create(model="renamed", messages=SAY, max_tokens=4, extra_body=more)
    seen = json.loads(upstream_process.seen()[-1]["body"])
    assert {name: seen[name] for name in more} == more
    assert answer.choices[0].message.reasoning_content == "".join(words(3))


def test_tool_calls_arrive_whole(sdk):
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
    asked = {"model": "renamed", "messages": SAY, "tools": [tool], "tool_choice": "required"}
    answer = sdk.chat.completions.create(**asked)
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {"city": "Oslo"}
    parts = [chunk.choices[0].delta.tool_calls[0].function.arguments
             for chunk in sdk.chat.completions.create(**asked, stream=True)
             if chunk.choices and chunk.choices[0].delta.tool_calls]
    assert json.loads("".join(parts)) == {"city": "Oslo"}


def test_models_are_listed_without_a_key(gateway, sdk):
    ids = {found.id for found in sdk.models.list()}
    assert {"renamed", "two-ways"} <= ids
    status, headers, body = gateway.get("/v1/models/renamed")
    found = json.loads(body)
    assert status == 200 and headers["x-request-id"]
    assert (found["id"], found["model_type"], found["context_length"]) == ("renamed", "llm", 128_000)
    assert found["pricing"]["input_per_mtok"] == PRICE.input_u
    assert found["pricing"]["cache_read_per_mtok"] == PRICE.cache_read_u


@pytest.fixture(scope="module")
def habits(sdk):
    """{model: (a stream without, one with include_usage)} for every usage habit of upstreams."""
    more = {"max_tokens": 6, "stream": True}
    return {slug: (ask(sdk, model=slug, **more), ask(sdk, model=slug, **more, stream_options={"include_usage": True}))
            for slug in HABITS}


@pytest.mark.parametrize("slug", HABITS)
def test_the_usage_chunk_is_given_to_who_asked_and_kept_from_who_did_not(gateway, habits, slug):
    (quiet, rid), (lines, rid_asked) = habits[slug]
    assert all(event["choices"] for event in events(quiet)), "many clients index choices[0]"
    assert gateway.record(rid).usage.output == 6
    asked, rid = events(lines), rid_asked
    said = [event["usage"] for event in asked if event.get("usage")]
    said += [event["choices"][0]["usage"] for event in asked if event["choices"] and event["choices"][0].get("usage")]
    assert said and said[-1]["completion_tokens"] == 6
    record = gateway.record(rid)
    assert (record.usage.output, record.usage.source) == (6, "reported")
    assert record.usage.input == said[-1]["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_reports_no_usage_is_counted(gateway, sdk, stream):
    with sdk.chat.completions.with_streaming_response.create(
            model="no-usage", messages=SAY, max_tokens=40, stream=stream) as raw:
        list(raw.iter_lines())
        rid = rid_of(raw.headers)
    record = gateway.record(rid)
    assert record.usage.source == "counted"
    assert 0 < record.usage.output <= 40 and record.usage.input > 0
    assert record.cost_p == token_cost_p(PRICE, record.usage)


@pytest.mark.parametrize("stream", [False, True])
def test_cost_is_told_to_who_asks(gateway, sdk, stream):
    more = {"stream_options": {"include_usage": True}} if stream else {}
    with sdk.chat.completions.with_streaming_response.create(
            model="renamed", messages=SAY, max_tokens=9, stream=stream, extra_query={"cost": "1"}, **more) as raw:
        lines = list(raw.iter_lines())
        rid = rid_of(raw.headers)
    usage = [e["usage"] for e in events(lines) if e.get("usage")][-1] if stream else json.loads("".join(lines))["usage"]
    cost_p = gateway.record(rid).cost_p
    assert type(usage["cost_micro_usd"]) is int and abs(usage["cost_micro_usd"] * 1_000_000 - cost_p) < 1_000_000


def test_cached_input_has_its_own_price(gateway, sdk):
    raw = sdk.chat.completions.with_raw_response.create(
        model="renamed", messages=SAY, max_tokens=2, prompt_cache_key="k")
    usage = raw.parse().usage
    record = gateway.record(rid_of(raw.headers))
    cached = usage.prompt_tokens_details.cached_tokens
    assert cached > 0 and (record.usage.cache_read, record.usage.input) == (cached, usage.prompt_tokens - cached)
    assert record.cost_p == token_cost_p(PRICE, record.usage)
