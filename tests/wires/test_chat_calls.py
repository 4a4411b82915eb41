"""Tool calls of chat completions that come in pieces, as vendors send them: gathered, bridged, and answered by us."""

import json

import pytest
from smartoken_plugins.bridges import smartoken_bridges
from smartoken_plugins.wire_anthropic import messages
from smartoken_plugins.wire_openai import chat, responses
from smartoken_plugins.wire_openai.chat_tools import TURNS

WIRES = {"openai.responses": responses, "anthropic.messages": messages}
ASKED = {"openai.responses": {"model": "m", "input": "x"},
         "anthropic.messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}}
WANTED = [("f", {"a": 1}), ("f", {"b": 2})]


def piece(index: int | None, id: str | None, name: str | None, arguments: object, **more) -> dict:
    function = {"arguments": arguments} | ({"name": name} if name is not None else {})
    return {"function": function, **({"index": index} if index is not None else {}), **({"id": id} if id else {}), **more}


def stream_of(*deltas: dict) -> bytes:
    chunks = [{"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


# Two calls of f each time: by index; all 0 with new ids; no index; ids repeated; side by side; all in one event.
PIECES = {
    "index": [piece(0, "c0", "f", '{"a"'), piece(0, None, None, ":1}"), piece(1, "c1", "f", '{"b"'), piece(1, None, None, ":2}")],
    "zero": [piece(0, "c0", "f", '{"a"'), piece(0, None, None, ":1}"), piece(0, "c1", "f", '{"b"'), piece(0, None, "", ":2}")],
    "missing": [piece(None, "c0", "f", '{"a":1}'), piece(None, "c1", "f", '{"b"'), piece(None, None, None, ":2}")],
    "repeated": [piece(0, "c0", "f", '{"a"'), piece(0, "c0", "f", ":1}"), piece(0, "c1", "f", '{"b"'), piece(0, "c1", "f", ":2}")],
    "mixed": [piece(0, "c0", "f", '{"a"'), piece(0, "c1", "f", '{"b"'), piece(0, "c0", None, ":1}"), piece(0, "c1", None, ":2}")],
    "late": [piece(0, None, "f", '{"a"'), piece(0, "c0", None, ":1}"), piece(1, "c1", "f", '{"b":2}')],
    "objects": [piece(0, "c0", "f", {"a": 1}), piece(0, "c1", "f", {"b": 2})],
}


@pytest.mark.parametrize("manner", PIECES)
@pytest.mark.parametrize("together", [False, True])
def test_every_vendors_calls_are_told_apart(manner, together):
    pieces = PIECES[manner]
    data = stream_of({"tool_calls": pieces}) if together else stream_of(*({"tool_calls": [one]} for one in pieces))
    calls = json.loads(chat.gather(data))["choices"][0]["message"]["tool_calls"]
    assert [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == WANTED
    turn = TURNS.turn({"f": "f"}, None)
    assert turn.feed(data) == b""
    assert [(call.name, json.loads(call.arguments)) for call in turn.calls] == WANTED
    assert len({call.id for call in turn.calls}) == 2
    theirs = TURNS.turn({}, None)
    shown = chat.gather(theirs.feed(data) + TURNS.close(theirs, None, bytes))
    assert [json.loads(call["function"]["arguments"]) for call in json.loads(shown)["choices"][0]["message"]["tool_calls"]
            ] == [arguments for _, arguments in WANTED]
    whole = json.dumps({"choices": [{"message": {"tool_calls": [
        piece(None, "c0", "f", {"a": 1}), piece(None, "c1", "f", '{"b":2}')]}, "finish_reason": "tool_calls"}]}).encode()
    for bridge in smartoken_bridges():
        if bridge.target == "openai.chat":
            wire = WIRES[bridge.source]
            ask = wire.peek(json.dumps(ASKED[bridge.source]).encode())
            stream = bridge.stream(ask)
            for answer in (wire.gather(stream.feed(data) + stream.close()), bridge.answer(whole, ask)):
                answer = json.loads(answer)
                found = answer.get("output") or answer.get("content")
                assert [(one["name"], one.get("input") or json.loads(one["arguments"])) for one in found] == WANTED


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_turn_has_the_thoughts_and_the_vendors_own_keys(stream):
    """DeepSeek and Moonshot refuse a call without the thoughts before it, Gemini one without its signature."""
    ask = chat.peek(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    sealed = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    details = [{"type": "reasoning.text", "text": "hm"}, {"type": "reasoning.text", "text": "m"}]
    turn = TURNS.turn({"f": "f"}, None)
    if stream:
        turn.feed(stream_of(
            {"role": "assistant", "reasoning_content": "h", "reasoning": None}, {"reasoning_content": "m", "content": ""},
            {"reasoning_details": details[:1]}, {"reasoning_details": details[1:]},
            {"tool_calls": [piece(0, "c0", "f", "", type="function", **sealed)]}, {"tool_calls": [piece(0, None, None, "{}")]}))
    else:
        turn.whole(json.dumps({"id": "1", "choices": [{"finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": None, "reasoning_content": "hm", "reasoning_details": details,
            "tool_calls": [piece(None, "c0", "f", "{}", type="function", **sealed)]}}]}).encode())
    sent = json.loads(TURNS.follow(ask, turn, {"c0": "r"}, False).body)["messages"]
    assert sent[1] == {"role": "assistant", "content": None, "reasoning_content": "hm", "reasoning_details": details,
                       "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}, **sealed}]}
    assert sent[2] == {"role": "tool", "tool_call_id": "c0", "content": "r"}
