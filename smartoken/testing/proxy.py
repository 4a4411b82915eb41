"""A TCP proxy that does to a connection what networks do: slow it, starve it, cut it, swallow it, lose the reply.

`proxy = FaultProxy("127.0.0.1", 27017, seed=1); await proxy.start()`, then point the client at `proxy.port` and change
the knobs while it runs; they hold for connections already open, too. Chance comes from the seed alone.
"""

import asyncio
import random
import socket
import struct
from dataclasses import dataclass, field

MODES = ("pass", "refuse", "reset", "half_close", "blackhole")
"""What happens to a connection: bytes go through; new ones are closed at once and open ones too; RST to both sides on
the next byte; the reply's direction is closed (FIN) on the next byte while the request's stays open; bytes are read
and thrown away, and nobody is told."""

PART = 65536
LINGER = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class FaultProxy:
    """The knobs: `latency_s` before each part in each direction, `rate` in bytes per second and direction (0 is
    none), `mode` of MODES, `drop_reply` the probability that the reply to a request which did go through is lost
    and the connection reset. `dropped` counts those replies, `connections` the connections accepted."""

    target_host: str
    target_port: int
    seed: int = 0
    latency_s: float = 0.0
    rate: int = 0
    mode: str = "pass"
    drop_reply: float = 0.0
    host: str = "127.0.0.1"
    port: int = 0
    dropped: int = 0
    connections: int = 0
    _links: set = field(default_factory=set)

    def __post_init__(self):
        self._chance = random.Random(self.seed)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; `port` is known afterwards."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        self._server.close()
        await self.cut()
        await self._server.wait_closed()

    async def cut(self) -> None:
        """Reset every open connection now."""
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = asyncio.current_task()
        self._links.add(link)
        try:
            if self.mode != "refuse":
                await self._link(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
        finally:
            self._links.discard(link)
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self.target_host, self.target_port)
        except OSError:
            _reset(writer)
            return
        both = [asyncio.create_task(self._pump(reader, far_writer, writer, False)),
                asyncio.create_task(self._pump(far_reader, writer, far_writer, True))]
        try:
            await asyncio.gather(*both)
        except OSError:
            _reset(writer)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter,
                    reply: bool) -> None:
        """Carry one direction until its end. `reply` is the direction from the target to the client."""
        while data := await reader.read(PART):
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            if reply and self.drop_reply and self._chance.random() < self.drop_reply:
                self.dropped += 1
                raise ConnectionResetError("the reply was dropped")
            if self.mode == "blackhole":
                continue
            if self.mode in ("reset", "refuse"):
                raise ConnectionResetError("cut")
            if self.mode == "half_close":
                (writer if reply else back).write_eof()
                if reply:
                    return
            await self._send(writer, data)
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self.rate:
            writer.write(data)
            await writer.drain()
            return
        step = max(self.rate // 20, 1)
        for start in range(0, len(data), step):
            await asyncio.sleep(min(step, len(data) - start) / self.rate)
            writer.write(data[start:start + step])
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    writer.transport.abort()
