"""The pretend upstream calls the tool that it is told to call, and talks about the result, on every wire with tools."""

import asyncio
import json

import aiohttp
import pytest

from smartoken.testing.turns import turn_of
from smartoken.testing.upstream import Upstream

SAY = 'Do it: call make {"path": "a/b.txt", "times": 3} and tell me.'
ARGUMENTS = {"path": "a/b.txt", "times": 3}


def chat(messages):
    return "/chat/completions", {"messages": messages, "tools": [{"type": "function", "function": {"name": "make"}}]}


def responses(items):
    return "/responses", {"input": items, "tools": [{"type": "function", "name": "make"}]}


def anthropic(messages):
    return "/messages", {"messages": messages, "max_tokens": 99, "tools": [{"name": "make", "input_schema": {}}]}


def call_of_chat(answer):
    call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    return call["name"], json.loads(call["arguments"])


def call_of_responses(answer):
    return answer["output"][0]["name"], json.loads(answer["output"][0]["arguments"])


def call_of_anthropic(answer):
    return answer["content"][0]["name"], answer["content"][0]["input"]


USER = {"role": "user", "content": SAY}
WIRES = {
    "chat": (chat, call_of_chat, {"role": "tool", "tool_call_id": "call_1", "content": "made"}),
    "responses": (responses, call_of_responses, {"type": "function_call_output", "call_id": "call_1", "output": "made"}),
    "anthropic": (anthropic, call_of_anthropic, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "made"}]}]}),
}


@pytest.mark.parametrize("wire", WIRES)
def test_a_call_is_made_as_told_and_its_result_talked_about(wire):
    shape, call_of, result = WIRES[wire]

    async def main():
        heard = []
        upstream = Upstream(talk=lambda said, wanted: heard.append(said) or ["ok"])
        await upstream.start()
        try:
            async with aiohttp.ClientSession() as http:
                for messages in ([USER], [USER, result]):
                    path, body = shape(messages)
                    async with http.post(upstream.at("a") + path, json={"model": "m", **body}) as answer:
                        whole = await answer.json()
                        assert answer.status == 200, whole
                        if len(messages) == 1:
                            assert call_of(whole) == ("make", ARGUMENTS)
        finally:
            await upstream.stop()
        return heard

    assert asyncio.run(main()) == [SAY, "made"]


@pytest.mark.parametrize(("said", "offered"), [
    (SAY, []), (SAY, ["other"]), ("call make now", ["make"]), ('call make {"open": ', ["make"]), ("", ["make"])])
def test_anything_else_is_words(said, offered):
    turn = turn_of([{"role": "user", "content": said}], offered)
    assert turn.tool == "" and turn.said == said
