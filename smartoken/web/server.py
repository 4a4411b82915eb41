"""The one listening server of a process: its connections, its clock tick, its limits, and how it drains."""

import asyncio
import logging
import ssl
from collections.abc import Mapping

from tornado.httputil import HTTPServerConnectionDelegate

from smartoken.errors import Refusal, refuse
from smartoken.web.forwarded import Proxies
from smartoken.web.front import Front
from smartoken.web.http1 import Edge, RenderRefusal, date_line
from smartoken.web.request import Handler, Request
from smartoken.web.tornado_door import TornadoDoor

SWEEP_S = 1.0
DEFAULT_EDGE = Edge()
NOBODY = Proxies()

log = logging.getLogger("smartoken.web")


class FrontServer:
    """Serves `hot` paths by their handlers and everything else by the Tornado application. Make it inside the loop."""

    def __init__(self, app: HTTPServerConnectionDelegate, hot: Mapping[bytes, Handler], render: RenderRefusal,
                 edge: Edge = DEFAULT_EDGE, body_max_by_path: Mapping[bytes, int] | None = None,
                 proxies: Proxies = NOBODY):
        """`render` makes the bodies of refusals that no handler makes: see http1.RenderRefusal. `proxies` may speak for
        clients, and have no cap of connections per address: their connections are many people's."""
        self.app, self.hot, self.render, self.edge = app, hot, render, edge
        self.body_max_by_path = body_max_by_path or {}
        self.proxies = proxies
        self.draining = False
        self.in_flight = 0
        self.date = date_line()
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        self._fronts: set[Front] = set()
        self._by_ip: dict[str, int] = {}
        self._servers: list[asyncio.Server] = []
        self._left = asyncio.Event()  # set whenever a connection has ended
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    async def listen(self, host: str, port: int, *, reuse_port: bool = False, backlog: int = 1024,
                     tls: ssl.SSLContext | None = None) -> int:
        """Accept connections; returns the port (which matters when 0 was asked for). OSError if it cannot."""
        server = await self._loop.create_server(lambda: Front(self), host, port, reuse_port=reuse_port or None,
                                                backlog=backlog, ssl=tls)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Accept no more, close what is idle, and say `Connection: close` on every answer from now on."""
        self.draining = True
        for server in self._servers:
            server.close()
        for front in list(self._fronts):
            front.close_if_idle()

    async def drain(self, grace_s: float) -> int:
        """stop(), then wait until nothing is in flight and all is flushed, or the grace is over; returns how many
        requests still are in flight."""
        self.stop()
        try:
            async with asyncio.timeout(grace_s):
                # While draining, every answer closes its connection, so a connection's end is the moment to look again.
                while self.in_flight or any(front.unsent() for front in self._fronts):
                    await self._one_left()
        except TimeoutError:
            log.warning("%d requests were still in flight when the grace was over", self.in_flight)
        return self.in_flight

    async def close(self) -> None:
        """Cut every connection; handlers of requests in flight hear gone()."""
        self.stop()
        self._timer.cancel()
        for front in list(self._fronts):
            front.end()
        for server in self._servers:
            await server.wait_closed()
        while self._fronts:
            await self._one_left()

    async def _one_left(self) -> None:
        self._left.clear()
        await self._left.wait()

    def counts(self) -> dict[str, int]:
        return {"connections": len(self._fronts), "in_flight": self.in_flight}

    # ---------------------------------------------------------------------------------------------- for Front

    def joined(self, front: Front) -> Refusal | None:
        """A new connection; a Refusal when there are too many."""
        count = self._by_ip[front.peer] = self._by_ip.get(front.peer, 0) + 1
        self._fronts.add(front)
        if len(self._fronts) > self.edge.connections_max or (
                count > self.edge.connections_per_ip and not self.proxies.trusts(front.peer)):
            return refuse("rate_limit", "Too many connections.", code="too_many_connections", retry_after_s=1)
        return None

    def left(self, front: Front) -> None:
        self._fronts.discard(front)
        self._left.set()
        count = self._by_ip.get(front.peer, 1) - 1
        if count:
            self._by_ip[front.peer] = count
        else:
            self._by_ip.pop(front.peer, None)

    def began(self) -> None:
        self.in_flight += 1

    def ended(self) -> None:
        self.in_flight -= 1

    def open_door(self, request: Request) -> None:
        """Hand a request that is on no hot path to Tornado."""
        request.handler = request.stream = TornadoDoor(request)
        request.stream.open(self.app)

    def _sweep(self) -> None:
        self.now = now = self._loop.time()
        self.date = date_line()
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)
        for front in [front for front in self._fronts if front.deadline <= now]:
            front.late()
