"""The way from our connection into a Tornado Application: one request as Tornado's HTTPConnection.

Tornado's own server is not used, its handlers are, unchanged: streamed bodies, static files with ranges, HEAD,
flow control by the futures that write and flush return. A handler that wants a broken transfer calls
`self.request.connection.close()`.
"""

import asyncio
from typing import NamedTuple

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPOutputError,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from smartoken.domain.trace import new_rid
from smartoken.errors import refuse
from smartoken.web.http1 import CLOSE, KEEP_1_0, status_line
from smartoken.web.request import Request

_FORBIDDEN = ("\r", "\n", "\0")
_OURS = ("Connection", "Date", "Server")  # we set the first two, and never say the third


class Context(NamedTuple):
    """What HTTPServerRequest reads of its connection."""

    remote_ip: str
    protocol: str
    address: tuple | str


class TornadoDoor(HTTPConnection):
    """One request's HTTPConnection; towards Front it is the request's handler and the taker of its body."""

    def __init__(self, request: Request):
        transport = request.front.transport
        protocol = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        peer, proxies = request.peer, request.front.server.proxies
        if proxies:
            protocol = proxies.protocol(peer, request.headers, protocol)
            peer = proxies.client(peer, request.headers)
        self.context = Context(peer, protocol, transport.get_extra_info("peername"))
        self._request = request
        self._delegate: HTTPMessageDelegate | None = None
        self._waiting: asyncio.Future | None = None  # the delegate is not ready for more of the body
        self._close_callback = None
        self._flushes: list[asyncio.Future] = []
        self._left: int | None = None  # of a body whose length the handler told
        self._chunked = self._ready = False

    # ------------------------------------------------------------------------------------------- towards Front

    def open(self, app: HTTPServerConnectionDelegate) -> None:
        """Give the head to the application."""
        request = self._request
        self._delegate = app.start_request(request.front, self)
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        version = "HTTP/1.0" if request.http10 else "HTTP/1.1"
        line = RequestStartLine(request.method.decode("ascii"), request.target.decode("latin-1"), version)
        try:
            self._hold(self._delegate.headers_received(line, headers))
        except HTTPInputError as error:
            self._delegate = None
            raise refuse("invalid_request", f"Malformed HTTP: {error}.", code="malformed_http") from None

    def take(self, request: Request) -> bool:
        """As much of the body as the delegate will have now; True when nothing of what is here is left."""
        front = request.front
        if self._waiting is not None or request.over:
            return False
        if not self._ready:
            self._ready = True
            front.accept_body(request)
        if request.chunks and not request.over:
            data, request.chunks, request.held = b"".join(request.chunks), [], 0
            try:
                self._hold(self._delegate.data_received(data))
            except HTTPInputError as error:
                raise refuse("invalid_request", f"Malformed body: {error}.") from None
        return self._waiting is None and not request.over

    def run(self, request: Request) -> None:
        delegate, self._delegate = self._delegate, None
        delegate.finish()

    def gone(self, request: Request) -> None:
        delegate, self._delegate = self._delegate, None
        callback, self._close_callback = self._close_callback, None
        if delegate is not None:
            delegate.on_connection_close()
        elif callback is not None:
            callback()
        self.resume(request)

    def pause(self, request: Request) -> None:
        """Nothing to tell: the futures of flush wait by themselves."""

    def resume(self, request: Request) -> None:
        flushes, self._flushes = self._flushes, []
        for future in flushes:
            if not future.done():
                future.set_result(None)

    def _hold(self, ready: asyncio.Future | None) -> None:
        if ready is None:
            return
        future = asyncio.ensure_future(ready)
        if future.done():
            future.result()
        else:
            self._waiting = future
            future.add_done_callback(self._released)

    def _released(self, future: asyncio.Future) -> None:
        error = None if future.cancelled() else future.exception()
        self._waiting = None
        if error is not None:
            self._request.front.fail(self._request, error)
        else:
            self._request.front.resume_stream()

    # ----------------------------------------------------------------------------------------- towards Tornado

    def set_close_callback(self, callback) -> None:
        self._close_callback = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        self._request.limit = max_body_size

    def write_headers(self, start_line: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None,
                      ) -> asyncio.Future:
        request = self._request
        if request.over:
            return self._closed()
        status = start_line.code
        bodiless = request.method == b"HEAD" or status in (204, 304) or status < 200
        if bodiless:
            self._left = 0
        elif "Content-Length" in headers:
            self._left = int(headers["Content-Length"])
        elif request.http10:
            request.keep_alive = False
        elif "Transfer-Encoding" not in headers:
            self._chunked = True
        lines = [status_line(status)]
        for name, value in headers.get_all():
            line = f"{name}: {value}"
            if any(bad in line for bad in _FORBIDDEN):
                raise ValueError("a response header holds a control character")
            if name not in _OURS:
                lines.append(line.encode("latin-1") + b"\r\n")
        if headers.get("Connection", "").lower() == "close":
            request.keep_alive = False
        lines.append(request.front.server.date)
        if "X-Request-Id" not in headers:
            lines.append(b"X-Request-Id: %b\r\n" % new_rid().encode())
        connection = request.connection()
        if connection == CLOSE:
            lines.append(b"Connection: close\r\n")
        elif connection == KEEP_1_0:
            lines.append(b"Connection: keep-alive\r\n")
        if self._chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines.append(b"\r\n")
        if chunk:
            lines.append(self._framed(chunk))
        request.mark_started()
        return self._write(b"".join(lines))

    def write(self, chunk: bytes) -> asyncio.Future:
        if self._request.over:
            return self._closed()
        return self._write(self._framed(chunk))

    def finish(self) -> None:
        request = self._request
        if request.over:
            return
        if self._left:
            self.close()
            raise HTTPOutputError(f"the body is {self._left} bytes shorter than its Content-Length")
        if self._chunked:
            request.front.transport.write(b"0\r\n\r\n")
        self._close_callback = self._delegate = None
        request.front.finished(request)

    def close(self) -> None:
        """Cut the connection: the client sees a broken transfer."""
        request = self._request
        if not request.over:
            self._close_callback = self._delegate = None
            request.keep_alive = False
            request.front.cut(request)

    def _framed(self, chunk: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                self.close()
                raise HTTPOutputError("the body is longer than its Content-Length")
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked and chunk else chunk

    def _write(self, data: bytes) -> asyncio.Future:
        front = self._request.front
        if data:
            front.transport.write(data)
        future = asyncio.get_running_loop().create_future()
        if front.write_paused:
            self._flushes.append(future)
        else:
            future.set_result(None)
        return future

    def _closed(self) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(StreamClosedError())
        future.exception()  # looked at, so that a handler that does not await it raises no alarm
        return future
