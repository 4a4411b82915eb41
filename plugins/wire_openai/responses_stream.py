"""What the events of the Responses API say: the dialect that events.EventReader reads them by."""

from typing import Any

import msgspec
from smartoken_plugins.wire_openai.errors import failure_in
from smartoken_plugins.wire_openai.events import Dialect, EventReader, events_of
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Failure, Refusal, Usage

TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
OPENING = {"response.created", "response.in_progress", "response.queued", "response.metadata", "keepalive"}
_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def judge(reader: EventReader, event: dict[str, Any]) -> None:
    """Terminal events bring usage and, when failed, the error; `error` comes flat by the book and nested in truth."""
    kind = event.get("type")
    response = event.get("response")
    if kind == "response.created" and isinstance(response, dict):
        reader.figures["response"] = response
    if kind in TERMINAL:
        reader.ended = reader.finished = True
        if isinstance(response, dict):
            if isinstance(response.get("usage"), dict):
                reader.figures["usage"] = response["usage"]
            if kind == "response.failed" and reader.failure is None:
                reader.failure = failed(response)
    elif kind == "error" or (kind is None and event.get("error")):
        flat = Failure(str(event.get("message") or ""), code=str(event.get("code") or ""))
        reader.failure = failure_in(event) or flat


def failed(response: dict[str, Any]) -> Failure:
    """The failure that a response with the status `failed` tells."""
    error = response.get("error")
    error = error if isinstance(error, dict) else {}
    return Failure(str(error.get("message") or "The response failed.")[:2000], code=str(error.get("code") or ""),
                   type=str(error.get("type") or ""))


def usage(reader: EventReader) -> Usage | None:
    """From the terminal event."""
    found = reader.figures.get("usage")
    return usage_of(found) if found is not None else None


def put_cost(data: bytes, add_cost: Any, cost_u: int) -> bytes:
    """The cost into the usage of the response inside the event."""
    event = _fields.decode(data)
    event["response"] = msgspec.Raw(add_cost(bytes(event["response"]), cost_u))
    return _encode(event)


def cut(reader: EventReader, why: Refusal, usage: Usage) -> list[tuple[str, dict[str, Any]]]:
    """`response.incomplete` for the limit of output; what was written stands in the events before it."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    told = {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": usage.cache_read},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": prompt + usage.output}
    response = {**reader.figures.get("response", {"object": "response", "output": []}), "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens", "code": why.code, "message": why.message},
                "usage": told}
    # Past what has been sent, whatever that was: a stream's numbers only ever rise.
    return [("response.incomplete", {"type": "response.incomplete", "sequence_number": 2**31 - 1,
                                     "response": response})]


DIALECT = Dialect(
    counted=(b'.delta"',),
    signs=(b'"response.completed"', b'"response.incomplete"', b'"response.failed"', b'"type":"error"',
           b'"type": "error"', b'{"error":'),
    judge=judge, usage=usage, put_cost=put_cost, cut=cut,
    promises=lambda event: event.get("type") not in OPENING and not str(event.get("type")).startswith("codex."),
    tells_usage=lambda reader, event: event.get("type") in TERMINAL)


def gather(stream: bytes) -> bytes:
    """The response that a complete stream tells. The ChatGPT backend leaves the output of its terminal event empty;
    it is put together again from the items that were done."""
    items: dict[int, Any] = {}
    for event in events_of(stream):
        kind = event.get("type")
        if kind == "response.output_item.done":
            items[event.get("output_index", len(items))] = event.get("item")
        elif kind == "error":
            flat = {"message": event.get("message"), "code": event.get("code")}
            return _encode({"error": event.get("error") or flat})
        elif kind in TERMINAL and isinstance(event.get("response"), dict):
            response = event["response"]
            if not response.get("output"):
                response["output"] = [items[index] for index in sorted(items)]
            return _encode(response)
    return _encode({"error": {"message": "The stream ended before its time.", "code": "no_terminal_event"}})
