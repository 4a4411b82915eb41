"""The pretend upstream's OpenAI chat completions: text, reasoning, tool calls, several choices, every usage habit."""

import functools
from typing import Any

import msgspec

from smartoken.testing.answers import ID, Answer, Piece, Talk, data_event, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil, usage_numbers
from smartoken.testing.turns import turn_of

PATHS = ("/chat/completions",)
CREATED = 1_700_000_000
CALL_NAME, CALL_ARGUMENTS = "look_up", ('{"ci', 'ty":', ' "Os', 'lo"}')
SEARCH_ARGUMENTS = ('{"qu', 'ery":', ' "Os', 'lo"}')  # as many tokens
STREAM, WHOLE = "text/event-stream; charset=utf-8", "application/json"


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Asked(msgspec.Struct):
    """What shapes the answer; everything else in the body is only kept for /_seen."""

    model: str
    messages: msgspec.Raw
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    enable_thinking: bool | None = None
    prompt_cache_key: str | None = None
    x_fault: str = ""


read = msgspec.json.Decoder(Asked).decode


class Shape(msgspec.Struct, frozen=True):
    """All that the bytes of an answer depend on, so that equal calls share them."""

    model: str
    stream: bool
    words: tuple[str, ...]
    cut_short: bool
    choices: int
    tool: str
    arguments: tuple[str, ...]             # of the call that the user asked for
    prompt: int
    cached: int
    reasoning: int
    usage_asked: bool
    play: Play


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """The good answer to `asked`, bent by `play`."""
    allowed = asked.max_completion_tokens or asked.max_tokens or -1
    wanted = play.tokens if play.tokens >= 0 else allowed
    turn = turn_of(msgspec.json.decode(asked.messages), _offered(asked) if asked.tool_choice != "none" else ())
    words = tuple(talk(turn.said, wanted))
    prompt = play.input if play.input >= 0 else len(asked.messages) // 4 + 1
    cached = play.cached if play.cached >= 0 else prompt // 2 if asked.prompt_cache_key else 0
    reasoning = play.reasoning if play.reasoning >= 0 else min(3, len(words) - 1) if asked.enable_thinking else 0
    shape = Shape(asked.model, asked.stream, words, len(words) == allowed, asked.n or 1,
                  turn.tool or _tool(asked, play), turn.arguments, prompt, min(cached, prompt), max(reasoning, 0),
                  asked.stream_options is not None and asked.stream_options.include_usage, play)
    return (_kept if len(words) <= 256 else _render)(shape)


def error_events(play: Play) -> tuple[bytes, ...]:
    """An error where an event should be."""
    return (data_event(error_value(play)),)


def _tool(asked: Asked, play: Play) -> str:
    """The names of the functions to call, joined by commas; '' for an answer in words."""
    if play.wants:
        offered = _offered(asked)
        done = sum(message.get("role") == "assistant" and bool(message.get("tool_calls"))
                   for message in msgspec.json.decode(asked.messages))
        wanted = [name for name in play.wants.split(",") if name in offered]
        return ",".join(wanted) if done < play.rounds and asked.tool_choice != "none" else ""
    if not asked.tools or asked.tool_choice == "none":
        return CALL_NAME if play.tools else ""
    if isinstance(asked.tool_choice, dict):
        return asked.tool_choice.get("function", {}).get("name", CALL_NAME)
    if asked.tool_choice == "required" or play.tools:
        return asked.tools[0].get("function", {}).get("name", CALL_NAME)
    return ""


def _offered(asked: Asked) -> list[str]:
    return [tool.get("function", {}).get("name") for tool in asked.tools or ()]


def _arguments(shape: Shape, name: str) -> tuple[str, ...]:
    return shape.arguments or (SEARCH_ARGUMENTS if name.endswith("search") else CALL_ARGUMENTS)


def _render(shape: Shape) -> Answer:
    pieces = _stream(shape) if shape.stream else _whole(shape)
    framing = "chunked" if shape.stream or shape.play.blanks else "length"
    good = Answer(200, STREAM if shape.stream else WHOLE, tuple(pieces), framing, shape.prompt - shape.cached,
                  shape.cached)
    return spoil(good, shape.play, error_events)


_kept = functools.lru_cache(maxsize=512)(_render)


