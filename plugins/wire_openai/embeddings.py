"""The wire `openai.embeddings`: POST /v1/embeddings, base64 and float alike passed through. Nothing of it streams.

The prompt is all there is to pay for, so an answer without output tokens is a full one (`insured` is False).
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors, openapi
from smartoken_plugins.wire_openai.chat import add_cost
from smartoken_plugins.wire_openai.chat_stream import ChatReader
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Ask, Failure, Usage, Wire

NAME = "openai.embeddings"
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode = msgspec.json.decode


def peek(data: bytes) -> Ask:
    """Model and input; the content of the input is the upstream's to judge."""
    fields = read.fields_of(data)
    slug = read.text(fields, "model")
    given = bytes(fields.get("input", b"null"))
    if given in (b"null", b'""') or given[:1] not in (b'"', b"[") or not given[1:-1].strip():
        raise read.bad("'input' is required: a text, or a list that is not empty.", param="input")
    if "stream" in fields and read.flag(fields, "stream"):
        raise read.bad("Embeddings do not stream.", param="stream")
    return Ask(wire=NAME, slug=slug, stream=False, body=data, fields=fields, max_output=1)


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The request for the upstream: the client's fields, with its name of the model."""
    if upstream_name == ask.slug:
        return read.encode(ask.fields)
    return read.encode({**ask.fields, "model": read.raw(upstream_name)})


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> ChatReader:
    """Never asked for: peek refuses streams."""
    return ChatReader(hide_usage=False, keep_usage=keep_usage)


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """Usage and failure of a complete answer. Usage that is missing is estimated from the body by the settlement."""
    try:
        fields = _fields.decode(data)
        if "data" not in fields or "error" in fields:
            failure = errors.failure_in(_decode(data))
            return None, failure or Failure("The upstream's answer has no data.", code="no_data"), 0
        found = _decode(fields["usage"]) if "usage" in fields else None
    except (msgspec.DecodeError, RecursionError):
        return None, Failure("The upstream's answer is not valid JSON.", code="not_json"), 0
    return usage_of(found) if isinstance(found, dict) else None, None, 0


WIRE = Wire(name=NAME, paths=("/v1/embeddings",), peek=peek, body=body, reader=reader, whole=whole,
            refuse=errors.refuse, refuse_in_stream=errors.refuse_in_stream, failure=errors.failure, add_cost=add_cost,
            insured=False,
            openapi={"/v1/embeddings": {"post": openapi.EMBEDDINGS}})
