"""POST /api/v1/chat/completions: OpenAI's chat with checked ranges, and cost and `thinking` in every answer.

Upstreams see openai.chat: an Ask made here says so, and the channels that speak it serve it. `temperature` is 0.7 where
the client says nothing (the reference's default), so it is sent; `top_p` is 1 everywhere and is not.

Quirks of a provider or channel that this wire reads, besides those of openai.chat:
    own_temperature: true where the upstream takes none but its own (reasoning models); our default is not sent then
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import chat, errors
from smartoken_plugins.wire_openai.chat_tools import TURNS
from smartoken_plugins.wire_openai.look import look
from smartoken_plugins.wire_openai.usage import usage_object
from smartoken_plugins.wire_solquir.openapi import SOLQUIR_CHAT

from smartoken.plugin import Ask, Failure, Refusal, Told, Usage, Wire

NAME = "solquir.chat"
TRACE = "X-Solquir-Trace-Id"
TEMPERATURE, MAX_TOKENS = 0.7, 32_768
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode
_MODEL = re.compile(rb'"model":\s*"(?:[^"\\]|\\.)*"')


def peek(data: bytes) -> Ask:
    """openai.chat's Ask, its ranges checked and the default temperature filled in."""
    ask = chat.peek(data)
    fields = ask.fields
    _within(fields, "temperature", 0, 2)
    _within(fields, "top_p", 0, 1)
    for name in ("max_tokens", "max_completion_tokens"):
        if (read.count(fields, name) or 1) > MAX_TOKENS:
            raise read.bad(f"'{name}' must be at most {MAX_TOKENS}.", param=name)
    if bytes(fields.get("temperature", b"null")) == b"null":
        fields = {**fields, "temperature": read.raw(TEMPERATURE)}
        return msgspec.structs.replace(ask, fields=fields, filled=("temperature",))
    return ask


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """As openai.chat; without our temperature where the upstream wants none."""
    return chat.body(msgspec.structs.replace(ask, fields=read.chosen(ask, quirks)), upstream_name, quirks)


def tell(data: bytes, told: Told) -> bytes:
    """Cost and thinking put into a complete answer or a stream's last chunk; the model is called as the client did."""
    fields = _fields.decode(data)
    try:
        usage = _fields.decode(fields.get("usage", b"{}"))
    except msgspec.DecodeError:
        usage = {}
    if "prompt_tokens" not in usage:
        usage = {name: read.raw(value) for name, value in usage_object(told.usage).items()} | usage
    usage["cost_micro_usd"] = read.raw(told.cost_u)
    fields["model"] = read.raw(told.slug)
    fields["usage"] = msgspec.Raw(_encode(usage))
    fields["thinking"] = read.raw(told.stages)
    return _encode(fields)


class Reader:
    """openai.chat's reader, with the model's name as the client knows it, and a last chunk in any case."""

    def __init__(self, ask: Ask, quirks: Mapping[str, Any], keep_usage: bool):
        self._inner = chat.reader(ask, quirks, keep_usage)
        self._model = b'"model":' + _encode(ask.slug)
        self._head = b""

    started = property(lambda self: self._inner.started)
    failure: Failure | None = property(lambda self: self._inner.failure)
    ended = property(lambda self: self._inner.ended)
    finished = property(lambda self: self._inner.finished)
    counted = property(lambda self: self._inner.counted)
    pending = property(lambda self: self._inner.pending)

    def feed(self, data: bytes) -> bytes:
        """The inner reader keeps unfinished events back here, so a name is never cut in two."""
        out = self._inner.feed(data)
        if out and not self._head:
            self._head = out
        return _MODEL.sub(lambda _: self._model, out)

    def close(self) -> bytes:
        """What was kept back."""
        return _MODEL.sub(lambda _: self._model, self._inner.close())

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """As openai.chat ends it; what the wire tells is in its last chunk."""
        return _MODEL.sub(lambda _: self._model, self._inner.cut(why, usage, add_cost, cost_u))

    def usage(self) -> Usage | None:
        """As reported."""
        return self._inner.usage()

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """The last chunk before [DONE]; made here when the upstream reported no usage."""
        event = self._inner.cost_event(add_cost, cost_u)
        if event:
            return event
        chunk: dict[str, Any] = {"object": "chat.completion.chunk", "choices": []}
        for line in self._head.split(b"\n"):
            if line.startswith(b"data: {"):
                first = msgspec.json.decode(line[6:])
                chunk = {name: first[name] for name in ("id", "object", "created") if name in first} | {"choices": []}
                break
        return b"data: " + add_cost(_encode(chunk), cost_u) + b"\n\n"


def _within(fields: Mapping[str, msgspec.Raw], name: str, low: int, high: int) -> None:
    found = fields.get(name)
    if found is None:
        return
    try:
        value = msgspec.json.decode(found)
    except msgspec.DecodeError:
        value = ""
    if value is None:
        return
    if type(value) not in (int, float) or not low <= value <= high:
        raise read.bad(f"'{name}' must be a number from {low} to {high}.", param=name)


WIRE = Wire(name=NAME, paths=("/api/v1/chat/completions",), peek=peek, body=body, reader=Reader, whole=chat.whole,
            refuse=errors.refuse, refuse_in_stream=errors.refuse_in_stream, failure=errors.failure, tell=tell,
            cap=chat.cap, rid_header=TRACE, look=look, turns=TURNS,
            openapi={"/api/v1/chat/completions": {"post": SOLQUIR_CHAT}})
