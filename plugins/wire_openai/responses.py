"""The wire `openai.responses`: POST /v1/responses, streaming and not, and what belongs to a stored response.

`GET` and `DELETE /v1/responses/{id}`, `GET …/input_items` and `POST /v1/responses/input_tokens` are passed on and cost
nothing. Only `model` is ours to rewrite, but for what a provider's quirks ask:

    set: {field: value}        these fields are sent so, whatever the client said
    default: {field: value}    sent when the client left them out
    drop: [field, …]           not sent
    developer_role: true       items with the role system go as developer
    stream_only: true          the upstream only streams; a client that wants a whole answer gets the gathered one
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors
from smartoken_plugins.wire_openai.chat import add_cost
from smartoken_plugins.wire_openai.events import EventReader, count_texts
from smartoken_plugins.wire_openai.openapi_responses import OPENAPI
from smartoken_plugins.wire_openai.responses_stream import DIALECT, failed, gather
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Ask, Failure, Refusal, Usage, Wire, refuse

NAME = "openai.responses"
ROOT, COUNT = "/v1/responses", "/v1/responses/input_tokens"
FOREIGN_SEAL = "invalid_encrypted_content"
TEXTS = frozenset({"text", "arguments", "input", "refusal"})
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def peek(data: bytes) -> Ask:
    """Model, stream, limit, and what ties the request to the channel of an earlier answer."""
    fields = read.fields_of(data)
    slug = read.text(fields, "model")
    if "background" in fields and read.flag(fields, "background"):
        raise read.bad("'background' is not served: nothing would tell what the answer used.", param="background",
                       code="unsupported_parameter")
    if fields.get("conversation") is not None and bytes(fields["conversation"]) != b"null":
        raise read.bad("'conversation' is not served: use 'previous_response_id', or send the items.",
                       param="conversation", code="unsupported_parameter")
    limit = read.count(fields, "max_output_tokens") if "max_output_tokens" in fields else None
    follows = read.word(fields, "previous_response_id")
    affinity = NAME if b"encrypted_content" in data else ""
    return Ask(wire=NAME, slug=slug, stream=read.flag(fields, "stream"), body=data, fields=fields, max_output=limit,
               follows=follows, affinity=affinity, session=read.session(fields))


def peek_at(method: str, path: str, query: str, data: bytes) -> Ask:
    """The same for the paths below /v1/responses; Refusal 404 or 405 for what is not served there."""
    if path in (ROOT, COUNT):
        if method != "POST":
            raise _not_allowed()
        ask = peek(data)
        if path == COUNT:
            ask.suffix, ask.free, ask.stream = "/input_tokens", True, False
        return ask
    id, slash, rest = path[len(ROOT) + 1:].partition("/")
    if not id or len(id) > 256 or not id.replace("_", "").replace("-", "").isalnum() or rest not in ("", "input_items"):
        raise refuse("not_found", "There is nothing at this path.", code="unknown_route")
    if method not in (("GET",) if rest else ("GET", "DELETE")):
        raise _not_allowed()
    if "stream=true" in query:
        raise read.bad("A stored response is given whole here; leave 'stream' out.", param="stream")
    if not query.isascii() or not query.isprintable() or " " in query:
        raise read.bad("The query holds a strange character.")
    query = "&".join(part for part in query.split("&") if part.partition("=")[0] not in ("", "channel", "cost", "key"))
    suffix = f"/{id}{slash}{rest}" + (f"?{query}" if query else "")
    return Ask(wire=NAME, slug="", stream=False, body=b"", fields={}, suffix=suffix, method=method, free=True,
               follows=id)


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The request for the upstream."""
    if ask.method != "POST":
        return b""
    fields = ask.fields
    if upstream_name != ask.slug:
        fields = dict(fields)
        fields["model"] = read.raw(upstream_name)
    return read.encode(fit(fields, quirks))


