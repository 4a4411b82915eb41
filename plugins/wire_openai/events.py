"""Reads an event stream on its way to the client, for the wires whose events say what they are.

Bytes pass as they come. Whole events are searched, in C, for the few signs of a wire's Dialect; only the first events,
and those with a sign, are ever parsed. With `keep_usage` the event that tells usage waits, with all that follows it,
until the relay knows the cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from smartoken_plugins.wire_openai.chat_stream import EVENT_LIMIT, payload

from smartoken.plugin import Failure, Refusal, Usage

OPENING = 16  # events that promise nothing yet, held back at most so many
_decode = msgspec.json.decode
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one wire's events look like.

    counted: needles of which each is about one token of output. signs: needles of events that must be parsed.
    judge(reader, event) notes failure, end and figures on the reader. promises(event): False for an opening event after
    which the upstream may still fail cleanly. usage(reader) -> Usage or None. tells_usage(reader, event): this one is
    kept for its cost; put_cost(event bytes, add_cost, cost_u) rewrites its JSON. cut(reader, why, usage) gives the (name, event)
    that end a stream which we end: '' is no name.
    """

    counted: tuple[bytes, ...]
    signs: tuple[bytes, ...]
    judge: Callable[["EventReader", dict[str, Any]], None]
    usage: Callable[["EventReader"], Usage | None]
    promises: Callable[[dict[str, Any]], bool]
    tells_usage: Callable[["EventReader", dict[str, Any]], bool]
    put_cost: Callable[[bytes, Callable[[bytes, int], bytes], int], bytes]
    cut: Callable[["EventReader", Refusal, Usage], list[tuple[str, dict[str, Any]]]]
    running_usage: bytes = b""         # a needle: usage comes again and again, the last one counts


class EventReader:
    """A StreamReader for any Dialect. `figures` is the dialect's own store of what it read; `some` in it: some of several
    choices are complete, which is enough where the stream ends without an error."""

    __slots__ = (
        "_after",
        "_blank",
        "_dialect",
        "_keeping",
        "_kept",
        "_last_usage",
        "_rest",
        "counted",
        "ended",
        "failure",
        "figures",
        "finished",
        "started",
    )

    def __init__(self, dialect: Dialect, keep_usage: bool = False):
        self._dialect, self._keeping = dialect, keep_usage
        self.started = self.ended = self.finished = False
        self.failure: Failure | None = None
        self.counted = 0
        self.figures: dict[str, Any] = {}
        self._rest = self._kept = self._after = self._last_usage = b""
        self._blank = b"\n\n"

    def feed(self, data: bytes) -> bytes:
        """Bytes of the upstream in, bytes for the client out."""
        events = self._rest + data if self._rest else data
        if not self.started:
            return self._open(events)
        complete = self._complete(events)
        if not complete:
            return b"" if self._keeping else data
        out = self._read(complete)
        return out if self._keeping else data

    def close(self) -> bytes:
        """The upstream ended. A last event without its blank line still counts, and still reaches the client."""
        rest, self._rest = self._rest, b""
        out = b""
        if rest.strip():
            if not self.started:
                out = self._open(rest + self._blank, last=True)
            else:
                out = self._read(rest + self._blank)
                out = out if self._keeping else b""
        self.finished = self.finished or bool(self.figures.get("some"))
        return out + self._after

    def usage(self) -> Usage | None:
        """What the upstream reported, as far as it did."""
        if self._last_usage:
            self._read_running()
        return self._dialect.usage(self)

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """The kept event with the cost in its usage; b'' when none came."""
        if not self._kept:
            return b""
        head, _, tail = self._kept.partition(b"data:")
        return head + b"data: " + self._dialect.put_cost(tail.strip(), add_cost, cost_u) + self._blank

    @property
    def pending(self) -> int:
        """Bytes of an event that is not whole yet, but passed on."""
        return 0 if self._keeping else len(self._rest)

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """The dialect's last events, with the cost in the one that tells usage."""
        out = b""
        for name, event in self._dialect.cut(self, why, usage):
            data = _encode(event)
            if add_cost is not None and self._dialect.tells_usage(self, event):
                data = self._dialect.put_cost(data, add_cost, cost_u)
            out += (b"event: %b\n" % name.encode() if name else b"") + b"data: " + data + self._blank
        return out

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

    def _open(self, events: bytes, last: bool = False) -> bytes:
        """Judge the opening: until an event that promises an answer (or ends it) nothing is passed on."""
        if b"\r\n" in events[:4096]:
            self._blank = b"\r\n\r\n"
        complete = self._complete(events)
        seen = 0
        for event in complete.split(self._blank):
            data = payload(event)
            if not data:
                continue
            try:
                found = _decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found = None
            if not isinstance(found, dict):
                self.failure = Failure("The upstream's first event is not valid JSON.", code="not_json")
                return b""
            self._dialect.judge(self, found)
            if self.failure is not None:
                return b""
            seen += 1
            if self._dialect.promises(found) or seen > OPENING:
                self.started = True
                break
        if not self.started:
            if last and not seen:
                self.failure = Failure("The upstream's stream is empty.", code="empty_stream")
            self._rest = events
            return b""
        out = self._read(complete)  # judges once more what it parses: a dialect's judge only ever overwrites
        return out if self._keeping else events

    def _read(self, events: bytes) -> bytes:
        """Count, and parse events with a sign; returns what of them is for the client."""
        dialect = self._dialect
        for needle in dialect.counted:
            self.counted += events.count(needle)
        if dialect.running_usage and dialect.running_usage in events:
            self._last_usage = events
        for sign in dialect.signs:
            if sign in events:
                return self._look(events)
        if self._kept:
            self._after += events
            return b""
        return events

    def _look(self, events: bytes) -> bytes:
        """The slow way, event by event, for a batch with a sign in it."""
        dialect, out = self._dialect, []
        for event in events.split(self._blank):
            if not event:
                continue
            found = None
            if any(sign in event for sign in dialect.signs):
                found = _object(payload(event))
                if found is not None:
                    dialect.judge(self, found)
            if self._kept:
                self._after += event + self._blank
            elif self._keeping and found is not None and dialect.tells_usage(self, found):
                self._kept = event
            else:
                out.append(event + self._blank)
        return b"".join(out)

    def _read_running(self) -> None:
        """The last event that told usage, of those that tell it all the time."""
        events, self._last_usage = self._last_usage, b""
        for event in reversed(events.split(self._blank)):
            found = _object(payload(event)) if self._dialect.running_usage in event else None
            if found is not None:
                self._dialect.judge(self, found)
                return


def _object(data: bytes | None) -> dict[str, Any] | None:
    if not data:
        return None
    try:
        found = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def count_texts(raw: bytes, names: frozenset[str]) -> int:
    """About as many tokens as the texts under these names have, at whatever depth: one per four bytes."""
    try:
        todo = [_decode(raw)]
    except (msgspec.DecodeError, RecursionError):
        return 0
    size = 0
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            size += sum(-(-len(text.encode()) // 4) for name, text in value.items()
                        if name in names and isinstance(text, str))
            todo += [inner for inner in value.values() if isinstance(inner, dict | list)]
        elif isinstance(value, list):
            todo += value
    return size


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """All events of a complete stream, decoded; what is no JSON object is left out."""
    blank = b"\r\n\r\n" if b"\r\n\r\n" in stream else b"\n\n"
    return [found for found in (_object(payload(event)) for event in stream.split(blank)) if found is not None]
