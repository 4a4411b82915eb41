"""POST /api/v1/chat/completions: the reference document's fields, ranges, headers; composite models and their tools."""

import json

import pytest

from smartoken.domain.money import P_PER_U, ceil_u
from smartoken.domain.price import Price, token_cost_p
from smartoken.testing.answers import words
from tests.harness import PRICE, until

SAY = [{"role": "user", "content": "Say something."}]
PICTURE = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {
    "type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
FIND = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
V1 = Price(input_u=2_000_000, output_u=8_000_000, cache_read_u=2_000_000)
SURCHARGE_P = 3000 * P_PER_U


def ask(gateway, client, path="/api/v1/chat/completions", **body):
    status, headers, data = gateway.post(path, {"messages": SAY, **body}, client.key)
    return status, headers, data


def answered(gateway, client, **body):
    """The JSON of a good whole answer."""
    status, headers, data = ask(gateway, client, **body)
    assert status == 200, data
    assert headers["x-solquir-trace-id"] == headers["x-request-id"]
    return json.loads(data)


def streamed(gateway, client, path="/api/v1/chat/completions", **body):
    """(text, the last chunk before [DONE], all chunks) of a good stream."""
    status, headers, data = ask(gateway, client, path, stream=True, **body)
    assert status == 200, data
    assert headers["content-type"].startswith("text/event-stream")
    events = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    return text, chunks[-1], chunks


def test_the_example_of_the_reference(gateway, client):
    found = answered(gateway, client, model="solquir-v1", max_tokens=5)
    assert set(found) >= {"id", "object", "created", "model", "choices", "usage", "thinking"}
    assert (found["object"], found["model"]) == ("chat.completion", "solquir-v1")
    assert type(found["created"]) is int and found["id"].startswith("chatcmpl-")
    choice = found["choices"][0]
    assert (choice["index"], choice["finish_reason"]) == (0, "length")
    assert choice["message"]["content"] == "".join(words(5))
    usage = found["usage"]
    assert all(type(usage[name]) is int for name in ("prompt_tokens", "completion_tokens", "total_tokens",
                                                     "cost_micro_usd"))
    assert found["thinking"] == [{"stage": "route", "picked": "plain-a",
                                  "reason": "no rule held; the cheapest member that is well"}]


def test_a_stream_tells_both_in_its_last_chunk(gateway, client):
    text, last, chunks = streamed(gateway, client, model="renamed", max_tokens=6)
    assert text == "".join(words(6))
    assert last["usage"]["completion_tokens"] == 6 and type(last["usage"]["cost_micro_usd"]) is int
    assert last["thinking"] == [{"stage": "route", "picked": "renamed", "reason": "the model that was asked for"}]
    assert {chunk["model"] for chunk in chunks} == {"renamed"}
    assert not [chunk for chunk in chunks[:-1] if "thinking" in chunk]


def test_the_official_client_reads_it(sdk, gateway, client):
    raw = sdk.chat.completions.with_raw_response.create(model="renamed", messages=SAY, max_tokens=4)
    answer = raw.parse()
    record = gateway.record(raw.headers["x-solquir-trace-id"])
    assert answer.usage.cost_micro_usd == ceil_u(record.cost_p)
    assert answer.thinking[0]["picked"] == "renamed"
    assert (record.wire, record.cost_p) == ("solquir.chat", token_cost_p(PRICE, record.usage))
    chunks = list(sdk.chat.completions.create(model="renamed", messages=SAY, max_tokens=4, stream=True))
    assert chunks[-1].usage.completion_tokens == 4
    assert {one.id for one in sdk.models.list()} >= {"solquir-v1", "renamed"}
    assert sdk.models.retrieve("renamed").id == "renamed"


@pytest.mark.parametrize("usage", ["missing", "twice"])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_told_whatever_the_upstream_does(gateway, client, usage, stream):
    body = {"model": "renamed", "max_tokens": 20, "x_fault": f"ok?usage={usage}"}
    found = streamed(gateway, client, **body)[1] if stream else answered(gateway, client, **body)
    told = found["usage"]
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"] > 0
    assert told["cost_micro_usd"] > 0 and found["thinking"]


@pytest.mark.parametrize("name, value", [
    ("temperature", -0.1), ("temperature", 2.1), ("temperature", "1"), ("temperature", True), ("max_tokens", 32_769),
    ("max_tokens", 0), ("max_completion_tokens", 32_769), ("top_p", 1.5), ("top_p", -1), ("messages", []),
    ("stream", "yes"), ("model", 5)])
def test_what_is_out_of_range_is_a_400_that_names_it(gateway, client, name, value):
    status, headers, data = ask(gateway, client, **{"model": "renamed", name: value})
    error = json.loads(data)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", name)
    assert headers["x-solquir-trace-id"]


@pytest.mark.parametrize("given", [0, 2, 1.5, 0.7])
def test_the_edges_of_the_ranges_pass_as_they_are(gateway, client, upstream_process, given):
    answered(gateway, client, model="renamed", temperature=given, max_tokens=32_768, top_p=1,
             x_fault="ok?tokens=3")
    sent = json.loads(upstream_process.seen()[-1]["body"])
    assert (sent["temperature"], sent["max_tokens"], sent["top_p"]) == (given, 32_768, 1)


@pytest.mark.parametrize("given", [{}, {"temperature": None}])
def test_the_default_temperature_is_sent(gateway, client, upstream_process, given):
    answered(gateway, client, model="renamed", max_tokens=1, **given)
    sent = json.loads(upstream_process.seen()[-1]["body"])
    assert sent["temperature"] == 0.7 and "top_p" not in sent


@pytest.mark.parametrize("path, method, body, status", [
    ("/api/v1/chat/completions", "POST", b"{", 400), ("/api/v1/nowhere", "GET", None, 404),
    ("/api/v1/chat/completions", "GET", None, 405), ("/api/v1/models", "DELETE", None, 405),
    ("/api/v1", "GET", None, 404), ("/api/v1/storefront/listings/none", "GET", None, 404),
    ("/api/v1/chat/completions", "POST", b" " * 1_100_000, 413)])
def test_every_refusal_carries_the_trace_id(gateway, client, path, method, body, status):
    import urllib.error
    import urllib.request

    request = urllib.request.Request(gateway.url + path, body, {"Authorization": f"Bearer {client.key}"}, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as error:
        assert error.code == status
        assert error.headers["X-Solquir-Trace-Id"] == error.headers["X-Request-Id"]
        assert set(json.load(error)["error"]) >= {"type", "message"}


def test_no_key_is_401_with_a_trace_id(gateway):
    status, headers, data = gateway.post("/api/v1/chat/completions", {"model": "renamed", "messages": SAY})
    assert (status, json.loads(data)["error"]["type"]) == (401, "authentication_error")
    assert headers["x-solquir-trace-id"]


def test_v1_has_neither_the_header_nor_the_fields(gateway, client):
    status, headers, data = ask(gateway, client, "/v1/chat/completions", model="solquir-v1", max_tokens=3)
    found = json.loads(data)
    assert status == 200 and "x-solquir-trace-id" not in headers
    assert "thinking" not in found and "cost_micro_usd" not in found["usage"]


# twenty requests: (what is asked, who must answer, words of the reason)
ASKED = [
    ({}, "plain-a", "no rule held"),
    ({"tools": [FIND]}, "tools-a", "tools were brought along"),
    ({"messages": PICTURE}, "images-b", "there are pictures"),
    ({"messages": PICTURE, "tools": [FIND]}, "tools-a", "tools were brought along"),
    ({"messages": [{"role": "user", "content": "Read this LEGAL text"}]}, "plain-b", "the word 'legal'"),
    ({"messages": [{"role": "user", "content": "请解释这些条款"}]}, "plain-b", "the word '条款'"),
    ({"messages": [{"role": "user", "content": "你好，请写一首诗"}]}, "images-b", "language zh"),
    ({"messages": [{"role": "user", "content": "こんにちは、詩を書いて"}]}, "plain-a", "no rule held"),
    ({"tools": []}, "plain-a", "no rule held"),
    ({"messages": [{"role": "user", "content": "image_url"}]}, "plain-a", "no rule held"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("number", range(len(ASKED)))
def test_the_right_member_answers_and_says_why(gateway, client, stream, number):
    body, picked, reason = ASKED[number]
    body = {"model": "solquir-v1", "max_tokens": 4, **body}
    found = streamed(gateway, client, **body)[1] if stream else answered(gateway, client, **body)
    assert found["thinking"][0]["stage"] == "route"
    assert (found["thinking"][0]["picked"], reason in found["thinking"][0]["reason"]) == (picked, True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_member_that_is_down_hands_on_to_the_next(gateway, client, stream):
    body = {"model": "falls", "max_tokens": 4}
    found = streamed(gateway, client, **body)[1] if stream else answered(gateway, client, **body)
    route = found["thinking"][0]
    assert route["picked"] == "plain-a"
    assert "down did not answer" in route["reason"] or "down (" in route["reason"]


def test_a_composite_is_no_member_of_another(gateway, client):
    assert answered(gateway, client, model="nested", max_tokens=2)["thinking"][0]["picked"] == "plain-a"


@pytest.mark.parametrize("stream", [False, True])
def test_a_search_runs_and_is_charged_to_the_last_micro_dollar(gateway, client, engine, upstream_process, stream):
    engine.asked.clear()
    body = {"model": "searcher", "max_tokens": 8, "messages": [{"role": "user", "content": "legal: where is Oslo?"}]}
    status, headers, data = ask(gateway, client, stream=stream, **body)
    assert status == 200, data
    if stream:
        events = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
        chunks = [json.loads(event) for event in events[:-1]]
        found, choices = chunks[-1], [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        assert not [choice for choice in choices if choice["delta"].get("tool_calls")]
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]
        assert len({chunk["id"] for chunk in chunks}) == 1
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
    else:
        found = json.loads(data)
        message = found["choices"][0]["message"]
        assert "tool_calls" not in message and found["choices"][0]["finish_reason"] == "length"
        text = message["content"]
    assert text == "".join(words(8))
    assert engine.asked == ["Oslo"]
    route, tool = found["thinking"]
    assert (route["picked"], tool["stage"], tool["name"]) == ("wants-search", "tool", "search")
    assert type(tool["ms"]) is int and "error" not in tool
    second = json.loads(upstream_process.seen()[-1]["body"])
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert "Oslo is a city." in second["messages"][-1]["content"]
    rid = headers["x-solquir-trace-id"]
    rounds = [gateway.record(rid), gateway.record(f"{rid}-2")]
    assert [row.cost_p for row in rounds] == [token_cost_p(V1, rounds[0].usage),
                                              token_cost_p(V1, rounds[1].usage) + SURCHARGE_P]
    assert rounds[1].tools == {"search": 1}
    assert found["usage"]["cost_micro_usd"] == ceil_u(sum(row.cost_p for row in rounds))
    assert found["usage"]["completion_tokens"] == sum(row.usage.output for row in rounds) == 4 + 8
    assert found["usage"]["prompt_tokens"] == sum(row.usage.input for row in rounds)
    for row in rounds:
        assert row.attempts[-1].cost_p == token_cost_p(Price(input_u=100_000, output_u=400_000,
                                                             cache_read_u=100_000), row.usage)


@pytest.mark.parametrize("stream", [False, True])
def test_the_clients_tool_goes_to_the_client_and_ours_does_not(gateway, client, engine, stream):
    engine.asked.clear()
    body = {"model": "searcher", "tools": [FIND], "x_fault": "ok?wants=search,find"}
    status, _, data = ask(gateway, client, stream=stream, **body)
    assert status == 200, data
    if stream:
        chunks = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
        calls = [call for chunk in chunks if chunk["choices"]
                 for call in chunk["choices"][0]["delta"].get("tool_calls") or ()]
        assert {call["index"] for call in calls} == {0}
        name, arguments = calls[0]["function"]["name"], "".join(c["function"].get("arguments") or "" for c in calls)
        finish = [c["choices"][0]["finish_reason"] for c in chunks if c["choices"] and c["choices"][0]["finish_reason"]]
    else:
        choice = json.loads(data)["choices"][0]
        call, = choice["message"]["tool_calls"]
        name, arguments, finish = call["function"]["name"], call["function"]["arguments"], [choice["finish_reason"]]
    assert (name, json.loads(arguments), finish) == ("find", {"city": "Oslo"}, ["tool_calls"])
    assert engine.asked == []


def test_a_tool_of_the_same_name_is_the_clients(gateway, client, engine):
    engine.asked.clear()
    mine = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
    found = answered(gateway, client, model="searcher", tools=[mine])
    assert found["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "search"
    assert engine.asked == []
    found = answered(gateway, client, model="searcher", tools=[mine], x_fault="ok?wants=server_search")
    assert [stage.get("name") for stage in found["thinking"]] == [None, "search"] and engine.asked == ["Oslo"]


def test_a_member_that_cannot_be_asked_is_passed_over(gateway, client):
    """A bridge to responses knows no `n`; the next member does, and alone the bridged one is told why."""
    post = lambda **body: gateway.post("/v1/chat/completions", {"messages": SAY, "max_tokens": 4, **body}, client.key)
    status, headers, data = post(model="half-bridged", n=2)
    assert status == 200 and len(json.loads(data)["choices"]) == 2, data
    row = gateway.record(headers["x-request-id"])
    assert (row.channel, [attempt.channel for attempt in row.attempts]) == ("p", ["p"])
    assert gateway.record(post(model="half-bridged")[1]["x-request-id"]).channel == "bridged"
    status, _, data = post(model="bridged", n=2)
    assert (status, json.loads(data)["error"]["param"]) == (400, "n")


def test_tools_count_towards_the_limit_of_what_a_request_may_cost(gateway, client, engine):
    """A search costs 3,000 µUSD, a round of this some tens."""
    engine.asked.clear()
    body = {"model": "searcher", "max_tokens": 4, "x_fault": "ok?wants=search&rounds=99"}
    for limit_u, searches in ((2_900, {0}), (3_500, {1}), (20_000, {2, 3})):
        status, headers, data = ask(gateway, client, max_cost_micro_usd=limit_u, **body)
        assert status == 200, data
        found, rid = json.loads(data), headers["x-solquir-trace-id"]
        told_u = found["usage"]["cost_micro_usd"]
        rows = lambda rid=rid: [row for row in gateway.records(client) if row.rid.startswith(rid)]
        until(lambda rows=rows, told_u=told_u: ceil_u(sum(row.cost_p for row in rows())) == told_u, "all its rounds")
        assert sum(row.tools.get("search", 0) for row in rows()) == len(engine.asked) in searches
        assert told_u <= limit_u
        engine.asked.clear()


def test_the_rounds_are_bounded(gateway, client, engine):
    engine.asked.clear()
    found = answered(gateway, client, model="searcher", max_tokens=4, x_fault="ok?wants=search&rounds=99",
                     messages=[{"role": "user", "content": "legal"}])
    assert [stage["stage"] for stage in found["thinking"]] == ["route", "tool", "tool", "tool"]
    assert found["choices"][0]["message"]["content"] == "".join(words(4))
    assert len(engine.asked) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_thought_before_a_search_goes_back_to_it(gateway, client, upstream_process, stream):
    status, _, data = ask(gateway, client, model="searcher", stream=stream, x_fault="ok?wants=search&reasoning=2")
    assert status == 200, data
    sent = json.loads(upstream_process.seen()[-1]["body"])["messages"]
    assert sent[1]["role"] == "assistant" and sent[1]["reasoning_content"] == "".join(words(2))


@pytest.mark.parametrize("stream", [False, True])
def test_a_member_behind_a_bridge_is_offered_our_tool(gateway, client, engine, upstream_process, stream):
    engine.asked.clear()
    say = [{"role": "user", "content": 'call search {"query":"Bergen"}'}]
    body = {"model": "bridged-searcher", "max_tokens": 8, "messages": say}
    found = streamed(gateway, client, **body)[1] if stream else answered(gateway, client, **body)
    assert engine.asked == ["Bergen"] and [stage["stage"] for stage in found["thinking"]] == ["route", "tool"]
    sent = json.loads(upstream_process.seen()[-1]["body"])
    assert "Bergen is a city." in json.dumps(sent["input"][-1]) and sent["tools"][0]["name"] == "search"


def test_the_default_temperature_crosses_a_bridge(gateway, client, upstream_process):
    answered(gateway, client, model="bridged", max_tokens=1)
    assert json.loads(upstream_process.seen()[-1]["body"])["temperature"] == 0.7


def test_on_v1_the_tools_run_as_well(gateway, client, engine):
    engine.asked.clear()
    status, _, data = ask(gateway, client, "/v1/chat/completions", model="searcher", max_tokens=4,
                          messages=[{"role": "user", "content": "legal"}])
    assert status == 200 and engine.asked == ["Oslo"]
    assert "thinking" not in json.loads(data)
    status, _, data = ask(gateway, client, "/v1/chat/completions", model="searcher", max_tokens=4, stream=True,
                          messages=[{"role": "user", "content": "legal"}])
    chunks = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
    assert all(chunk["choices"] for chunk in chunks), "usage was not asked for"
