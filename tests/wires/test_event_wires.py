"""The wires with telling events against golden bytes, cut at every byte: what passes, what waits, what is read."""

import json

import pytest
from smartoken_plugins.wire_anthropic import messages
from smartoken_plugins.wire_gemini import generate
from smartoken_plugins.wire_openai import embeddings, responses

from smartoken.errors import Refusal
from smartoken.testing.answers import plain_talk
from smartoken.testing.plays import parse
from smartoken.testing.wires import wires

ASK = {
    "/responses": lambda **more: responses.peek(json.dumps({"model": "m", "input": "hi", "stream": True, **more}).encode()),
    "/messages": lambda **more: messages.peek(json.dumps(
        {"model": "m", "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}], "stream": True, **more}).encode()),
    ":streamGenerateContent": lambda **more: generate.peek_at(
        "POST", "/v1beta/models/m:streamGenerateContent", "alt=sse",
        json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **more}).encode()),
}
WIRES = {"/responses": responses.WIRE, "/messages": messages.WIRE, ":streamGenerateContent": generate.WIRE}


def stream_of(path: str, play: str = "ok?tokens=5&cached=2&input=11") -> bytes:
    """The pretend upstream's stream."""
    module, body = wires()[path], json.loads(ASK[path]().body)
    asked = module.read(json.dumps(body).encode())
    asked.stream = True
    return b"".join(data for data, _ in module.answer(asked, parse(play), plain_talk).pieces)


def run(path: str, stream: bytes, cuts, keep: bool = False):
    reader = WIRES[path].reader(ASK[path](), {}, keep)
    out, last = b"", 0
    for cut in [*cuts, len(stream)]:
        out += reader.feed(stream[last:cut])
        last = cut
    return reader, out + reader.close()


@pytest.mark.parametrize("path", WIRES)
def test_a_stream_passes_byte_for_byte_wherever_it_is_cut(path):
    stream = stream_of(path)
    for cuts in [[cut] for cut in range(1, len(stream))] + [range(1, len(stream))]:
        reader, out = run(path, stream, cuts)
        assert out == stream and reader.started and reader.finished and reader.failure is None, cuts
        usage = reader.usage()
        assert (usage.input, usage.cache_read, usage.output, reader.counted) == (9, 2, 5, 5)


@pytest.mark.parametrize("path", WIRES)
def test_the_cost_is_told_in_the_event_that_tells_usage(path):
    stream = stream_of(path)
    for cuts in [[cut] for cut in range(1, len(stream), 3)] + [range(1, len(stream))]:
        reader = WIRES[path].reader(ASK[path](), {}, True)
        out, last = b"", 0
        for cut in [*cuts, len(stream)]:
            out += reader.feed(stream[last:cut])
            last = cut
        rest = reader.close()
        out += reader.cost_event(WIRES[path].add_cost, 42) + rest
        assert out.count(b'"cost_micro_usd":42') == 1
        assert out.replace(b',"cost_micro_usd":42', b"") == stream


@pytest.mark.parametrize("path, end", [("/responses", b"event: response.completed"), ("/messages", b"event: message_delta"),
                                       (":streamGenerateContent", None)])
def test_without_its_end_a_stream_is_not_finished(path, end):
    stream = stream_of(path)
    cut = stream[:stream.index(end)] if end else stream[:stream.rindex(b"data: ")]
    reader, out = run(path, cut, [50])
    assert out == cut and reader.started and not reader.ended and not reader.finished
    usage = reader.usage()
    if path == "/responses":
        assert usage is None and reader.counted == 5
    else:                                   # the prompt is known by then; the output is what came
        assert (usage.input, usage.cache_read, usage.output) == (9, 2, 5 if end else 4) and usage.source == "counted"


OPENING = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"t","code":"server_is_overloaded","message":"no"}}\n\n'
FAILED = (b'event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed",'
          b'"error":{"code":"server_error","message":"no"}}}\n\n')
LIMITS = b'event: codex.rate_limits\ndata: {"type":"codex.rate_limits","rate_limits":{}}\n\n'


