"""Bridges: requests keep their meaning and fit the vendors' own types; streams say what whole answers say, cut anywhere."""

import json
from collections.abc import Iterable

import anthropic.types.message_create_params as anthropic_params
import openai.types.chat.completion_create_params as chat_params
import openai.types.responses.response_create_params as responses_params
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smartoken_plugins.bridges import chat, messages, responses, smartoken_bridges
from smartoken_plugins.bridges.turn import Call, Image, Message, Result, Text, Thought
from smartoken_plugins.wire_anthropic import messages as messages_wire
from smartoken_plugins.wire_openai import chat as chat_wire
from smartoken_plugins.wire_openai import responses as responses_wire
from smartoken_plugins.wire_solquir import chat as solquir

from smartoken.errors import Refusal
from smartoken.testing.answers import plain_talk
from smartoken.testing.plays import parse
from smartoken.testing.wires import wires

BRIDGES = {(one.source, one.target): one for one in smartoken_bridges()}
WIRES = {wire.name: wire for wire in (chat_wire.WIRE, responses_wire.WIRE, messages_wire.WIRE)}
SIDES = {"openai.chat": chat, "openai.responses": responses, "anthropic.messages": messages}
UPSTREAM = {"openai.chat": "/chat/completions", "openai.responses": "/responses", "anthropic.messages": "/messages"}
SCHEMAS = {"openai.chat": pydantic.TypeAdapter(chat_params.CompletionCreateParamsNonStreaming),
           "openai.responses": pydantic.TypeAdapter(responses_params.ResponseCreateParamsNonStreaming),
           "anthropic.messages": pydantic.TypeAdapter(anthropic_params.MessageCreateParamsNonStreaming)}
ALL = sorted(BRIDGES)

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z0-9_]{0,11}", fullmatch=True)
arguments = st.dictionaries(names, words | st.integers(-9, 9) | st.booleans(), max_size=3)
schemas = st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(
    names, st.sampled_from([{"type": "string"}, {"type": "integer"}]), max_size=3)})
image = st.sampled_from(["https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo="])


