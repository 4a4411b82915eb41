"""The wire `anthropic.messages`: POST /v1/messages, streaming and not; POST /v1/messages/count_tokens for nothing.

Only `model` is ours to rewrite (and what the quirks drop, default and set ask, see wire_openai/body.py). The client's
`anthropic-version` and `anthropic-beta` go upstream; a client that names no version gets 2023-06-01.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_anthropic.openapi import OPENAPI
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai.chat import add_cost
from smartoken_plugins.wire_openai.events import Dialect, EventReader, count_texts, events_of
from smartoken_plugins.wire_openai.usage import HUGE

from smartoken.plugin import COUNTED, Ask, Failure, Refusal, Usage, Wire

NAME = "anthropic.messages"
ROOT, COUNT = "/v1/messages", "/v1/messages/count_tokens"
OPENING = {"message_start", "ping"}
TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
         404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
         503: "overloaded_error", 504: "timeout_error", 529: "overloaded_error"}
TEXTS = frozenset({"text", "thinking", "input"})
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def peek(data: bytes) -> Ask:
    """Model, stream and limit."""
    fields = read.fields_of(data)
    slug = read.text(fields, "model")
    read.some_list(fields, "messages")
    if "max_tokens" not in fields:
        raise read.bad("'max_tokens' is required.", param="max_tokens")
    warming = bytes(fields["max_tokens"]) == b"0"  # fills the upstream's cache and writes nothing
    limit = 1 if warming else read.count(fields, "max_tokens")
    return Ask(wire=NAME, slug=slug, stream=read.flag(fields, "stream"), body=data, fields=fields, max_output=limit)


def peek_at(method: str, path: str, query: str, data: bytes) -> Ask:
    """The same; counting needs no limit and costs nothing."""
    if path != COUNT:
        return peek(data)
    fields = read.fields_of(data)
    slug = read.text(fields, "model")
    read.some_list(fields, "messages")
    return Ask(wire=NAME, slug=slug, stream=False, body=data, fields=fields, suffix="/count_tokens", free=True)


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The request for the upstream."""
    fields = ask.fields
    if upstream_name != ask.slug:
        fields = {**fields, "model": read.raw(upstream_name)}
    return read.encode(read.adjusted(fields, quirks))


