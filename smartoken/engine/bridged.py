"""A StreamReader for a bridged call: the upstream's own reader first, then the bridge, then what shows the cost."""

from collections.abc import Callable
from typing import Any

from smartoken.domain.usage import Usage
from smartoken.errors import Refusal
from smartoken.plugin.types import Failure, StreamReader


class BridgedReader:
    """`inner` reads the upstream's bytes (usage, failure and end are its), `bridge` makes the client's of them.
    `outer`, the client wire's own reader, keeps the usage event back: for the cost (`show_cost`), or from who did not
    ask."""

    __slots__ = ("_bridge", "_inner", "_last", "_outer", "_show_cost")

    def __init__(self, inner: StreamReader, bridge: Any, outer: StreamReader | None, show_cost: bool):
        self._inner, self._bridge, self._outer, self._show_cost = inner, bridge, outer, show_cost
        self._last = b""        # events that close what is open, and so come before the cost

    @property
    def started(self) -> bool:
        return self._inner.started

    @property
    def failure(self) -> Failure | None:
        return self._inner.failure

    @property
    def ended(self) -> bool:
        return self._inner.ended

    @property
    def finished(self) -> bool:
        return self._inner.finished

    @property
    def counted(self) -> int:
        return self._inner.counted

    def feed(self, data: bytes) -> bytes:
        """The upstream's bytes in, the client's out."""
        passed = self._inner.feed(data)
        out = self._bridge.feed(passed) if passed else b""
        return self._outer.feed(out) if out and self._outer is not None else out

    def close(self) -> bytes:
        """The upstream ended: the bridge's last events. One without its own end leaves that to the relay. Where the
        cost is shown, only what follows it: what precedes it comes with the cost."""
        rest = self._inner.close()
        out = self._bridge.feed(rest) if rest else b""
        if self.ended or self.finished or self.failure:
            out += self._bridge.close()
        if self._outer is None:
            return out
        out, rest = self._outer.feed(out), self._outer.close()
        if self._show_cost:
            self._last, out = out, b""
        return out + rest

    def usage(self) -> Usage | None:
        """As the upstream reported it."""
        return self._inner.usage()

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """The client wire's own, behind the events that close what is open."""
        return self._last + (self._outer.cost_event(add_cost, cost_u) if self._outer is not None else b"")

    @property
    def pending(self) -> int:
        """A bridge gives whole events."""
        return 0

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """The upstream wire's last events, said in the client's."""
        out = self._bridge.feed(self._inner.cut(why, usage, None, 0)) + self._bridge.close()
        if self._outer is None:
            return out
        out, rest = self._outer.feed(out), self._outer.close()
        return out + (self._outer.cost_event(add_cost, cost_u) if add_cost is not None else b"") + rest