@st.composite
def chat_requests(draw) -> dict:
    """Requests with all that every one of the three wires can say."""
    said: list[dict] = []
    for text in draw(st.lists(words, max_size=2)):
        said.append({"role": "system", "content": text})
    parts = st.one_of(words.map(lambda text: {"type": "text", "text": text}),
                      image.map(lambda url: {"type": "image_url", "image_url": {"url": url}}))
    said.append({"role": "user", "content": draw(words | st.lists(parts, min_size=1, max_size=3))})
    for turn in range(draw(st.integers(0, 3))):
        calls = [{"id": f"call_{turn}_{at}", "type": "function",
                  "function": {"name": draw(names), "arguments": json.dumps(draw(arguments), separators=(",", ":"))}}
                 for at in range(draw(st.integers(0, 3)))]
        text = draw(words) if not calls else draw(st.none() | words)
        said.append({"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {}))
        said += [{"role": "tool", "tool_call_id": call["id"], "content": draw(words)} for call in calls]
        said.append({"role": "user", "content": draw(words)})
    body: dict = {"model": "m", "messages": said}
    optional = {"temperature": st.sampled_from([0, 0.5, 1]), "top_p": st.sampled_from([0.1, 1]),
                "max_completion_tokens": st.integers(16, 4000), "user": words,
                "reasoning_effort": st.sampled_from(["low", "medium", "high"]), "parallel_tool_calls": st.booleans()}
    for name, values in optional.items():
        if draw(st.booleans()):
            body[name] = draw(values)
    if draw(st.booleans()):
        tools = draw(st.lists(st.tuples(names, words, schemas), min_size=1, max_size=3, unique_by=lambda tool: tool[0]))
        body["tools"] = [{"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
                         for name, text, schema in tools]
        named = {"type": "function", "function": {"name": tools[0][0]}}
        body["tool_choice"] = draw(st.sampled_from(["auto", "none", "required", named]))
    else:
        body.pop("parallel_tool_calls", None)
    if draw(st.booleans()):
        body["response_format"] = {"type": "json_schema", "json_schema": {
            "name": "answer", "schema": draw(schemas), "strict": True}}
    return body


def consume(value: object) -> None:
    """Pydantic checks an Iterable while it is walked."""
    if isinstance(value, dict):
        for inner in value.values():
            consume(inner)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for inner in value:
            consume(inner)


def carried(source: str, target: str, body: dict, **quirks) -> dict:
    """What the upstream gets."""
    ask = WIRES[source].peek(json.dumps(body).encode())
    return json.loads(BRIDGES[source, target].request(ask, "up", quirks))


def meaning(turn) -> object:
    """A Turn without what no wire is asked to keep: where a system text stood, an empty strictness, the hints."""
    turn.system = ["\n\n".join(turn.system)] if turn.system else []
    for tool in turn.tools:
        tool.strict = bool(tool.strict)
        tool.schema = tool.schema or {"type": "object", "properties": {}}
    if turn.format is not None:
        turn.format.name, turn.format.strict = "answer", True
    if (turn.choice == "auto" and turn.parallel is False) or not turn.tools:
        turn.choice = ""
    if turn.choice == "none":
        turn.parallel = None
    if turn.parallel is True:
        turn.parallel = None
    turn.thoughts, turn.stop_field = False, "stop"
    turn.others = {name: value for name, (_, value) in turn.others.items() if name not in ("store", "user")}
    turn.items = _joined(turn.items)
    return turn


def _joined(items: list) -> list:
    """Neighbouring words of one speaker are one message on some wires; arguments are compared as values."""
    out: list = []
    for item in items:
        if isinstance(item, Message):       # "auto" is what leaving the detail out means
            item = Message(item.role, [Image(part.url) if isinstance(part, Image) else part for part in item.parts])
        if isinstance(item, Message) and out and isinstance(out[-1], Message) and out[-1].role == item.role:
            out[-1] = Message(item.role, out[-1].parts + item.parts)
        elif isinstance(item, Thought):
            out.append(Thought(item.text, item.seal))
        elif isinstance(item, Call):
            out.append(Call(item.id, item.name, json.dumps(json.loads(item.arguments)), item.custom))
        else:
            out.append(item)
    return out


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chat_requests(), st.sampled_from(["openai.responses", "anthropic.messages"]))
def test_a_chat_request_there_and_back_means_the_same(body, target):
    sent = carried("openai.chat", target, body)
    back = carried(target, "openai.chat", sent | {"model": "m"})
    first, second = meaning(chat.read_request(body)), meaning(chat.read_request(back))
    if target == "anthropic.messages":      # it must have a limit, and thinks by budget
        first.limit = first.limit or messages.DEFAULT_LIMIT
        if first.effort and "thinking" not in sent:
            first.effort = ""
        elif first.effort and sent["thinking"]["budget_tokens"] != messages.BUDGETS[first.effort]:
            first.effort = second.effort
    assert first == second


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chat_requests(), st.sampled_from(ALL))
def test_what_the_upstream_gets_fits_its_own_schema(body, way):
    source, target = way
    if source != "openai.chat":
        body = carried("openai.chat", source, body) | {"model": "m"}
    consume(SCHEMAS[target].validate_python(carried(source, target, body)))


@pytest.mark.parametrize("source, target, body, param", [
    ("openai.chat", "openai.responses", {"stop": ["x"]}, "stop"), ("openai.chat", "openai.responses", {"seed": 1}, "seed"),
    ("openai.chat", "openai.responses", {"n": 2}, "n"), ("openai.chat", "openai.responses", {"audio": {}}, "audio"),
    ("openai.chat", "openai.responses", {"logit_bias": {"1": 1}}, "logit_bias"),
    ("openai.chat", "openai.responses", {"presence_penalty": 1}, "presence_penalty"),
    ("openai.chat", "anthropic.messages", {"logprobs": True}, "logprobs"),
    ("openai.chat", "anthropic.messages", {"response_format": {"type": "json_object"}}, "response_format"),
    ("openai.chat", "anthropic.messages", {"temperature": 1.5}, "temperature"),
    ("openai.chat", "anthropic.messages", {"brand_new": 1}, "brand_new"),
    ("openai.chat", "anthropic.messages", {"messages": [{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]}, "messages"),
    ("openai.chat", "anthropic.messages", {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, "messages"),
    ("openai.responses", "openai.chat", {"tools": [{"type": "web_search"}]}, "tools"),
    ("openai.responses", "openai.chat", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("openai.responses", "openai.chat", {"prompt": {"id": "p"}}, "prompt"),
    ("openai.responses", "openai.chat", {"truncation": "auto"}, "truncation"),
    ("openai.responses", "openai.chat", {"input": [{"type": "item_reference", "id": "x"}]}, "input"),
    ("openai.responses", "openai.chat", {"input": [{"type": "message", "role": "user", "content": [
        {"type": "input_image", "file_id": "file_1"}]}]}, "input"),
    ("openai.responses", "openai.chat", {"input": [{"type": "message"}]}, "input"),
    ("anthropic.messages", "openai.chat", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
    ("anthropic.messages", "openai.responses", {"stop_sequences": ["x"]}, "stop_sequences"),
    ("anthropic.messages", "openai.responses", {"top_k": 5}, "top_k"),
    ("anthropic.messages", "openai.chat", {"container": "c"}, "container"),
])
def test_what_has_no_equivalent_is_refused_by_its_name(source, target, body, param):
    base = {"openai.chat": {"messages": [{"role": "user", "content": "x"}]}, "openai.responses": {"input": "x"},
            "anthropic.messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9}}[source]
    with pytest.raises(Refusal) as caught:
        carried(source, target, {"model": "m", **base, **body})
    assert caught.value.status == 400 and caught.value.param == param and param in caught.value.message


def answers_of(target: str, play: str, stream: bool, body: dict) -> bytes:
    """The pretend upstream's bytes for a bridged body."""
    module = wires()[UPSTREAM[target]]
    answer = module.answer(module.read(json.dumps(body | {"stream": stream}).encode()), parse(play), plain_talk)
    return b"".join(data for data, _ in answer.pieces)


def stream_through(source: str, target: str, ask, data: bytes, cuts: Iterable[int]):
    """(inner reader, what the client gets) of a stream cut at these bytes."""
    inner, bridge = WIRES[target].reader(ask, {}, False), BRIDGES[source, target].stream(ask)
    out, last = b"", 0
    for cut in [*cuts, len(data)]:
        out += bridge.feed(inner.feed(data[last:cut]))
        last = cut
    return inner, out + bridge.feed(inner.close()) + bridge.close()


def heard(source: str, stream: bytes):
    """What a client understands of its stream: items, stop, usage."""
    reply = SIDES[source].read_answer(json.loads(WIRES[source].gather(stream)))
    return _joined(reply.items), reply.stop, reply.usage


PLAYS = ["ok", "ok?tools=1", "ok?reasoning=3", "ok?tools=1&reasoning=2&cached=1", "ok?tokens=1"]


@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("source, target", ALL)
def test_a_stream_says_what_the_whole_answer_says(source, target, play):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 30, "stream": True,
            "stream_options": {"include_usage": True}}
    if source != "openai.chat":
        body.pop("stream_options")
        body = carried("openai.chat", source, body) | {"model": "m", "stream": True}
    ask = WIRES[source].peek(json.dumps(body).encode())
    sent = json.loads(BRIDGES[source, target].request(ask, "up", {}))
    data = answers_of(target, play, True, sent)
    inner, out = stream_through(source, target, ask, data, [])
    said = heard(source, out)
    whole = BRIDGES[source, target].answer(answers_of(target, play, False, sent), ask)
    reply = SIDES[source].read_answer(json.loads(whole))
    assert said == (_joined(reply.items), reply.stop, reply.usage)
    usage, failure, _ = WIRES[source].whole(whole, ask, {})
    assert failure is None and usage == inner.usage() == said[2]      # equal usage on both sides, hence equal cost
    client = WIRES[source].reader(ask, {}, False)
    assert client.feed(out) + client.close() == out and client.ended and client.failure is None
    for cut in range(1, len(data), 1 if play == "ok?tools=1" else 7):
        again, cut_out = stream_through(source, target, ask, data, [cut])
        assert heard(source, cut_out) == said, cut
        assert again.usage() == usage
    assert heard(source, stream_through(source, target, ask, data, range(1, len(data)))[1]) == said


GOLDEN = b"""event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"output_tokens":1}}}

event: brand_new
data: {"type":"brand_new","index":{"deep":[1]}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h\xc3\xbcm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"\\u4f60 \xf0\x9f\xa6\x8a"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"unknown_delta","x":1}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\\"a\\": "}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"[1]}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40}}

event: message_stop
data: {"type":"message_stop"}

"""


@pytest.mark.parametrize("source", ["openai.chat", "openai.responses"])
@pytest.mark.parametrize("crlf", [False, True])
def test_a_golden_transcript_cut_at_every_byte(source, crlf):
    data = GOLDEN.replace(b"\n", b"\r\n") if crlf else GOLDEN
    body = {"messages": [{"role": "user", "content": "x"}]} if source == "openai.chat" else {"input": "x"}
    ask = WIRES[source].peek(json.dumps({"model": "m", "stream": True, **body}).encode())
    for cut in range(1, len(data)):
        inner, out = stream_through(source, "anthropic.messages", ask, data, [cut])
        items, stop, usage = heard(source, out)
        assert [item for item in items if isinstance(item, Message)] == [Message("assistant", [Text("你 🦊")])]
        assert [(item.id, item.name, json.loads(item.arguments)) for item in items if isinstance(item, Call)] == [
            ("t1", "f", {}), ("t2", "g", {"a": [1]})]
        assert next(item for item in items if isinstance(item, Thought)).text == "hüm" and stop == "calls"
        assert (usage.input, usage.cache_read, usage.cache_write, usage.output) == (25, 5, 7, 40) and usage == inner.usage()


def test_a_responses_stream_is_numbered_and_complete():
    ask = WIRES["openai.responses"].peek(b'{"model":"m","input":"x","stream":true}')
    _, out = stream_through("openai.responses", "anthropic.messages", ask, GOLDEN, [])
    events = [json.loads(event.partition(b"data: ")[2]) for event in out.strip().split(b"\n\n")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    assert sorted(added) == sorted(done) and [item["id"] for item in events[-1]["response"]["output"]] == added
    assert all(event["item_id"] in added for event in events if "item_id" in event)


def test_sealed_thoughts_come_back_to_their_maker():
    """A Messages client keeps only a signature: the reasoning item travels in it, and returns whole."""
    item = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "E="}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    ask = WIRES["anthropic.messages"].peek(
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"adaptive"}}')
    answer = {"id": "resp_1", "object": "response", "status": "completed", "output": [item, call], "usage": None}
    message = json.loads(BRIDGES["anthropic.messages", "openai.responses"].answer(json.dumps(answer).encode(), ask))
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": message["content"]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]}]
    sent = carried("anthropic.messages", "openai.responses", {
        "model": "m", "max_tokens": 9, "messages": said, "thinking": {"type": "adaptive"}})
    kept = next(one for one in sent["input"] if one["type"] == "reasoning")
    assert (kept["id"], kept["encrypted_content"]) == ("rs_1", "E=") and "reasoning.encrypted_content" in sent["include"]


def test_custom_and_namespaced_tools_go_as_functions_and_come_back():
    tools = [{"type": "custom", "name": "patch", "description": "d"},
             {"type": "namespace", "name": "git", "tools": [{"type": "function", "name": "log", "parameters": {}}]}]
    ask = WIRES["openai.responses"].peek(json.dumps({"model": "m", "input": "x", "tools": tools}).encode())
    bridge = BRIDGES["openai.responses", "openai.chat"]
    sent = json.loads(bridge.request(ask, "up", {}))
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["patch", "git__log"]
    calls = [{"id": "1", "type": "function", "function": {"name": "patch", "arguments": '{"input":"*** x"}'}},
             {"id": "2", "type": "function", "function": {"name": "git__log", "arguments": "{}"}}]
    answer = {"id": "c", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": None, "tool_calls": calls}}]}
    output = json.loads(bridge.answer(json.dumps(answer).encode(), ask))["output"]
    assert (output[0]["type"], output[0]["input"]) == ("custom_tool_call", "*** x")
    assert (output[1]["name"], output[1]["namespace"]) == ("log", "git")


def test_mixed_calls_are_parted_for_a_client_that_takes_one_at_a_time():
    def chunk(index: int, **function) -> bytes:
        call = {"index": index, "function": function} | ({"id": f"c{index}"} if "name" in function else {})
        return b"data: %b\n\n" % json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}).encode()

    data = (chunk(0, name="f", arguments="") + chunk(1, name="g", arguments="") + chunk(0, arguments='{"a"')
            + chunk(1, arguments='{"b"') + chunk(0, arguments=":1}") + chunk(1, arguments=":2}")
            + b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n')
    ask = WIRES["anthropic.messages"].peek(b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}')
    items, stop, _ = heard("anthropic.messages", stream_through("anthropic.messages", "openai.chat", ask, data, [])[1])
    assert [(item.name, json.loads(item.arguments)) for item in items] == [("f", {"a": 1}), ("g", {"b": 2})] and stop == "calls"


def test_results_stand_behind_their_calls_and_missing_ones_are_made():
    said = [{"role": "user", "content": "x"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "b", "output": "B"}]
    sent = carried("openai.responses", "openai.chat", {"model": "m", "input": said})
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [message["tool_call_id"] for message in sent["messages"][2:]] == ["a", "b"]
    assert isinstance(chat.read_request(sent).items[-1], Result)


def test_a_default_of_ours_is_not_sent_where_the_upstream_wants_none():
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    bridge = BRIDGES["openai.chat", "openai.responses"]
    own = {"own_temperature": True}
    for said, quirks, sent in (({}, {}, 0.7), ({}, own, None), ({"temperature": 1}, own, 1)):
        ask = solquir.peek(json.dumps(asked | said).encode())
        assert json.loads(bridge.request(ask, "up", quirks)).get("temperature") == sent
        assert json.loads(solquir.body(ask, "up", quirks)).get("temperature") == sent


@pytest.mark.parametrize("target", ["openai.chat", "openai.responses"])
def test_the_words_custom_and_namespace_may_stand_in_a_messages_clients_tools(target):
    schema = {"type": "object", "properties": {"namespace": {"type": "string"}, "kind": {"enum": ["custom"]}}}
    tools = [{"name": "f", "input_schema": schema}, {"type": "custom", "name": "g", "custom": {}, "input_schema": schema}]
    ask = WIRES["anthropic.messages"].peek(json.dumps({
        "model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "x"}], "tools": tools}).encode())
    sent = json.loads(BRIDGES["anthropic.messages", target].request(ask, "up", {}))
    reply = json.loads(BRIDGES["anthropic.messages", target].answer(answers_of(target, "ok?tools=1", False, sent), ask))
    _, stream = stream_through("anthropic.messages", target, ask, answers_of(target, "ok?tools=1", True, sent), [])
    for message in (reply, json.loads(messages_wire.gather(stream))):
        assert [(block["type"], block["name"]) for block in message["content"]] == [("tool_use", "f")]


def second_turn(seal: str) -> dict:
    """A Responses request with a call of the turn before and its result, behind a thought with this seal."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]}
    return {"model": "m", "reasoning": {"effort": "low"}, "max_output_tokens": 5000, "input": [
        {"role": "user", "content": "x"}, thought | ({"encrypted_content": seal} if seal else {}),
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"}]}


@pytest.mark.parametrize("quirks, kind", [({}, "enabled"), ({"thinking": "adaptive"}, "adaptive")])
def test_thinking_is_left_out_where_messages_would_refuse_it(quirks, kind):
    """As Anthropic does: thinking goes with no forced tool, no other temperature, and no call that stands alone."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    plain = {"model": "m", "messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low", "tools": tools,
             "max_tokens": 5000}
    called = [*plain["messages"], {"role": "assistant", "content": "Let me see.", "reasoning_content": "hm", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"}]
    answered = [*called, {"role": "assistant", "content": "So."}, {"role": "user", "content": "y"}]

    def thinks(source: str, body: dict) -> bool:
        sent = carried(source, "anthropic.messages", body, **quirks)
        assert sent.get("thinking", {"type": kind})["type"] == kind
        assert (sent.get("output_config") == {"effort": "low"}) == (kind == "adaptive")
        return "thinking" in sent

    for more, expected in (({}, True), ({"temperature": 1}, True), ({"temperature": 0.7}, False), ({"tool_choice": "auto"}, True),
                           ({"tool_choice": "required"}, False), ({"messages": called}, False), ({"messages": answered}, True),
                           ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, False)):
        assert thinks("openai.chat", plain | more) == expected, more
    assert thinks("openai.responses", second_turn("E=")) and not thinks("openai.responses", second_turn(""))
    ours = json.loads(BRIDGES["openai.chat", "anthropic.messages"].request(solquir.peek(json.dumps(plain).encode()), "up", quirks))
    assert ours["thinking"]["type"] == kind and "temperature" not in ours


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_client_may_give_sealed_thoughts_back(stream):
    """Then the next turn thinks on; what nobody may read goes back as such."""
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low", "max_tokens": 5000}
    ask, bridge = WIRES["openai.chat"].peek(json.dumps(asked).encode()), BRIDGES["openai.chat", "anthropic.messages"]
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "aGlk"},
              {"type": "thinking", "thinking": "so", "signature": "bW9y"}]
    call = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    message = {"id": "m1", "type": "message", "role": "assistant", "model": "c", "content": [*blocks, call],
               "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}}
    if stream:
        events = [{"type": "message_start", "message": message | {"content": []}}]
        for at, block in enumerate(message["content"]):
            events.append({"type": "content_block_start", "index": at, "content_block": block | (
                {"thinking": "", "signature": ""} if block["type"] == "thinking" else {})})
            if block["type"] == "thinking":
                events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in (
                    {"type": "thinking_delta", "thinking": block["thinking"]},
                    {"type": "signature_delta", "signature": block["signature"]})]
            events.append({"type": "content_block_stop", "index": at})
        events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}},
                   {"type": "message_stop"}]
        data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
        said = json.loads(chat_wire.gather(stream_through("openai.chat", "anthropic.messages", ask, data, [])[1]))
        assert [block["index"] for block in said["choices"][0]["message"]["thinking_blocks"]] == [0, 1, 2]
    else:
        said = json.loads(bridge.answer(json.dumps(message).encode(), ask))
    again = [*asked["messages"], said["choices"][0]["message"], {"role": "tool", "tool_call_id": "c1", "content": "r"}]
    assert again[1]["reasoning_content"] == "hm\n\nso"
    sent = carried("openai.chat", "anthropic.messages", asked | {"messages": again})
    assert sent["messages"][1]["content"] == [*blocks, call] and sent["thinking"]["type"] == "enabled"
