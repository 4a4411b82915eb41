"""The wire `openai.chat`: POST /v1/chat/completions, streaming and not.

Only `model` is ours to rewrite; in a stream whose client did not ask for usage, `stream_options.include_usage` is added
and what it brings is kept from the client again.

Quirks of a provider that this wire reads:
    stream_usage: "option" (default: ask with stream_options.include_usage) or "always" (it comes unasked; don't ask)
    output_limit: the field that limits output where the client named none, "max_tokens" unless the provider says otherwise
    stream_only: true where the upstream only streams; a client that wants a whole answer gets the gathered one
    drop, default, set: fields not sent, sent where the client said nothing, always sent so (body.adjusted)
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors, openapi
from smartoken_plugins.wire_openai.calls import Places, grow
from smartoken_plugins.wire_openai.chat_stream import ChatReader, payload
from smartoken_plugins.wire_openai.chat_tools import TURNS
from smartoken_plugins.wire_openai.look import look
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Ask, Failure, Usage, Wire

NAME = "openai.chat"
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode
_decode = msgspec.json.decode
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


def peek(data: bytes) -> Ask:
    """Model, stream, and how much output the client allows over all its choices."""
    fields = read.fields_of(data)
    slug = read.text(fields, "model")
    read.some_list(fields, "messages")
    stream = read.flag(fields, "stream")
    limit, choices = None, 1
    if "max_completion_tokens" in fields or "max_tokens" in fields:
        limits = [read.count(fields, name) for name in ("max_completion_tokens", "max_tokens")]
        limit = max((n for n in limits if n is not None), default=None)
    if "n" in fields:
        choices = read.count(fields, "n") or 1
        if choices > 128:
            raise read.bad("'n' must be from 1 to 128.", param="n")
        limit = limit * choices if limit is not None else None
    wanted = True
    if stream:
        options = read.table(fields, "stream_options")
        wanted = bytes(options.get("include_usage", b"")) == b"true"
    return Ask(wire=NAME, slug=slug, stream=stream, body=data, fields=fields, max_output=limit, choices=choices,
               usage_wanted=wanted, session=read.session(fields))


def cap(ask: Ask, tokens: int, quirks: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The limit under the names that the client used, else under the one that the provider knows."""
    given = [name for name in ("max_completion_tokens", "max_tokens") if bytes(ask.fields.get(name, b"null")) != b"null"]
    limit = read.raw(max(1, tokens // ask.choices))
    return {**ask.fields, **{name: limit for name in given or [quirks.get("output_limit", "max_tokens")]}}


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The request for the upstream: the client's fields, with its name of the model and usage asked for."""
    fields = read.adjusted(ask.fields, quirks)
    renamed = upstream_name != ask.slug
    turned = not ask.stream and bool(quirks.get("stream_only"))
    asking = (turned or (ask.stream and not ask.usage_wanted)) and quirks.get("stream_usage", "option") == "option"
    if renamed or asking or turned:
        fields = dict(fields)
        if turned:
            fields["stream"] = msgspec.Raw(b"true")
        if renamed:
            fields["model"] = read.raw(upstream_name)
        if asking:
            options = read.table(fields, "stream_options")
            options["include_usage"] = msgspec.Raw(b"true")
            fields["stream_options"] = msgspec.Raw(read.encode(options))
    return read.encode(fields)


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> ChatReader:
    """A reader of one attempt's stream."""
    return ChatReader(hide_usage=not ask.usage_wanted, keep_usage=keep_usage, choices=ask.choices)


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """Usage, failure and our own count of a complete answer. DeepSeek's blank lines before it are JSON white space."""
    try:
        fields = _fields.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None, Failure("The upstream's answer is not valid JSON.", code="not_json"), 0
    if "choices" not in fields or "error" in fields or "base_resp" in fields:
        try:
            failure = errors.failure_in(_decode(data))
        except (msgspec.DecodeError, RecursionError):
            failure = Failure("The upstream's answer is not valid JSON.", code="not_json")
        if failure is not None:
            return None, failure, 0
        if "choices" not in fields:
            return None, Failure("The upstream's answer has no choices.", code="no_choices"), 0
    usage = None
    if "usage" in fields:
        try:
            found = _decode(fields["usage"])
        except msgspec.DecodeError:
            found = None
        usage = usage_of(found) if isinstance(found, dict) else None
    return usage, None, 0 if usage is not None else _count(fields["choices"])


def _count(choices: msgspec.Raw) -> int:
    """About as many tokens as the delivered text has: one per four bytes."""
    try:
        found = _decode(choices)
    except msgspec.DecodeError:
        return 0
    texts: list[str] = []
    for choice in found if isinstance(found, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict):
            texts += [message[name] for name in _TEXTS if isinstance(message.get(name), str)]
            calls = message.get("tool_calls")
            texts += [_encode(call).decode() for call in calls] if isinstance(calls, list) else []
    return sum(-(-len(text.encode()) // 4) for text in texts)


def gather(stream: bytes) -> bytes:
    """The completion that a complete stream tells."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    places: dict[int, Places] = {}
    for data in filter(None, map(payload, stream.replace(b"\r\n", b"\n").split(b"\n\n"))):
        if data == b"[DONE]":
            break
        event = _decode(data)
        if event.get("error"):
            return _encode(event)
        whole |= {name: value for name, value in event.items() if name != "choices" and value is not None}
        for part in event.get("choices") or ():
            index = part.get("index", 0)
            choice = choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": None},
                                                "logprobs": None, "finish_reason": None})
            _grow(choice, part, places.setdefault(index, Places()))
    if not choices or not all(choice["finish_reason"] for choice in choices.values()):
        return _encode({"error": {"message": "The stream ended before its time.", "code": "no_finish"}})
    return _encode(whole | {"object": "chat.completion", "choices": [choices[at] for at in sorted(choices)]})


def _grow(choice: dict[str, Any], part: dict[str, Any], places: Places) -> None:
    message = choice["message"]
    for name, value in (part.get("delta") or {}).items():
        if name == "tool_calls":
            for piece in value or ():
                grow(message.setdefault("tool_calls", {}).setdefault(places.of(piece), {}), piece)
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value
        elif isinstance(value, list) and isinstance(message.get(name), list):
            message[name] = message[name] + value       # pieces of thoughts, annotations
        elif value is not None:
            message[name] = value
    if part.get("logprobs"):
        kept = choice["logprobs"] = choice["logprobs"] or {}
        for name, value in part["logprobs"].items():
            kept[name] = (kept.get(name) or []) + (value or [])
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]
        if isinstance(message.get("tool_calls"), dict):
            message["tool_calls"] = [message["tool_calls"][at] for at in sorted(message["tool_calls"])]


def add_cost(data: bytes, cost_u: int) -> bytes:
    """`usage.cost_micro_usd` put into a complete answer (or into a chunk's JSON); all else byte for byte."""
    fields = _fields.decode(data)
    try:
        usage = _fields.decode(fields.get("usage", b"{}"))
    except msgspec.DecodeError:
        usage = {}
    usage["cost_micro_usd"] = read.raw(cost_u)
    fields["usage"] = msgspec.Raw(_encode(usage))
    return _encode(fields)


WIRE = Wire(name=NAME, paths=("/v1/chat/completions",), peek=peek, body=body, reader=reader, whole=whole,
            refuse=errors.refuse, refuse_in_stream=errors.refuse_in_stream, failure=errors.failure, add_cost=add_cost,
            cap=cap, gather=gather, look=look, turns=TURNS,
            openapi={"/v1/chat/completions": {"post": openapi.CHAT}})
