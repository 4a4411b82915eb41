"""The pretend upstream's Responses API: one turn with all of its events in order, or the whole object."""

import functools
from typing import Any

import msgspec

from smartoken.testing.answers import ID, Answer, Piece, Talk, dumps, error_value, named_event
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil, usage_numbers
from smartoken.testing.turns import turn_of

PATHS = ("/responses",)
CREATED = 1_700_000_000
CALL_NAME, CALL_ARGUMENTS = "look_up", ('{"ci', 'ty":', ' "Os', 'lo"}')


class Asked(msgspec.Struct):
    """What shapes the answer; `input` is a string or items."""

    model: str
    input: msgspec.Raw
    stream: bool = False
    max_output_tokens: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    reasoning: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    x_fault: str = ""


read = msgspec.json.Decoder(Asked).decode


class Shape(msgspec.Struct, frozen=True):
    """All that the bytes of an answer depend on, so that equal calls share them."""

    model: str
    stream: bool
    words: tuple[str, ...]
    incomplete: bool
    tool: str
    arguments: tuple[str, ...]
    prompt: int
    cached: int
    thoughts: tuple[str, ...]
    play: Play


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """The good answer to `asked`, bent by `play`."""
    allowed = asked.max_output_tokens or -1
    offered = [tool.get("name") for tool in asked.tools or ()] if asked.tool_choice != "none" else ()
    turn = turn_of(msgspec.json.decode(asked.input), offered)
    words = tuple(talk(turn.said, play.tokens if play.tokens >= 0 else allowed))
    prompt = play.input if play.input >= 0 else len(asked.input) // 4 + 1
    cached = play.cached if play.cached >= 0 else prompt // 2 if asked.prompt_cache_key else 0
    effort = (asked.reasoning or {}).get("effort")
    thoughts = play.reasoning if play.reasoning >= 0 else 3 if effort not in (None, "none") else 0
    thoughts = min(thoughts, max(len(words) - 1, 0))
    shape = Shape(asked.model, asked.stream, words[thoughts:], len(words) == allowed,
                  turn.tool or _tool(asked, play), turn.arguments or CALL_ARGUMENTS, prompt, min(cached, prompt),
                  words[:thoughts], play)
    return (_kept if len(words) <= 256 else _render)(shape)


def error_events(play: Play) -> tuple[bytes, ...]:
    """`error` and `response.failed`, which ends the stream."""
    error = error_value(play).get("error", error_value(play))
    code, message = str(error.get("code")), error["message"]
    failed = {"id": f"resp_{ID.decode()}", "object": "response", "created_at": CREATED, "status": "failed",
              "output": [], "error": {"code": code, "message": message}, "usage": None}
    first = {"type": "error", "sequence_number": 0, "code": code, "message": message, "param": None, "error": error}
    return (named_event("error", first),
            named_event("response.failed", {"type": "response.failed", "sequence_number": 1, "response": failed}))


def _tool(asked: Asked, play: Play) -> str:
    if not asked.tools or asked.tool_choice == "none":
        return CALL_NAME if play.tools else ""
    if isinstance(asked.tool_choice, dict):
        return asked.tool_choice.get("name", CALL_NAME)
    if asked.tool_choice == "required" or play.tools:
        return asked.tools[0].get("name", CALL_NAME)
    return ""


def _render(shape: Shape) -> Answer:
    pieces = _stream(shape) if shape.stream else [(dumps(_whole(shape)), _output(shape))]
    kind = "text/event-stream; charset=utf-8" if shape.stream else "application/json"
    good = Answer(200, kind, tuple(pieces), "chunked" if shape.stream else "length", shape.prompt - shape.cached,
                  shape.cached)
    return spoil(good, shape.play, error_events)


_kept = functools.lru_cache(maxsize=512)(_render)


def _output(shape: Shape) -> int:
    return len(shape.thoughts) + (len(shape.arguments) if shape.tool else len(shape.words))


def _response(shape: Shape, status: str, output: list, usage: dict | None) -> dict[str, Any]:
    return {
        "id": f"resp_{ID.decode()}", "object": "response", "created_at": CREATED, "status": status, "background": False,
        "error": None, "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None, "max_output_tokens": None, "model": shape.model, "output": output,
        "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
        "store": True, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "truncation": "disabled", "service_tier": "default", "user": None, "metadata": {}, "usage": usage,
    }


def _items(shape: Shape) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if shape.thoughts:
        items.append({"id": "rs_1", "type": "reasoning", "status": "completed",
                      "summary": [{"type": "summary_text", "text": "".join(shape.thoughts)}]})
    if shape.tool:
        items.append({"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": shape.tool,
                      "arguments": "".join(shape.arguments), "status": "completed"})
    else:
        items.append({"id": "msg_1", "type": "message", "role": "assistant", "content": [_text(shape)],
                      "status": "incomplete" if shape.incomplete else "completed"})
    return items


def _text(shape: Shape) -> dict[str, Any]:
    return {"type": "output_text", "text": "".join(shape.words), "annotations": [], "logprobs": []}


def _usage(shape: Shape) -> dict | None:
    output = _output(shape)
    return usage_numbers({
        "input_tokens": shape.prompt, "input_tokens_details": {"cached_tokens": shape.cached, "cache_write_tokens": 0},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": len(shape.thoughts)},
        "total_tokens": shape.prompt + output}, shape.play.usage)


def _whole(shape: Shape) -> dict[str, Any]:
    status = "incomplete" if shape.incomplete and not shape.tool else "completed"
    return _response(shape, status, _items(shape), _usage(shape))


def _stream(shape: Shape) -> list[Piece]:
    pieces: list[Piece] = []

    def say(kind: str, tokens: int = 0, **body: Any) -> None:
        pieces.append((named_event(kind, {"type": kind, "sequence_number": len(pieces), **body}), tokens))

    for kind in ("response.created", "response.in_progress"):
        say(kind, response=_response(shape, "in_progress", [], None))
    for index, item in enumerate(_items(shape)):
        at = {"item_id": item["id"], "output_index": index}
        begun = {**item, "status": "in_progress"} | {
            "reasoning": {"summary": []}, "function_call": {"arguments": ""}, "message": {"content": []}}[item["type"]]
        say("response.output_item.added", output_index=index, item=begun)
        _SAY[item["type"]](say, shape, item, at)
        say("response.output_item.done", output_index=index, item=item)
    last = _whole(shape)
    say(f"response.{last['status']}", response=last)
    return pieces


def _say_reasoning(say, shape: Shape, item: dict, at: dict) -> None:
    at = {**at, "summary_index": 0}
    say("response.reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""})
    for word in shape.thoughts:
        say("response.reasoning_summary_text.delta", 1, **at, delta=word)
    say("response.reasoning_summary_text.done", **at, text="".join(shape.thoughts))
    say("response.reasoning_summary_part.done", **at, part=item["summary"][0])


def _say_call(say, shape: Shape, item: dict, at: dict) -> None:
    for part in shape.arguments:
        say("response.function_call_arguments.delta", 1, **at, delta=part)
    say("response.function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"])


def _say_message(say, shape: Shape, item: dict, at: dict) -> None:
    at = {**at, "content_index": 0}
    say("response.content_part.added", **at, part={**_text(shape), "text": ""})
    for word in shape.words:
        say("response.output_text.delta", 1, **at, delta=word, logprobs=[])
    say("response.output_text.done", **at, text="".join(shape.words), logprobs=[])
    say("response.content_part.done", **at, part=_text(shape))


_SAY = {"reasoning": _say_reasoning, "function_call": _say_call, "message": _say_message}
