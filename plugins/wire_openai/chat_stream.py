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
_DONE = b"data: [DONE]"
_FIELDS = (b"content", b"reasoning_content", b"reasoning", b"arguments", b"refusal")
_NEEDLES = tuple((b'"%s":"' % name, b'"%s":""' % name) for name in _FIELDS)
_SPACED = tuple((b'"%s": "' % name, b'"%s": ""' % name) for name in _FIELDS)
_decode = msgspec.json.decode
_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ChatReader:
    """A StreamReader. `hide_usage`: the client did not ask for usage, so what our asking brings is kept from it.
    `keep_usage`: the client is shown its cost, so the usage chunk and [DONE] wait until the relay knows it."""

    __slots__ = ("_blank", "_done", "_first", "_holding", "_needles", "_rest", "_usage_event", "choices", "counted",
                 "ended", "failure", "finished", "hide_usage", "keep_usage", "started")

    def __init__(self, hide_usage: bool, keep_usage: bool = False, choices: int = 1):
        self.hide_usage, self.keep_usage, self.choices = hide_usage, keep_usage, choices
        self.started = self.ended = self.finished = False
        self.failure: Failure | None = None
        self.counted = 0
        self._rest = self._usage_event = self._done = self._first = b""
        self._blank = b"\n\n"
        self._needles = _NEEDLES
        self._holding = hide_usage or keep_usage

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
        return out + self._done

    def usage(self) -> Usage | None:
        """The last usage reported. Moonshot puts it in the choice, Groq also under x_groq."""
        if not self._usage_event:
            return None
        found = _decode(self._usage_event)
        choices = found.get("choices")
        places = [found, *(choices if isinstance(choices, list) else ()), found.get("x_groq")]
        for place in places:
            if isinstance(place, dict) and isinstance(place.get("usage"), dict):
                return usage_of(place["usage"])
        return None

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
        last = [{"index": index, "delta": {}, "finish_reason": "length"} for index in range(self.choices)]
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
        if b'"error"' in events:
            self._look_for_error(events)
        if not self.finished and b'"finish_reason"' in events:
            self.finished = b'"finish_reason":"' in events or b'"finish_reason": "' in events
        if _DONE in events[-32:]:
            self.ended = True
            if self.keep_usage:
                at = events.rfind(_DONE)
                events, self._done = events[:at], events[at:]
        if b'"usage"' in events:
            if self._holding:
                return self._withhold(events)
            self._find_usage(events)
        return events

    def _find_usage(self, events: bytes) -> None:
        """Remember the last event with a usage object; parsed only when the stream is over."""
        at = events.rfind(b'"usage"')
        while at >= 0:
            if events[at + 7:at + 16].lstrip(b" \t:").startswith(b"{"):
                begin = events.rfind(self._blank, 0, at)
                end = events.find(self._blank, at)
                event = events[begin + len(self._blank) if begin >= 0 else 0:end if end >= 0 else len(events)]
                if self._is_usage(payload(event)) is not None:
                    return
            at = events.rfind(b'"usage"', 0, at)

    def _withhold(self, events: bytes) -> bytes:
        """The slow way, for a batch with the word usage in it: event by event."""
        out = []
        for event in events.split(self._blank):
            if b'"usage"' in event:
                found = self._is_usage(payload(event))
                if found is not None and found.get("choices") == []:
                    continue
                if self.hide_usage:
                    event = event.replace(b',"usage":null', b"").replace(b', "usage": null', b"")
            if event:
                out.append(event + self._blank)
        return b"".join(out)

    def _is_usage(self, data: bytes | None) -> dict[str, Any] | None:
        """The event decoded if it reports usage (and then remembered)."""
        if not data:
            return None
        try:
            found = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        choices = found.get("choices")
        in_choice = isinstance(choices, list) and any(isinstance(c, dict) and isinstance(c.get("usage"), dict)
                                                      for c in choices)
        if isinstance(found.get("usage"), dict) or in_choice or "x_groq" in found:
            self._usage_event = data
            return found
        return None

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


def payload(event: bytes) -> bytes | None:
    """The data of one event, lines joined as SSE wants; None for comments and the like."""
    event = event.strip(b"\r\n")
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