def _written(shape: Shape) -> int:
    """Output tokens of one choice."""
    if shape.tool:
        return shape.reasoning + sum(len(_arguments(shape, name)) for name in shape.tool.split(","))
    return len(shape.words)


def _usage(shape: Shape, output: int) -> dict | None:
    usage: dict[str, Any] = {
        "prompt_tokens": shape.prompt, "completion_tokens": output, "total_tokens": shape.prompt + output,
        "prompt_tokens_details": {"cached_tokens": shape.cached},
        "completion_tokens_details": {"reasoning_tokens": min(shape.reasoning * shape.choices, output)},
    }
    if shape.play.hits:
        usage |= {"prompt_cache_hit_tokens": shape.cached, "prompt_cache_miss_tokens": shape.prompt - shape.cached}
    return usage_numbers(usage, shape.play.usage)


def _finish(shape: Shape) -> str:
    return "tool_calls" if shape.tool else "length" if shape.cut_short else "stop"


def _whole(shape: Shape) -> list[Piece]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(shape.words[shape.reasoning:]), "refusal": None}
    if shape.reasoning:
        message["reasoning_content"] = "".join(shape.words[:shape.reasoning])
    if shape.tool:
        calls = [{"id": f"call_{number}", "type": "function",
                  "function": {"name": name, "arguments": "".join(_arguments(shape, name))}}
                 for number, name in enumerate(shape.tool.split(","), 1)]
        message |= {"content": None, "tool_calls": calls}
    output = _written(shape) * shape.choices
    body: dict[str, Any] = {
        "id": f"chatcmpl-{ID.decode()}", "object": "chat.completion", "created": CREATED, "model": shape.model,
        "choices": [{"index": index, "message": message, "logprobs": None, "finish_reason": _finish(shape)}
                    for index in range(shape.choices)],
    }
    usage = _usage(shape, output)
    if usage is not None:
        body["usage"] = usage
    return [(b"\n", 0)] * shape.play.blanks + [(dumps(body), output)]


def _stream(shape: Shape) -> list[Piece]:
    play = shape.play
    head: dict[str, Any] = {"id": f"chatcmpl-{ID.decode()}", "object": "chat.completion.chunk", "created": CREATED,
                            "model": shape.model}
    pieces: list[Piece] = []
    sent = 0

    def say(choices: list[dict], tokens: int = 0, **more: Any) -> None:
        nonlocal sent
        sent += tokens
        event = {**head, "choices": choices, **more}
        if play.usage_at == "every":
            event["usage"] = _usage(shape, sent)
        elif shape.usage_asked and "usage" not in event:
            event["usage"] = None
        if play.comments and len(pieces) % 4 == 0:
            pieces.append((play.comments.encode() + b"\n\n", 0))
        pieces.append((data_event(event), tokens))

    def delta(index: int, part: dict, finish: str | None = None) -> list[dict]:
        return [{"index": index, "delta": part, "logprobs": None, "finish_reason": finish}]

    for index in range(shape.choices):
        say(delta(index, {"role": "assistant", "content": ""}))
        for word in shape.words[:shape.reasoning]:
            say(delta(index, {"content": None, "reasoning_content": word}), 1)
        if shape.tool:
            for at, name in enumerate(shape.tool.split(",")):
                call = {"index": at, "id": f"call_{at + 1}", "type": "function",
                        "function": {"name": name, "arguments": ""}}
                say(delta(index, {"tool_calls": [call]}))
                for part in _arguments(shape, name):
                    say(delta(index, {"tool_calls": [{"index": at, "function": {"arguments": part}}]}), 1)
        else:
            for word in shape.words[shape.reasoning:]:
                say(delta(index, {"content": word}), 1)
        last = delta(index, {}, _finish(shape))
        usage = _usage(shape, sent)
        if usage is not None and play.usage_at == "finish":
            last[0]["usage"] = usage
        say(last, **({"usage": usage} if usage is not None and play.usage_at == "finish_top" else {}))
    usage = _usage(shape, sent)
    if usage is not None and (play.usage_at == "always" or (shape.usage_asked and play.usage_at != "finish_top")):
        for _ in range(2 if play.usage == "twice" else 1):
            say([], usage=usage)
    if play.done:
        pieces.append((b"data: [DONE]\n\n", 0))
    return pieces
