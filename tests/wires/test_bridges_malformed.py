"""Requests of a wrong shape, crossing every bridge: each is translated or refused with a 400, whatever stands where."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from smartoken_plugins import bridges
from smartoken_plugins.wire_anthropic import messages
from smartoken_plugins.wire_openai import chat, responses

from smartoken.errors import Refusal

ODD = [None, True, -1, 1.5, "", "x", [], {}, [None], [[]], [{}], {"a": 1}, 10**30]
IMAGE, PDF = "data:image/png;base64,aGk=", "data:application/pdf;base64,aGk="
CHAT = {
    "model": "m", "max_tokens": 5000, "temperature": 1, "top_p": 0.5, "user": "u", "verbosity": "medium", "stop": ["x"], "n": 1, "reasoning_effort": "low", "parallel_tool_calls": True,
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "messages": [
        {"role": "system", "content": "s"}, {"role": "user", "content": [
            {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]},
        {"role": "assistant", "content": "a", "reasoning_content": "r", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"}]}
RESPONSES = {
    "model": "m", "max_output_tokens": 5000, "temperature": 1, "top_p": 0.5, "instructions": "i", "tool_choice": {"type": "function", "name": "f"},
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
              {"type": "custom", "name": "c", "format": {"type": "text"}}],
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}, "reasoning": {"effort": "low"},
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": IMAGE}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "e"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "o"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "c", "input": "i"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "o"}]}
MESSAGES = {
    "model": "m", "max_tokens": 5000, "temperature": 1, "top_p": 0.5, "metadata": {"user_id": "u"}, "system": [{"type": "text", "text": "s"}], "stop_sequences": ["x"],
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "f"}, "thinking": {"type": "enabled", "budget_tokens": 10},
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "t"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "x"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "r"}]}]}]}
SOUND = {chat.NAME: (chat, CHAT), responses.NAME: (responses, RESPONSES), messages.NAME: (messages, MESSAGES)}


def spoilt(value: Any) -> Iterator[Any]:
    """The value with each of ODD in the place of each of its parts, and without each of them."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        for odd in ODD:
            changed = copy.copy(value)
            changed[key] = odd
            yield changed
        changed = copy.copy(value)
        del changed[key]
        yield changed
        if isinstance(value[key], dict | list):
            for inner in spoilt(value[key]):
                changed = copy.copy(value)
                changed[key] = inner
                yield changed


@pytest.mark.parametrize("thinking", ["effort", "adaptive"])
@pytest.mark.parametrize("bridge", bridges.smartoken_bridges(), ids=lambda bridge: f"{bridge.source}-{bridge.target}")
def test_whatever_stands_where_is_translated_or_refused(bridge, thinking):
    if thinking == "adaptive" and bridge.target != messages.NAME:
        thinking = "thinking"
    quirks = {"thinking": thinking}
    wire, sound = SOUND[bridge.source]
    if bridge.target == responses.NAME:    # which has no stop sequences
        sound = {name: value for name, value in sound.items() if name not in ("stop", "stop_sequences")}
    bridge.request(wire.peek(json.dumps(sound).encode()), "up", quirks)
    refused = 0
    for request in spoilt(sound):
        try:
            json.loads(bridge.request(wire.peek(json.dumps(request).encode()), "up", quirks))
        except Refusal as refusal:
            assert (refusal.status, refusal.type) == (400, "invalid_request_error") and refusal.message
            refused += 1
    assert refused > 200, "most of it cannot be translated"


@pytest.mark.parametrize("source, body, param", [
    (chat, {"reasoning_effort": "enormous"}, "reasoning_effort"), (chat, {"reasoning_effort": ["low"]}, "reasoning_effort"),
    (responses, {"reasoning": {"effort": "enormous"}}, "reasoning"), (chat, {"temperature": "warm"}, "temperature"),
    (chat, {"temperature": True}, "temperature"), (responses, {"top_p": []}, "top_p")])
@pytest.mark.parametrize("thinking", ["effort", "adaptive"])
def test_a_value_out_of_range_is_told_by_its_field(source, body, param, thinking):
    sound = {name: value for name, value in SOUND[source.NAME][1].items() if name not in ("stop", "tool_choice")}
    bridge = next(one for one in bridges.smartoken_bridges() if (one.source, one.target) == (source.NAME, messages.NAME))
    with pytest.raises(Refusal) as told:
        bridge.request(source.peek(json.dumps(sound | body).encode()), "up", {"thinking": thinking})
    assert (told.value.status, told.value.param) == (400, param) and f"'{param}'" in told.value.message


def test_a_wrong_text_is_told_by_the_clients_own_field():
    ask = messages.peek(json.dumps(MESSAGES | {"messages": [{"role": "assistant", "content": [
        {"type": "text", "text": 5}]}]}).encode())
    bridge = next(one for one in bridges.smartoken_bridges() if (one.source, one.target) == (messages.NAME, chat.NAME))
    with pytest.raises(Refusal) as told:
        bridge.request(ask, "up", {})
    assert (told.value.status, told.value.param) == (400, "messages")
    assert told.value.message == "'messages' holds a text whose 'text' is no text."
