"""A server on a real socket with recording handlers, and a raw client that sees every byte."""

import asyncio
import contextlib

from smartoken.web.answers import render_refusal
from smartoken.web.app import make_app
from smartoken.web.forwarded import Proxies
from smartoken.web.handlers import healthz
from smartoken.web.http1 import Edge
from smartoken.web.server import FrontServer

TEXT = b"text/plain"
EDGE = Edge(linger_s=0.2)


class Echo:
    """Answers at once with "METHOD target body" and notes everything."""

    def __init__(self):
        self.heads, self.runs, self.gones, self.pauses, self.resumes = [], [], [], [], []

    def head(self, request):
        self.heads.append(request)

    def run(self, request):
        self.runs.append(request)
        request.answer(200, TEXT, said(request))

    def gone(self, request):
        self.gones.append(request)

    def pause(self, request):
        self.pauses.append(request)

    def resume(self, request):
        self.resumes.append(request)


class Hold(Echo):
    """Leaves every request unanswered; the test answers."""

    def run(self, request):
        self.runs.append(request)


def said(request):
    return b"%b %b %b" % (request.method, request.target, request.body)


def ask(path=b"/hot", body=b"", method=b"POST", extra=b""):
    return b"%b %b HTTP/1.1\r\nHost: gateway\r\n%bContent-Length: %d\r\n\r\n%b" % (method, path, extra, len(body), body)


@contextlib.asynccontextmanager
async def served(hot=None, routes=(), edge=EDGE, body_max_by_path=None, proxies=()):
    """(server, port); at the end no connection and nothing in flight may be left."""
    hot = {b"/hot": Echo()} if hot is None else hot
    server = FrontServer(make_app([*healthz.routes(None), *routes]), hot, render_refusal, edge, body_max_by_path,
                         Proxies(proxies))
    port = await server.listen("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.close()
        assert server.counts() == {"connections": 0, "in_flight": 0}


class Client:
    """One raw connection. Use `async with Client(port) as client`."""

    def __init__(self, port):
        self._port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 26)
        return self

    async def __aexit__(self, *exc):
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, data):
        self.writer.write(data)

    async def answer(self, bodiless=False):
        """The next answer as (status, headers by lower-case name, body), whatever its framing."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            status, headers = int(lines[0].split(" ")[1]), {}
            for line in lines[1:-2]:
                name, value = line.split(": ", 1)
                assert name.lower() not in headers, f"{name} twice"
                headers[name.lower()] = value
            if bodiless or status in (100, 204, 304):
                return status, headers, b""
            if headers.get("transfer-encoding") == "chunked":
                return status, headers, b"".join([chunk async for chunk in self._chunks()])
            if "content-length" in headers:
                return status, headers, await self.reader.readexactly(int(headers["content-length"]))
            return status, headers, await self.reader.read()

    async def _chunks(self):
        while True:
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            chunk = await self.reader.readexactly(size + 2)
            assert chunk.endswith(b"\r\n")
            if not size:
                return
            yield chunk[:-2]

    async def ended(self):
        """What still comes before the server closes."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"reset"


async def until(true):
    """Come back when `true()` holds; TimeoutError if that is never."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)
