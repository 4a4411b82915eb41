"""Chat completion chunks <-> steps of an answer."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from smartoken_plugins.bridges.chat import BLOCKS, REASONS, STOPS, as_text, usage_fields
from smartoken_plugins.bridges.stream import Step, encode
from smartoken_plugins.bridges.turn import CALLS, END, Call, Thought, block_of
from smartoken_plugins.wire_openai.calls import Places, text_of
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Ask, Usage, new_rid


class ChatSteps:
    """Reads the first choice."""

    def __init__(self) -> None:
        self._begun = False
        self._calls: set[int] = set()
        self._places = Places()

    def __call__(self, event: dict[str, Any]) -> Iterator[Step]:
        if event.get("error"):
            error = event["error"] if isinstance(event["error"], dict) else {"message": event["error"]}
            yield "error", str(error.get("message") or ""), str(error.get("code") or "")
            return
        if not self._begun:
            self._begun = True
            yield "begin", str(event.get("id") or ""), str(event.get("model") or "")
        usage = event.get("usage")
        for choice in event.get("choices") or ():
            if choice.get("index", 0) == 0:
                yield from self._delta(choice.get("delta") or {})
                if choice.get("finish_reason"):
                    stop = STOPS.get(choice["finish_reason"], END)
                    yield "stop", CALLS if stop == END and self._calls else stop, ""
            usage = usage or choice.get("usage")
        counts = usage_of(usage) if isinstance(usage, dict) else None
        if counts is not None:
            yield "usage", counts

    def _delta(self, delta: dict[str, Any]) -> Iterator[Step]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought:
            yield "thought", thought
        if delta.get("content"):
            yield "text", delta["content"]
        if delta.get("refusal"):
            yield "refusal", delta["refusal"]
        for call in delta.get("tool_calls") or ():
            key, function = self._places.of(call), call.get("function") or call.get("custom") or {}
            if key not in self._calls:
                self._calls.add(key)
                yield "call", key, call.get("id") or f"call_{new_rid()}", function.get("name") or "", "custom" in call
            piece = text_of(function.get("arguments") or function.get("input"))
            if piece:
                yield "arguments", key, piece


class ChatWriter:
    """Chunks for the client; the usage chunk always comes, and the wire's own reader keeps it from who did not ask."""

    def __init__(self, ask: Ask, names: Mapping[str, Any]):
        self._model, self._names = ask.slug, names
        self._head = {"id": f"chatcmpl-{new_rid()}", "object": "chat.completion.chunk", "created": int(time.time()),
                      "model": self._model}
        self._keys: dict[Any, int] = {}
        self._bare: set[int] = set()                # calls without arguments so far
        self._texts: dict[Any, list[Any]] = {}      # custom tools that came as functions: told whole at the end
        self._stop, self._usage, self._over = END, None, False
        self._thought, self._sealed = "", 0         # since the last seal; how many seals there were
        self._steps = {"begin": self._begin, "text": lambda words: self._delta({"content": words}),
                       "refusal": lambda words: self._delta({"refusal": words}),
                       "thought": self._think, "paragraph": self._paragraph, "seal": self._seal, "call": self._call,
                       "arguments": self._arguments, "stop": self._note_stop, "usage": self._note_usage,
                       "error": self._error}

    def write(self, step: Step) -> bytes:
        return b"" if self._over else self._steps[step[0]](*step[1:])

    def end(self) -> bytes:
        if self._over:
            return b""
        out = b"".join(self._delta({"tool_calls": [{"index": at, "function": {"arguments": "{}"}}]})
                       for at in sorted(self._bare))
        for key, (id, name, pieces) in self._texts.items():
            call = Call(id, name, "".join(pieces))
            out += self._delta({"tool_calls": [{"index": key, "id": id, "type": "custom",
                                                "custom": {"name": name, "input": as_text(call)}}]})
        out += self._chunk([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": REASONS[self._stop]}])
        if self._usage is not None:
            out += self._chunk([], usage=usage_fields(self._usage))
        return out + b"data: [DONE]\n\n"

    def _begin(self, id: str, model: str) -> bytes:
        return self._delta({"role": "assistant", "content": ""})

    def _think(self, words: str) -> bytes:
        self._thought += words
        return self._delta({"reasoning_content": words})

    def _paragraph(self) -> bytes:
        self._thought += "\n\n" if self._thought else ""
        return self._delta({"reasoning_content": "\n\n"})

    def _seal(self, id: str, seal: str) -> bytes:
        # OpenAI's own clients want an index in whatever list they gather.
        block = {"index": self._sealed, **block_of(Thought(self._thought, seal, id))}
        self._thought, self._sealed = "", self._sealed + 1
        return self._delta({BLOCKS: [block]})

    def _call(self, key: Any, id: str, name: str, custom: bool) -> bytes:
        at = self._keys[key] = len(self._keys)
        if custom:
            return self._delta({"tool_calls": [{"index": at, "id": id, "type": "custom",
                                                "custom": {"name": name, "input": ""}}]})
        if self._names.get(name, ("", "", False))[2]:
            self._texts[at] = [id, name, []]
            return b""
        self._bare.add(at)
        return self._delta({"tool_calls": [{"index": at, "id": id, "type": "function",
                                            "function": {"name": name, "arguments": ""}}]})

    def _arguments(self, key: Any, piece: str) -> bytes:
        at = self._keys[key]
        if at in self._texts:
            self._texts[at][2].append(piece)
            return b""
        self._bare.discard(at)
        return self._delta({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})

    def _note_stop(self, reason: str, sequence: str) -> bytes:
        self._stop = reason
        return b""

    def _note_usage(self, usage: Usage) -> bytes:
        self._usage = usage
        return b""

    def _error(self, message: str, code: str) -> bytes:
        self._over = True
        return b"data: " + encode({"error": {"message": message, "type": "upstream_error", "code": code or None,
                                             "param": None}}) + b"\n\n"

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])

    def _chunk(self, choices: list, **more: Any) -> bytes:
        return b"data: " + encode({**self._head, "choices": choices, **more}) + b"\n\n"
