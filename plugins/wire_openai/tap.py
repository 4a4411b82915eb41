"""Reads event streams that pass as they are: it listens in, and says what it heard. For audio's few, fat events."""

from collections.abc import Callable
from typing import Any

import msgspec
from smartoken_plugins.wire_openai.chat_stream import payload

from smartoken.plugin import Failure, Refusal, Usage

EVENT_MAX = 8 << 20
_decode = msgspec.json.decode


class Tap:
    """A StreamReader. `hear(tap, event)` sets failure, ended and figures; `tell(tap)` makes usage of the figures."""

    def __init__(self, hear: Callable[["Tap", dict[str, Any]], None], tell: Callable[["Tap"], Usage | None]):
        self._hear, self._tell = hear, tell
        self._rest = b""
        self.started = self.ended = self.finished = False
        self.failure: Failure | None = None
        self.counted = self.pending = 0
        self.figures: dict[str, Any] = {}

    def feed(self, data: bytes) -> bytes:
        """Events in, the same out, once the first good one is there."""
        held = b"" if self.started else self._rest
        *events, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(self._rest) > EVENT_MAX:
            self.failure = Failure("The upstream sent an event of more than 8 MiB.", code="event_too_large")
        for event in events:
            found = payload(event)
            if not found or found == b"[DONE]":
                continue
            try:
                value = _decode(found)
            except msgspec.DecodeError:
                self.failure = Failure("The upstream's event is not valid JSON.", code="not_json")
                return b""
            if isinstance(value, dict):
                self._hear(self, value)
            if self.failure is not None:
                return b""
            self.started = True
        if not self.started:
            self._rest = b"\n\n".join([*events, self._rest])
            return b""
        return held + data

    def close(self) -> bytes:
        """The upstream ended; an event without its blank line still counts."""
        if self._rest.strip():
            self.feed(b"\n\n")
        return b""

    def usage(self) -> Usage | None:
        """As reported."""
        return self._tell(self)

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """Their cost is known before they begin: they are not cut."""
        return b""

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """These streams have no place for it."""
        return b""