@pytest.mark.parametrize("path, stream", [
    ("/responses", ERROR), ("/responses", OPENING + ERROR), ("/responses", LIMITS + OPENING + FAILED),
    ("/responses", b"data: {not json\n\n"), ("/responses", b'data: "x"\n\n'), ("/responses", b'data: {"error":{"message":"m"}}\n\n'),
    ("/messages", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'),
    ("/messages", b'data: {"type":"ping"}\n\nevent: error\ndata: {"type":"error","error":{"type":"x","message":"m"}}\n\n'),
    (":streamGenerateContent", b'data: {"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}\r\n\r\n'),
])
def test_a_bad_opening_never_reaches_the_client(path, stream):
    for cut in range(1, len(stream)):
        reader, out = run(path, stream, [cut])
        assert out == b"" and reader.failure is not None and not reader.started, cut


def test_the_opening_waits_but_nothing_else_does():
    reader = responses.reader(ASK["/responses"](), {})
    assert reader.feed(LIMITS + OPENING) == b"" and not reader.started
    item = b'event: response.output_item.added\ndata: {"type":"response.output_item.added"}\n\n'
    assert reader.feed(item) == LIMITS + OPENING + item and reader.started
    assert reader.feed(b"event: new") == b"event: new"
    endless = responses.reader(ASK["/responses"](), {})
    assert endless.feed(OPENING * 17) == OPENING * 17


def test_an_error_in_the_middle_passes_and_is_seen():
    stream = stream_of("/responses", "error_mid?after=6")
    reader, out = run("/responses", stream, [40])
    assert out == stream and reader.failure is not None and reader.ended


@pytest.mark.parametrize("found, expected", [
    ({"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 20, "totalTokenCount": 33}, (10, 0, 23, 20)),
    ({"promptTokenCount": 10, "candidatesTokenCount": 23, "thoughtsTokenCount": 20, "totalTokenCount": 33}, (10, 0, 23, 20)),
    ({"promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 5}, (11, 4, 0, 0)),
    ({"promptTokenCount": -1}, None), ({"promptTokenCount": True}, None), ({"promptTokenCount": 1.5}, None), ({}, None),
])
def test_gemini_usage(found, expected):
    usage = generate.usage_of(found)
    assert (usage and (usage.input, usage.cache_read, usage.output, usage.reasoning)) == expected


@pytest.mark.parametrize("found, expected", [
    ({"input_tokens": 10, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 3}, (10, 5, 7, 3)),
    ({"input_tokens": 10, "cache_creation_input_tokens": None, "output_tokens": 0}, (10, 0, 0, 0)),
    ({"input_tokens": 10**18, "output_tokens": 1}, None), ({"output_tokens": True}, None), ({}, None),
])
def test_messages_usage_leaves_cached_tokens_outside(found, expected):
    usage = messages.usage_of(found)
    assert (usage and (usage.input, usage.cache_read, usage.cache_write, usage.output)) == expected


def test_quirks_shape_a_body_and_nothing_else_does():
    data = b'{"model":"a","x":{"b": 1.50},"input":"hi","temperature":1,"metadata":{}}'
    ask = responses.peek(data)
    assert responses.body(ask, "a", {}) == data
    assert responses.body(ask, "up", {}) == data.replace(b'"a"', b'"up"')
    quirks = {"set": {"store": False}, "default": {"instructions": ""}, "drop": ["temperature", "metadata"],
              "developer_role": True, "stream_only": True}
    assert json.loads(responses.body(ask, "a", quirks)) == {
        "model": "a", "x": {"b": 1.5}, "instructions": "", "store": False, "stream": True,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v1/responses", 405), ("PUT", "/v1/responses/resp_1", 405), ("GET", "/v1/responses/", 404),
    ("GET", "/v1/responses/a%2fb", 404), ("GET", "/v1/responses/resp_1/cancel", 404), ("DELETE", "/v1/responses/a/input_items", 405),
])
def test_paths_below_responses(method, path, status):
    with pytest.raises(Refusal) as caught:
        responses.peek_at(method, path, "", b"")
    assert caught.value.status == status


def test_a_stored_response_is_asked_for_by_its_own_path():
    ask = responses.peek_at("GET", "/v1/responses/resp_1/input_items", "limit=2&cost=1&channel=x", b"")
    assert (ask.suffix, ask.follows, ask.free, ask.slug) == ("/resp_1/input_items?limit=2", "resp_1", True, "")


@pytest.mark.parametrize("peek, data", [
    (responses.peek, {"input": "x"}), (responses.peek, {"model": "m", "background": True}),
    (responses.peek, {"model": "m", "conversation": "c"}), (responses.peek, {"model": "m", "previous_response_id": 1}),
    (messages.peek, {"model": "m", "messages": [1]}), (messages.peek, {"model": "m", "max_tokens": 5}),
    (messages.peek, {"model": "m", "max_tokens": -1, "messages": [1]}), (embeddings.peek, {"model": "m"}),
    (embeddings.peek, {"model": "m", "input": []}), (embeddings.peek, {"model": "m", "input": "x", "stream": True}),
])
def test_bad_bodies_are_400(peek, data):
    with pytest.raises(Refusal) as caught:
        peek(json.dumps(data).encode())
    assert caught.value.status == 400


@pytest.mark.parametrize("delay, rest_s", [("17s", 18), ("0.5s", 1), ("soon", None), (7, None), ("1e9s", None)])
def test_gemini_says_in_the_body_how_long_to_wait(delay, rest_s):
    details = [{"@type": "x", "reason": "RATE"}, {"@type": "y", "retryDelay": delay}]
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}
    for body in ({"error": error}, [{"error": error}]):
        failure = generate.failure(json.dumps(body).encode())
        assert (failure.code, failure.type, failure.status, failure.rest_s) == ("RATE", "RESOURCE_EXHAUSTED", 429, rest_s)


def two_choices(*events: dict) -> bytes:
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(event, separators=(",", ":")).encode() for event in events)


def choice(index: int, text: str, finish: str = "", made: int = 0) -> dict:
    one = {"content": {"role": "model", "parts": [{"text": text}]}} | ({"index": index} if index else {})
    usage = {"promptTokenCount": 9, "candidatesTokenCount": made, "totalTokenCount": 9 + made}
    return {"candidates": [one | ({"finishReason": finish} if finish else {})]} | ({"usageMetadata": usage} if made else {})


BOTH = choice(1, "d", "STOP", 7)
BOTH["candidates"] = choice(0, "c", "STOP")["candidates"] + BOTH["candidates"]


@pytest.mark.parametrize("tail, made", [
    ([choice(0, "c", "STOP", 4), choice(1, "d", made=6), choice(1, "e", "STOP", 7)], 7),     # one ends before the other
    ([choice(1, "c", "STOP", 4), choice(0, "d", made=6), choice(0, "e", "STOP", 7)], 7),
    ([choice(0, "c", made=5), BOTH], 7),
    ([choice(0, "c", "STOP", 4), choice(0, "", made=5)], 5),                                 # the second never came
    ([choice(0, "c", "STOP"), choice(1, "d", "STOP"), {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 7}}], 7),
])
@pytest.mark.parametrize("keep", [False, True])
def test_a_stream_of_two_gemini_choices_is_read_to_its_end(tail, made, keep):
    asked = ASK[":streamGenerateContent"](generationConfig={"candidateCount": 2})
    parts = [two_choices(event) for event in (choice(0, "a", made=1), choice(1, "b", made=2), *tail)]
    data = b"".join(parts)
    for cuts in [[cut] for cut in range(1, len(data))] + [range(1, len(data))]:
        reader, out, last = generate.reader(asked, {}, keep), b"", 0
        for cut in [*cuts, len(data)]:
            assert not reader.ended or last >= len(data) - 4, "nothing may be lost"
            out += reader.feed(data[last:cut])
            last = cut
        rest = reader.close()
        out += (reader.cost_event(generate.add_cost, 42) if keep else b"") + rest
        assert out.replace(b',"cost_micro_usd":42', b"") == data and reader.finished
        assert (reader.usage().output, reader.usage().source) == (made, "reported")
    whole = json.loads(generate.gather(data))["candidates"]
    texts = {0: "a", 1: "b"}
    for one in (one for event in tail for one in event.get("candidates", ())):
        texts[one.get("index", 0)] += one["content"]["parts"][0]["text"]
    assert ["".join(part["text"] for part in one["content"]["parts"]) for one in whole] == [texts[0], texts[1]]
    assert [one.get("index", 0) for one in whole] == [0, 1]


def test_a_cut_stream_of_two_gemini_choices_ends_both():
    reader = generate.reader(ASK[":streamGenerateContent"](generationConfig={"candidateCount": 2}), {}, True)
    reader.feed(two_choices(choice(0, "a", made=1), choice(1, "b", "STOP", 2)))
    why = Refusal(402, "insufficient_balance", "Used up.", code="insufficient_balance")
    last = json.loads(reader.cut(why, reader.usage(), generate.add_cost, 42).removeprefix(b"data: "))
    assert [(one["index"], one["finishReason"]) for one in last["candidates"]] == [(0, "MAX_TOKENS")]
    assert last["usageMetadata"]["cost_micro_usd"] == 42
