"""The pretend upstream's Anthropic Messages API: text, thinking, tool calls, counting; whole or as named events."""

from typing import Any

import msgspec

from smartoken.testing.answers import ID, Answer, Piece, Talk, dumps, error_value, named_event
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil, usage_numbers
from smartoken.testing.turns import turn_of

PATHS = ("/messages", "/messages/count_tokens")
CALL_NAME, CALL_ARGUMENTS = "look_up", ('{"ci', 'ty":', ' "Os', 'lo"}')
SEAL = "c2VhbA=="


class Asked(msgspec.Struct):
    """What shapes the answer. Counting comes without a limit."""

    model: str
    messages: msgspec.Raw
    max_tokens: int | None = None
    stream: bool = False
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    cache_control: Any = None
    x_fault: str = ""


read = msgspec.json.Decoder(Asked).decode


class Shape(msgspec.Struct, frozen=True):
    """All that the bytes of an answer depend on."""

    model: str
    stream: bool
    words: tuple[str, ...]
    cut_short: bool
    tool: str
    arguments: tuple[str, ...]
    prompt: int
    cached: int
    thoughts: tuple[str, ...]
    play: Play


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """The good answer to `asked`, bent by `play`."""
    prompt = play.input if play.input >= 0 else len(asked.messages) // 4 + 1
    if asked.max_tokens is None:
        counted = Answer(200, "application/json", ((dumps({"input_tokens": prompt}), 0),), "length")
        return spoil(counted, play, error_events)
    offered = [] if (asked.tool_choice or {}).get("type") == "none" else [tool["name"] for tool in asked.tools or ()]
    turn = turn_of(msgspec.json.decode(asked.messages), offered)
    words = tuple(talk(turn.said, play.tokens if play.tokens >= 0 else min(asked.max_tokens, 16)))
    cached = play.cached if play.cached >= 0 else prompt // 2 if asked.cache_control else 0
    thinks = (asked.thinking or {}).get("type") in ("enabled", "adaptive")
    thoughts = min(play.reasoning if play.reasoning >= 0 else 3 if thinks else 0, max(len(words) - 1, 0))
    shape = Shape(asked.model, asked.stream, words[thoughts:], len(words) >= asked.max_tokens,
                  turn.tool or _tool(asked, play), turn.arguments or CALL_ARGUMENTS, prompt, min(cached, prompt),
                  words[:thoughts], play)
    pieces = _stream(shape) if shape.stream else [(dumps(_whole(shape)), _output(shape))]
    kind = "text/event-stream; charset=utf-8" if shape.stream else "application/json"
    good = Answer(200, kind, tuple(pieces), "chunked" if shape.stream else "length", shape.prompt - shape.cached,
                  shape.cached)
    return spoil(good, play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """One `error` event."""
    error = error_value(play).get("error", error_value(play))
    return (named_event("error", {"type": "error", "error": {"type": error.get("type", "api_error"),
                                                             "message": error["message"]}}),)


def _tool(asked: Asked, play: Play) -> str:
    choice = asked.tool_choice or {}
    if not asked.tools or choice.get("type") == "none":
        return CALL_NAME if play.tools else ""
    if choice.get("type") == "tool":
        return choice["name"]
    return asked.tools[0]["name"] if choice.get("type") == "any" or play.tools else ""


def _output(shape: Shape) -> int:
    return len(shape.thoughts) + (len(shape.arguments) if shape.tool else len(shape.words))


def _usage(shape: Shape, output: int) -> dict | None:
    return usage_numbers({
        "input_tokens": shape.prompt - shape.cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": shape.cached, "output_tokens": output}, shape.play.usage)


def _message(shape: Shape, content: list, stop: str | None, output: int) -> dict[str, Any]:
    message = {"id": f"msg_{ID.decode()}", "type": "message", "role": "assistant", "model": shape.model,
               "content": content, "stop_reason": stop, "stop_sequence": None}
    usage = _usage(shape, output)
    return message if usage is None else message | {"usage": usage}


def _stop(shape: Shape) -> str:
    return "tool_use" if shape.tool else "max_tokens" if shape.cut_short else "end_turn"


def _whole(shape: Shape) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if shape.thoughts:
        content.append({"type": "thinking", "thinking": "".join(shape.thoughts), "signature": SEAL})
    if shape.tool:
        arguments = msgspec.json.decode("".join(shape.arguments))
        content.append({"type": "tool_use", "id": "toolu_1", "name": shape.tool, "input": arguments})
    else:
        content.append({"type": "text", "text": "".join(shape.words)})
    return _message(shape, content, _stop(shape), _output(shape))


def _stream(shape: Shape) -> list[Piece]:
    pieces: list[Piece] = []

    def say(kind: str, tokens: int = 0, **body: Any) -> None:
        pieces.append((named_event(kind, {"type": kind, **body}), tokens))

    def block(index: int, start: dict, deltas: list[tuple[dict, int]]) -> None:
        say("content_block_start", index=index, content_block=start)
        for delta, tokens in deltas:
            say("content_block_delta", tokens, index=index, delta=delta)
        say("content_block_stop", index=index)

    say("message_start", message=_message(shape, [], None, 1))
    say("ping")
    index = 0
    if shape.thoughts:
        deltas = [({"type": "thinking_delta", "thinking": word}, 1) for word in shape.thoughts]
        block(0, {"type": "thinking", "thinking": "", "signature": ""},
              [*deltas, ({"type": "signature_delta", "signature": SEAL}, 0)])
        index = 1
    if shape.tool:
        block(index, {"type": "tool_use", "id": "toolu_1", "name": shape.tool, "input": {}},
              [({"type": "input_json_delta", "partial_json": part}, 1) for part in shape.arguments])
    else:
        block(index, {"type": "text", "text": ""}, [({"type": "text_delta", "text": word}, 1) for word in shape.words])
    usage = _usage(shape, _output(shape))
    say("message_delta", delta={"stop_reason": _stop(shape), "stop_sequence": None},
        **({} if usage is None else {"usage": usage}))
    if shape.play.done:
        say("message_stop")
    return pieces
