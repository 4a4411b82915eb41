"""Reads a chat completion's event stream on its way to the client, touching as little of it as it can.

Bytes pass as they come. Whole events (up to the last blank line seen) are searched, in C, for the few needles that
matter; only the first event, events with usage, and events that look like an error are ever parsed. An incomplete event
waits in `_rest` for its end: it is passed on at once all the same, unless something may have to be kept back.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from smartoken_plugins.wire_openai.errors import failure_in
from smartoken_plugins.wire_openai.usage import usage_object, usage_of

from smartoken.plugin import Failure, Refusal, Usage

EVENT_LIMIT = 4 * 1024 * 1024
TAIL = 8192  # of a batch: errors, finish reasons and usage stand at the end of a stream, so of its last batch
_DONE = b"data: [DONE]"
# Where text is delivered, filled and empty; the first pair also takes "reasoning_content". A scan in C costs a third of
# a nanosecond a byte and there are few, so the order of a burst's cost is a few scans, not a parse of each event.
_TIGHT = ((b'content":"', b'content":""'), (b'"reasoning":"', b'"reasoning":""'), (b'"arguments":"', b'"arguments":""'))
_SPACED = tuple((filled.replace(b":", b": "), empty.replace(b":", b": ")) for filled, empty in _TIGHT)
_decode = msgspec.json.decode
_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ChatReader:
    """A StreamReader. `hide_usage`: the client did not ask for usage, so what our asking brings is kept from it.
    `keep_usage`: the client is shown its cost, so the usage chunk and [DONE] wait until the relay knows it."""

    __slots__ = ("_blank", "_done", "_first", "_holding", "_needles", "_over", "_rest", "_usage_event", "choices", "counted",
                 "ended", "failure", "finished", "hide_usage", "keep_usage", "started")

    def __init__(self, hide_usage: bool, keep_usage: bool = False, choices: int = 1):
        self.hide_usage, self.keep_usage, self.choices = hide_usage, keep_usage, choices
        self.started = self.ended = self.finished = False
        self.failure: Failure | None = None
        self.counted = 0
        self._rest = self._usage_event = self._done = self._first = b""
        self._blank = b"\n\n"
        self._needles = _TIGHT
        self._holding = hide_usage or keep_usage
        self._over: set[int] = set()       # of several choices those that have finished

    def feed(self, data: bytes) -> bytes:
        """Bytes of the upstream in, bytes for the client out."""
        events = self._rest + data if self._rest else data
        if not self.started:
            return self._open(events)
        complete = self._complete(events)
        if not complete:
            return b"" if self._holding else data
        out = self._read(complete)
        return out if self._holding else data

    def close(self) -> bytes:
        """The upstream ended. A last event without its blank line still counts, and still reaches the client."""
        rest, self._rest = self._rest, b""
        out = b""
        if rest.strip():
            if not self.started:
                out = self._open(rest + self._blank)
            else:
                out = self._read(rest + self._blank)
                out = out if self._holding else b""
        self.finished = self.finished or bool(self._over)     # fewer choices than were asked for
        return out + self._done

    def usage(self) -> Usage | None:
        """The last usage reported. Moonshot puts it in the choice, Groq also under x_groq."""
        if not self._usage_event:
            return None
        return usage_of(_usage_in(_decode(self._usage_event)))

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """The usage chunk that was kept back, with the cost in it; b'' when the upstream reported no usage."""
        if not self._usage_event:
            return b""
        chunk = _fields.decode(self._usage_event)
        chunk["choices"] = msgspec.Raw(b"[]")
        return b"data: " + add_cost(_encode(chunk), cost_u) + self._blank

    @property
    def pending(self) -> int:
        """Bytes of an event that is not whole yet, but passed on."""
        return 0 if self._holding else len(self._rest)

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """`finish_reason: "length"` with our reason in `stop_detail`, the usage for whoever wants it, and [DONE]."""
        head = {name: value for name, value in _decode(self._first).items()
                if name in ("id", "object", "created", "model", "system_fingerprint")}
        last = [{"index": index, "delta": {}, "finish_reason": "length"} for index in range(self.choices)
                if index not in self._over]
        detail = {"code": why.code, "message": why.message}
        out = b"data: %b%b" % (_encode({**head, "choices": last, "stop_detail": detail}), self._blank)
        if not self.hide_usage or add_cost is not None:
            chunk = _encode({**head, "choices": [], "usage": usage_object(usage)})
            out += b"data: %b%b" % (chunk if add_cost is None else add_cost(chunk, cost_u), self._blank)
        return out + _DONE + self._blank

    def _complete(self, events: bytes) -> bytes:
        """The whole events at the front; what follows them waits in _rest."""
        blank = self._blank
        if events.endswith(blank):
            self._rest = b""
            return events
        cut = events.rfind(blank)
        cut = cut + len(blank) if cut >= 0 else 0
        self._rest = events[cut:]
        if len(self._rest) > EVENT_LIMIT:
            self.failure = Failure("The upstream sent an event of more than 4 MiB.", code="event_too_large")
        return events[:cut]

    def _open(self, events: bytes) -> bytes:
        """Judge the first data event. Comments before it wait with it: passing them on would commit the answer."""
        if b"\r\n" in events[:4096]:
            self._blank = b"\r\n\r\n"
        complete = self._complete(events)
        data = next((data for data in map(payload, complete.split(self._blank)) if data is not None), None)
        if data is None:
            self._rest = events
            return b""
        if data == b"[DONE]":
            self.failure = Failure("The upstream's stream is empty.", code="empty_stream")
            return b""
        try:
            self.failure = self.failure or failure_in(_decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.failure = Failure("The upstream's first event is not valid JSON.", code="not_json")
        if self.failure is not None:
            return b""
        self.started, self._first = True, data
        if b'": ' in data[:64]:
            self._needles = _SPACED
        out = self._read(complete)
        return out if self._holding else events

    def _read(self, events: bytes) -> bytes:
        """Count, notice usage, end and errors in complete events; returns what of them is for the client."""
        counted = 0
        for filled, empty in self._needles:
            found = events.count(filled)
            if found:
                counted += found - events.count(empty)
        self.counted += counted
        tail = events if len(events) <= TAIL else events[-TAIL:]
        if b'"error"' in tail:
            self._look_for_error(tail)
        if self.choices > 1:
            self._look_for_finishes(events)
        elif not self.finished and b'"finish_reason"' in tail:
            self.finished = _finishes(tail)
        if _DONE in tail[-32:]:
            self.ended = True
            if self.keep_usage:
                at = events.rfind(_DONE)
                events, self._done = events[:at], events[at:]
        if self._holding:
            return self._withhold(events)
        at = tail.rfind(b'"usage"')
        while at >= 0:
            begin, end = self._event_at(tail, at)
            if self._is_usage(tail, at, begin, end) is not None:
                break
            at = tail.rfind(b'"usage"', 0, at)
        return events

    def _withhold(self, events: bytes) -> bytes:
        """The events without what our asking for usage brought: nulls in each chunk, and the chunk that tells it."""
        if self.hide_usage:
            events = events.replace(b',"usage":null', b"").replace(b', "usage": null', b"")
        at = events.find(b'"usage"')
        while at >= 0:
            begin, end = self._event_at(events, at)
            found = self._is_usage(events, at, begin, end)
            if found is not None and found.get("choices") == []:
                events = events[:begin] + events[end:]
                end = begin
            at = events.find(b'"usage"', end)
        return events

    def _event_at(self, events: bytes, at: int) -> tuple[int, int]:
        """Begin and end (blank line included) of the event around a place."""
        blank = self._blank
        begin, end = events.rfind(blank, 0, at), events.find(blank, at)
        return begin + len(blank) if begin >= 0 else 0, end + len(blank) if end >= 0 else len(events)

    def _is_usage(self, events: bytes, at: int, begin: int, end: int) -> dict[str, Any] | None:
        """The event decoded if the word usage at a place in it begins a report (and then it is remembered)."""
        if not events[at + 7:at + 16].lstrip(b" \t:").startswith(b"{"):
            return None
        data = payload(events[begin:end])
        try:
            found = _decode(data) if data else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(found, dict) or _usage_in(found) is None:
            return None
        self._usage_event = data
        return found

    def _look_for_finishes(self, events: bytes) -> None:
        for event in events.split(self._blank) if _finishes(events) else ():
            data = payload(event) if _finishes(event) else None
            try:
                found = _decode(data) if data else None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            choices = found.get("choices") if isinstance(found, dict) else None
            for choice in choices if isinstance(choices, list) else ():
                if isinstance(choice, dict) and choice.get("finish_reason") and type(choice.get("index")) is int:
                    self._over.add(choice["index"])
        self.finished = len(self._over) >= self.choices

    def _look_for_error(self, events: bytes) -> None:
        for event in events.split(self._blank):
            data = payload(event) if b'"error"' in event else None
            if not data:
                continue
            try:
                found = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if isinstance(found, dict) and found.get("error"):
                self.failure = failure_in(found)


def _finishes(events: bytes) -> bool:
    """Whether a reason to finish is told in them. Some servers send an empty one in every chunk (SGLang 0.4.3, old
    Ollamas)."""
    return (events.count(b'"finish_reason":"') > events.count(b'"finish_reason":""')
            or events.count(b'"finish_reason": "') > events.count(b'"finish_reason": ""'))


def _usage_in(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """The usage object of a chunk, wherever the vendor put it."""
    choices = chunk.get("choices")
    for place in (chunk, *(choices if isinstance(choices, list) else ()), chunk.get("x_groq")):
        if isinstance(place, dict) and isinstance(place.get("usage"), dict):
            return place["usage"]
    return None


def payload(event: bytes) -> bytes | None:
    """The data of one event, lines joined as SSE wants; None for comments and the like."""
    event = event.strip(b"\r\n")
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
