"""Bridges between openai.chat, openai.responses and anthropic.messages, in every direction.

A channel switches one on by naming the clients' wire in its `bridges`. Each wire has one file that knows its requests
and answers and one that knows its stream; a bridge is one wire's reading with another's writing, over turn.py's values.
Quirks that a bridge reads, on the channel or the provider:

    thinking             to chat: "effort" (reasoning_effort, the default), "enable_thinking" (Qwen), "thinking"
                         (DeepSeek, GLM, Kimi); to messages: "adaptive", else a budget of tokens
    limit_field          to chat: the field that limits the output, max_tokens by default
    default_max_tokens   to messages: the limit where the client names none
    hosted_tools         "drop": tools that the client's own provider would run (web_search, which Codex always offers)
                         are not offered to the model; without it a request with one is refused
    drop, default, set, own_temperature, developer_role, stream_only
                         as in wire_openai/body.py and wire_openai/responses.py
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import msgspec
from smartoken_plugins.bridges import chat, messages, responses
from smartoken_plugins.bridges.chat_stream import ChatSteps, ChatWriter
from smartoken_plugins.bridges.messages_stream import MessagesSteps, MessagesWriter
from smartoken_plugins.bridges.responses import names_of
from smartoken_plugins.bridges.responses_stream import ResponsesSteps, ResponsesWriter
from smartoken_plugins.bridges.stream import BridgeStream
from smartoken_plugins.bridges.turn import ITEMS, sound
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai.responses import fit

from smartoken.plugin import Ask, Bridge, Refusal, hookimpl

OWN_TOOLS = (None, "function", "custom", "namespace")  # those that the client runs
_decode = msgspec.json.decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Side:
    """One wire: its files, what fits its bodies to a provider, its field for what was said, and of a request's fields
    the names of tools whose calls must be turned back."""

    wire: ModuleType
    steps: type
    writer: type
    fit: Any
    items: str
    names: Callable[[Mapping[str, Any]], Mapping[str, tuple[str, str, bool]]]


SIDES = (Side(chat, ChatSteps, ChatWriter, read.adjusted, "messages", names_of),
         Side(responses, ResponsesSteps, ResponsesWriter, fit, "input", names_of),
         Side(messages, MessagesSteps, MessagesWriter, read.adjusted, "messages", lambda fields: {}))


def _request(source: Side, target: Side, ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """Refusal 400 by the client's own field for what the target cannot say."""
    if ask.suffix:
        raise read.bad("Only the model's own answers are served here: this channel's provider speaks another wire.",
                       code="unsupported_path")
    stream = ask.stream or bool(quirks.get("stream_only"))
    try:
        asked = {name: _decode(value) for name, value in read.chosen(ask, quirks).items()}
        if quirks.get("hosted_tools") == "drop" and isinstance(asked.get("tools"), list):
            asked["tools"] = [tool for tool in asked["tools"]
                              if not isinstance(tool, dict) or tool.get("type") in OWN_TOOLS]
        turn = source.wire.read_request(asked)
        turn.filled = ask.filled
        sound(turn)
        body = target.wire.write_request(turn, upstream_name, stream, quirks)
    except msgspec.DecodeError as error:   # a number that no JSON reader of ours can hold
        raise read.bad(f"The body cannot be translated for this model: {error}.", code="invalid_json") from None
    except Refusal as refusal:
        if refusal.param == ITEMS:
            refusal.message = refusal.message.replace(f"'{ITEMS}'", f"'{source.items}'")
            refusal.param = source.items
        raise
    return read.encode(target.fit(_fields.decode(msgspec.json.encode(body)), quirks))


def _answer(source: Side, target: Side, data: bytes, ask: Ask) -> bytes:
    reply = target.wire.read_answer(_decode(data))
    return msgspec.json.encode(source.wire.write_answer(reply, int(time.time()), ask.slug, source.names(ask.fields)))


def _stream(source: Side, target: Side, ask: Ask) -> BridgeStream:
    return BridgeStream(target.steps(), source.writer(ask, source.names(ask.fields)))


@hookimpl
def smartoken_bridges():
    return [Bridge(source.wire.NAME, target.wire.NAME, request=partial(_request, source, target),
                   answer=partial(_answer, source, target), stream=partial(_stream, source, target))
            for source in SIDES for target in SIDES if source is not target]
