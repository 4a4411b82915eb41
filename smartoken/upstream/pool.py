"""The outward side: requests to upstreams over kept connections, last used first, by call-backs.

Only a dial is a task. One timer per pool sweeps the deadlines of everything under way and the idle connections; its
tick is how exact a time-out is.
"""

import asyncio

from smartoken.upstream.dial import DialError, dial, make_connector
from smartoken.upstream.exchange import Answer, Exchange, Line
from smartoken.upstream.origin import Limits, Origin

TICK_S = 0.25


class Pool:
    """Make it inside the running loop; `await close()` at the end."""

    def __init__(self, *, idle_s: float = 15.0, idle_max: int = 256, tick_s: float = TICK_S):
        """`idle_s`: how long an unused connection is kept; `idle_max`: how many of them per origin."""
        self.idle_s, self.idle_max, self.tick_s = idle_s, idle_max, tick_s
        self._loop = asyncio.get_running_loop()
        self._connector = make_connector()
        self._idle: dict[Origin, list[Line]] = {}
        self._lines: set[Line] = set()
        self._live: set[Exchange] = set()
        self._dials: set[asyncio.Task] = set()
        self._closed = False
        self._empty: asyncio.Future | None = None
        self.now = self._loop.time()
        self._timer = self._loop.call_later(tick_s, self._sweep)

    def send(self, origin: Origin, head: bytes, body: bytes, answer: Answer, limits: Limits) -> Exchange:
        """Send `head + len(body) + CRLFCRLF + body` (see origin.render_head); `answer` hears what comes of it."""
        if self._closed:
            raise RuntimeError("the pool is closed")
        exchange = Exchange(self, origin, head, body, answer, limits)
        now = self._loop.time()
        exchange.total_deadline = exchange.deadline = now + limits.total_s
        self._live.add(exchange)
        idle = self._idle.get(origin)
        while idle and not limits.fresh:
            line = idle.pop()
            if not line.transport.is_closing():
                exchange.reused = True
                line.carry(exchange, now)
                return exchange
        self._dial(exchange)
        return exchange

    def counts(self) -> dict[str, int]:
        """How many exchanges are under way, connections open, of them idle, and being opened."""
        return {"live": len(self._live), "open": len(self._lines), "dialing": len(self._dials),
                "idle": sum(len(lines) for lines in self._idle.values())}

    async def close(self) -> None:
        """Close everything. Exchanges still under way fail with 'reset'; drain before if that matters."""
        self._closed = True
        self._timer.cancel()
        for exchange in list(self._live):
            exchange.fail("reset", "the gateway is closing")
        dials = list(self._dials)
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for line in list(self._lines):
            line.close()
        if self._lines:
            self._empty = self._loop.create_future()
            await self._empty
        await self._connector.close()

    # ---------------------------------------------------------------------- for Exchange, Line and the dial task

    def let_go(self, exchange: Exchange) -> None:
        """The exchange is over, however it ended."""
        exchange.over, exchange.line = True, None
        self._live.discard(exchange)

    def keep(self, line: Line) -> None:
        """The line is free again."""
        lines = self._idle.setdefault(line.origin, [])
        if self._closed or line.ttl_s <= 0 or len(lines) >= self.idle_max:
            line.close()
        else:
            line.idle_until = self.now + line.ttl_s
            lines.append(line)

    def lost(self, line: Line) -> None:
        """The line's connection is gone."""
        self._lines.discard(line)
        lines = self._idle.get(line.origin, [])
        if line in lines:
            lines.remove(line)
        if self._empty is not None and not self._lines and not self._empty.done():
            self._empty.set_result(None)

    def again(self, exchange: Exchange) -> None:
        """A pooled connection turned out dead before any byte of an answer: once more, on a new one."""
        exchange.reused, exchange.line = False, None
        exchange.deadline = exchange.total_deadline
        self._dial(exchange)

    def _dial(self, exchange: Exchange) -> None:
        if self._closed:
            exchange.fail("reset", "the gateway is closing")
            return
        task = self._loop.create_task(self._connect(exchange))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, exchange: Exchange) -> None:
        origin = exchange.origin
        try:
            transport, held = await dial(self._connector, origin, exchange.limits.connect_s)
        except DialError as error:
            exchange.fail(error.kind, error.detail)
            return
        line = Line(self, origin, transport, held)
        transport.set_protocol(line)
        self._lines.add(line)
        if exchange.over:
            self.keep(line)  # nobody waits any more; the next exchange will find it warm
        else:
            line.carry(exchange, self._loop.time())

    def _sweep(self) -> None:
        self.now = now = self._loop.time()
        self._timer = self._loop.call_later(self.tick_s, self._sweep)
        for exchange in [exchange for exchange in self._live if exchange.deadline <= now]:
            exchange.late(now)
        for origin, lines in list(self._idle.items()):
            for line in [line for line in lines if line.idle_until <= now]:
                lines.remove(line)
                line.close()
            if not lines:
                del self._idle[origin]
