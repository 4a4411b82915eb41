"""A scripted upstream on a real socket, and an Answer that writes down what it hears."""

import asyncio
import contextlib

from smartoken.upstream.origin import Limits, Origin, render_head
from smartoken.upstream.pool import Pool

DEFAULT = Limits()
HEAD = render_head("POST", "/v1/x", "upstream.test", [("content-type", "application/json")])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def until(true):
    """Come back when `true()` holds; TimeoutError if that is never."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


class Heard:
    """An Answer. `events` is what was called; `wait()` returns them once the last has come."""

    def __init__(self):
        self.events = []
        self.done = asyncio.get_running_loop().create_future()
        self.hook = lambda name: None

    def on_head(self, status, headers):
        self._note("head", status, headers)

    def on_data(self, data):
        self._note("data", data)

    def on_end(self):
        self._note("end")
        self.done.set_result(None)

    def on_fail(self, kind, detail):
        self._note("fail", kind, detail)
        self.done.set_result(None)

    def _note(self, *event):
        assert not self.done.done(), f"{event} after the end"
        self.events.append(event)
        self.hook(event[0])

    async def wait(self):
        await asyncio.wait_for(asyncio.shield(self.done), 10)
        return self.events

    @property
    def body(self):
        return b"".join(event[1] for event in self.events if event[0] == "data")

    @property
    def last(self):
        return self.events[-1][:2] if self.events[-1][0] == "fail" else self.events[-1][0]


class Upstream:
    """`script(number, reader, writer)` serves each connection, numbered from 0; `count` is how many there were."""

    def __init__(self, script):
        self.script, self.count, self.requests, self.writers = script, 0, [], []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 26)
        self.origin = Origin("http", "127.0.0.1", self.server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await self.server.wait_closed()

    async def _serve(self, reader, writer):
        number, self.count = self.count, self.count + 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self.script(self, number, reader, writer)
        writer.close()


async def read_request(upstream, reader):
    """The next request as (head, body), noted in upstream.requests."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    upstream.requests.append((head, await reader.readexactly(length)))
    return upstream.requests[-1]


def always(*answers):
    """A script: every request of every connection gets these writes."""

    async def script(upstream, number, reader, writer):
        while True:
            await read_request(upstream, reader)
            for answer in answers:
                writer.write(answer)
                await writer.drain()

    return script


def once(*answers, reset=False):
    """A script: one request per connection gets these writes, then the connection is closed."""

    async def script(upstream, number, reader, writer):
        await read_request(upstream, reader)
        for answer in answers:
            writer.write(answer)
            await writer.drain()
        if reset:
            writer.transport.abort()

    return script


@contextlib.asynccontextmanager
async def pool_and(script, **options):
    """A pool and an upstream; at the end nothing may be left of either."""
    async with Upstream(script) as upstream:
        pool = Pool(**options)
        try:
            yield pool, upstream
        finally:
            await pool.close()
            assert pool.counts() == {"live": 0, "open": 0, "dialing": 0, "idle": 0}


async def ask(pool, upstream, body=b"{}", limits=DEFAULT):
    """Send, wait, and give (what was heard, the exchange)."""
    heard = Heard()
    exchange = pool.send(upstream.origin, HEAD, body, heard, limits)
    await heard.wait()
    return heard, exchange