def cap(ask: Ask, tokens: int, quirks: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The output limited."""
    return {**ask.fields, "max_output_tokens": read.raw(max(16, tokens))}  # less is refused by OpenAI


def fit(fields: Mapping[str, msgspec.Raw], quirks: Mapping[str, Any]) -> Mapping[str, msgspec.Raw]:
    """The fields as a provider's quirks want them; the same object when there is nothing to do."""
    fields = read.adjusted(fields, quirks)
    if quirks.get("stream_only"):
        fields = {**fields, "stream": read.raw(True)}
    if quirks.get("developer_role"):
        fields = {**fields, "input": _as_items(fields.get("input", msgspec.Raw(b'""')))}
        if bytes(fields.get("tools", b"[]")) == b"[]":
            fields.pop("parallel_tool_calls", None)
    return fields


def forget(ask: Ask, failure: Failure) -> dict[str, msgspec.Raw] | None:
    """Without the reasoning that another account sealed: what a conversation says stands in its other items. Whole
    items go, since one without its seal is only a name that nobody kept."""
    items = _decode(ask.fields["input"]) if "input" in ask.fields else None
    if failure.code != FOREIGN_SEAL or not isinstance(items, list):
        return None
    kept = [item for item in items if not (isinstance(item, dict) and item.get("type") == "reasoning")]
    return None if len(kept) == len(items) else {**ask.fields, "input": read.raw(kept)}


def _as_items(given: msgspec.Raw) -> msgspec.Raw:
    """Input as a list of items in which nobody has the role system."""
    items = _decode(given)
    if isinstance(items, str):
        return read.raw([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": items}]}])
    if b'"system"' not in bytes(given):
        return given
    return read.raw([item | {"role": "developer"} if isinstance(item, dict) and item.get("role") == "system" else item
                     for item in items])


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> EventReader:
    """A reader of one attempt's stream."""
    return EventReader(DIALECT, keep_usage)


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """Usage, failure and our own count of a complete answer."""
    try:
        fields = _fields.decode(data)
        if "error" in fields and bytes(fields["error"]) != b"null":
            answer = _decode(data)
            return None, failed(answer) if answer.get("status") == "failed" else errors.failure_in(answer), 0
    except (msgspec.DecodeError, RecursionError, AttributeError):
        return None, Failure("The upstream's answer is not valid JSON.", code="not_json"), 0
    if ask.free:
        return Usage(), None, 0
    if "output" not in fields:
        failure = errors.failure(data)
        if not failure.message:
            failure = Failure("The upstream's answer has no output.", code="no_output")
        return None, failure, 0
    found = None
    if "usage" in fields:
        found = _decode(fields["usage"])
    usage = usage_of(found) if isinstance(found, dict) else None
    return usage, None, 0 if usage is not None else count_texts(bytes(fields["output"]), TEXTS)


def answer_id(data: bytes, ask: Ask) -> str:
    """The id of the response that an answer's first bytes tell; '' when it is not stored, or none is seen."""
    if bytes(ask.fields.get("store", b"")) == b"false":
        return ""
    at = data.find(b'"resp_')
    end = data.find(b'"', at + 1)
    return data[at + 1:end].decode("latin-1") if 0 <= at < end <= at + 257 else ""


def refuse_in_stream(refusal: Refusal, rid: str) -> bytes:
    """`error` with the nested shape that OpenAI sends and the flat one of its documents, then `response.failed`."""
    error = {"type": refusal.type, "code": refusal.code, "message": refusal.message, "param": refusal.param}
    # Past what has been sent, whatever that was: a stream's numbers only ever rise.
    event = {"type": "error", "sequence_number": 2**31 - 2, "code": refusal.code, "message": refusal.message,
             "param": refusal.param, "error": error}
    response = {"id": f"resp_{rid}", "object": "response", "created_at": 0, "status": "failed", "model": "",
                "output": [], "error": {"code": "server_error", "message": refusal.message},
                "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
                "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None, "usage": None}
    last = {"type": "response.failed", "sequence_number": 2**31 - 1, "response": response}
    return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (_encode(event), _encode(last))


def _not_allowed() -> Refusal:
    return refuse("method_not_allowed", "This path does not take this method.", code="method_not_allowed")


WIRE = Wire(name=NAME, paths=(ROOT, COUNT), prefixes=(f"{ROOT}/",), methods=("POST", "GET", "DELETE"), peek=peek,
            peek_at=peek_at, body=body, reader=reader, whole=whole, refuse=errors.refuse, gather=gather,
            refuse_in_stream=refuse_in_stream, failure=errors.failure, add_cost=add_cost, answer_id=answer_id, cap=cap,
            forget=forget, openapi=OPENAPI)