def cap(ask: Ask, tokens: int, quirks: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The output limited."""
    return {**ask.fields, "max_tokens": read.raw(max(1, tokens))}


def judge(reader: EventReader, event: dict[str, Any]) -> None:
    """message_start and message_delta bring usage, the later figures over the earlier; `error` ends it."""
    kind = event.get("type")
    if kind == "message_start" and isinstance(event.get("message"), dict):
        _overlay(reader, event["message"].get("usage"))
    elif kind == "message_delta":
        _overlay(reader, event.get("usage"))
        delta = event.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason"):
            reader.finished = True
            reader.figures["final"] = True
    elif kind == "content_block_start":
        reader.figures["open"] = event.get("index", 0)
    elif kind == "content_block_stop":
        reader.figures.pop("open", None)
    elif kind == "message_stop":
        reader.ended = True
    elif kind == "error" or (kind is None and "error" in event):
        reader.failure = failure_in(event)


def _overlay(reader: EventReader, usage: Any) -> None:
    if isinstance(usage, dict):
        kept = reader.figures.setdefault("usage", {})
        kept |= {name: value for name, value in usage.items() if value is not None}


def usage(reader: EventReader) -> Usage | None:
    """What was reported. Of a stream that was cut, the prompt as reported and the output as far as it came."""
    found = usage_of(reader.figures["usage"]) if "usage" in reader.figures else None
    if found is None or reader.figures.get("final"):
        return found
    return Usage(input=found.input, cache_read=found.cache_read, cache_write=found.cache_write,
                 output=max(found.output, reader.counted), source=COUNTED)


def usage_of(found: Mapping[str, Any]) -> Usage | None:
    """Disjoint counts: this wire's input leaves cached tokens out already. None when they can't be what was used."""
    made = found.get("output_tokens_details")
    counts = [found.get(name) or 0 for name in ("input_tokens", "output_tokens", "cache_read_input_tokens",
                                                "cache_creation_input_tokens")]
    counts.append((made.get("thinking_tokens") or 0) if isinstance(made, dict) else 0)
    if not all(type(n) is int and 0 <= n <= HUGE for n in counts):
        return None
    if found.get("input_tokens") is None and found.get("output_tokens") is None:
        return None
    prompt, output, cached, written, thinking = counts
    return Usage(input=prompt, output=output, cache_read=cached, cache_write=written, reasoning=min(thinking, output))


def cut(reader: EventReader, why: Refusal, usage: Usage) -> list[tuple[str, dict[str, Any]]]:
    """The open block closed, `stop_reason: "max_tokens"` with our reason in `stop_detail`, the end."""
    events: list[tuple[str, dict[str, Any]]] = []
    if "open" in reader.figures:
        events.append(("content_block_stop", {"type": "content_block_stop", "index": reader.figures["open"]}))
    delta = {"stop_reason": "max_tokens", "stop_sequence": None,
             "stop_detail": {"code": why.code, "message": why.message}}
    told = {"input_tokens": usage.input, "output_tokens": usage.output, "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": usage.cache_write}
    return [*events, ("message_delta", {"type": "message_delta", "delta": delta, "usage": told}),
            ("message_stop", {"type": "message_stop"})]


DIALECT = Dialect(
    counted=(b'"text_delta"', b'"input_json_delta"', b'"thinking_delta"'),
    signs=(b'"message_start"', b'"content_block_start"', b'"content_block_stop"', b'"message_delta"',
           b'"message_stop"', b'"type":"error"', b'"type": "error"', b'{"error":'),
    judge=judge, usage=usage, cut=cut, put_cost=lambda data, add_cost, cost_u: add_cost(data, cost_u),
    promises=lambda event: event.get("type") not in OPENING,
    tells_usage=lambda reader, event: event.get("type") == "message_delta")


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> EventReader:
    """A reader of one attempt's stream."""
    return EventReader(DIALECT, keep_usage)


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """Usage, failure and our own count of a complete answer."""
    try:
        fields = _fields.decode(data)
        if ask.free and "input_tokens" in fields:
            return Usage(), None, 0
        if "content" not in fields:
            return None, failure_in(_decode(data)), 0
        found = _decode(fields["usage"]) if "usage" in fields else None
    except (msgspec.DecodeError, RecursionError):
        return None, Failure("The upstream's answer is not valid JSON.", code="not_json"), 0
    usage = usage_of(found) if isinstance(found, dict) else None
    return usage, None, 0 if usage is not None else count_texts(bytes(fields["content"]), TEXTS)


def gather(stream: bytes) -> bytes:
    """The message that a complete stream tells."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events_of(stream):
        kind, index = event.get("type"), event.get("index", 0)
        if kind == "error":
            return _encode(event)
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            blocks[index] = event["content_block"] | {"_": ""}
        elif kind == "content_block_delta" and index in blocks:
            _grow(blocks[index], event["delta"])
        elif kind == "message_delta":
            message |= event.get("delta") or {}
            message["usage"] = message.get("usage", {}) | (event.get("usage") or {})
        elif kind == "message_stop":
            message["content"] = [_settled(blocks[at]) for at in sorted(blocks)]
            return _encode(message)
    return _encode({"type": "error", "error": {"type": "api_error", "message": "The stream ended before its time."}})


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("text", "thinking", "signature"):
        if name in delta:
            block[name] = block.get(name, "") + delta[name]
    if "citation" in delta:
        block.setdefault("citations", []).append(delta["citation"])
    block["_"] += delta.get("partial_json", "")


def _settled(block: dict[str, Any]) -> dict[str, Any]:
    pieces = block.pop("_")
    if pieces:
        block["input"] = _decode(pieces.encode())
    return block


def failure_in(answer: Any) -> Failure:
    """The Failure in `{"type": "error", "error": {type, message, details}}`, or in whatever came in its place."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return Failure(str(error or "The upstream's answer is no message.")[:2000], code="no_content")
    return Failure(str(error.get("message") or "")[:2000], type=str(error.get("type") or ""))


def failure(data: bytes) -> Failure:
    """Reads the body of a refused call, whatever it is."""
    try:
        answer = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Failure("", code="not_json")
    return failure_in(answer)


def refuse(refusal: Refusal, rid: str) -> bytes:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`; our code is in the details."""
    error: dict[str, Any] = {"type": TYPES.get(refusal.status, "invalid_request_error"), "message": refusal.message}
    if refusal.code:
        error["details"] = {"error_code": refusal.code}
    return _encode({"type": "error", "error": error, "request_id": rid})


def refuse_in_stream(refusal: Refusal, rid: str) -> bytes:
    """An `error` event, which SDKs raise."""
    return b"event: error\ndata: %b\n\n" % refuse(refusal, rid)


WIRE = Wire(name=NAME, paths=(ROOT, COUNT), peek=peek, peek_at=peek_at, body=body, reader=reader, whole=whole,
            refuse=refuse, refuse_in_stream=refuse_in_stream, failure=failure, add_cost=add_cost, gather=gather, cap=cap,
            pass_headers={b"anthropic-version": b"2023-06-01", b"anthropic-beta": b""}, rid_header="request-id",
            openapi=OPENAPI)
