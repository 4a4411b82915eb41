"""A bridged stream: the upstream's events cut out of its bytes, their meaning, and the client's events for it.

What passes between the two is a few plain tuples, whatever the wires:
    ("begin", id, model)  ("text", words)  ("refusal", words)  ("thought", words)  ("paragraph",) between two thoughts
    ("seal", id, seal)  ("call", key, id, name, custom)  ("arguments", key, piece)  ("stop", reason, sequence)
    ("usage", Usage)  ("error", message, code)
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from smartoken_plugins.bridges.turn import MALFORMED
from smartoken_plugins.wire_openai.chat_stream import payload

log = logging.getLogger("smartoken.bridges")
_decode = msgspec.json.decode
encode = msgspec.json.encode

Step = tuple[Any, ...]
Reader = Callable[[dict[str, Any]], Iterable[Step]]


class Writer(Protocol):
    """Makes one client's events."""

    def write(self, step: Step) -> bytes:
        """The events of one step; may be empty."""

    def end(self) -> bytes:
        """The upstream is done: the closing events. Nothing after an error."""


class BridgeStream:
    """feed(bytes) -> bytes, close() -> bytes. Events that a reader does not understand are passed over."""

    __slots__ = ("_blank", "_read", "_rest", "_writer")

    def __init__(self, read: Reader, writer: Writer):
        self._read, self._writer = read, writer
        self._rest, self._blank = b"", b"\n\n"

    def feed(self, data: bytes) -> bytes:
        """Whole events are worked on; an incomplete one waits."""
        data = self._rest + data if self._rest else data
        if b"\r\n" in data:
            self._blank = b"\r\n\r\n"
        events = data.split(self._blank)
        self._rest = events.pop()
        return b"".join([self._event(event) for event in events])

    def close(self) -> bytes:
        """The last event may lack its blank line."""
        rest, self._rest = self._rest, b""
        return (self._event(rest) if rest.strip() else b"") + self._writer.end()

    def _event(self, event: bytes) -> bytes:
        data = payload(event)
        if not data or data == b"[DONE]":
            return b""
        try:
            write = self._writer.write
            return b"".join([write(step) for step in self._read(_decode(data))])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, *MALFORMED) as error:
            log.debug("an event was passed over: %s: %s", type(error).__name__, error)
            return b""


def named(kind: str, body: bytes) -> bytes:
    """One event with a name."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)
