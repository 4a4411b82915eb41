"""A request as a hot handler sees it, with the methods that answer it."""

import socket
import struct
from typing import TYPE_CHECKING, Protocol

from smartoken.web.http1 import CLOSE, KEEP, KEEP_1_0, head_of

if TYPE_CHECKING:
    from smartoken.web.front import Front

_LINGER_RESET = struct.pack("ii", 1, 0)


class Handler(Protocol):
    """Serves the requests of one path, by call-backs. A Refusal raised by head or run is answered as such; any other
    exception is logged and answered as `internal`."""

    def head(self, request: "Request") -> bool | None:
        """The head is complete, the body not read: may answer at once, raise a Refusal, or set `request.limit`.

        False: not mine (another method, say), let the application have it.
        """

    def run(self, request: "Request") -> None:
        """The whole body is in `request.body`. Answer now or later."""

    def gone(self, request: "Request") -> None:
        """The answer is not finished and never will be: the client left (EOF or reset), or its body turned out broken.
        Comes once, for any request that head() has accepted; the answer methods do nothing from here on."""

    def pause(self, request: "Request") -> None:
        """The client reads slowly: write no more if you can help it."""

    def resume(self, request: "Request") -> None:
        """The client has caught up."""


class Request:
    """One request. `headers` has lower-case names and decoded framing; `query` is without its '?', undecoded.

    Answer with `answer`, or with `start`, `write`…, `finish`. `over` says that no answer is owed any more. `state` is
    the handler's own place for whatever it must find again in gone() and resume().
    """

    __slots__ = ("_chunked", "_started", "_told_to_pause", "begun", "body", "chunks", "complete", "expects", "front",
                 "handler", "headers", "held", "http10", "keep_alive", "length", "limit", "method", "over", "path",
                 "peer", "query", "received", "running", "started_us", "state", "stream", "target")

    def __init__(self, front: "Front", method: bytes, target: bytes, path: bytes, query: bytes,
                 headers: dict[bytes, bytes], length: int, http10: bool, keep_alive: bool, started_us: int):
        self.front, self.method, self.target, self.path, self.query = front, method, target, path, query
        self.headers, self.http10, self.keep_alive, self.started_us = headers, http10, keep_alive, started_us
        self.length = length  # of the body: -1 is chunked
        self.peer = front.peer
        self.limit = 0
        self.body = b""
        self.chunks: list[bytes] = []
        self.received = self.held = 0
        self.begun = self.running = self.complete = self.over = self.expects = False
        self.handler: Handler | None = None
        self.stream = None  # the Tornado door takes the body in pieces
        self.state = None
        self._started = self._chunked = self._told_to_pause = False

    # ------------------------------------------------------------------------------------------------- answers

    def answer(self, status: int, content_type: bytes, body: bytes, extra: bytes = b"") -> None:
        """The whole answer in one write. `extra`: header lines, each ended by CRLF."""
        if self.over:
            return
        if self._started:
            raise RuntimeError("this request has an answer already")
        front = self.front
        head = head_of(status, content_type, self.connection())
        length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
        front.transport.write(b"%b%b%b%b\r\n%b" % (head, front.server.date, extra, length,
                                                   b"" if self.method == b"HEAD" else body))
        front.finished(self)

    def start(self, status: int, content_type: bytes, extra: bytes = b"") -> None:
        """The head of an answer whose length is not known: chunked, or up to the close for HTTP/1.0."""
        if self.over:
            return
        if self._started:
            raise RuntimeError("this request has an answer already")
        self._started = True
        if self.http10:
            self.keep_alive = False
        self._chunked = not self.http10 and self.method != b"HEAD"
        framing = b"" if self.http10 else b"Transfer-Encoding: chunked\r\n"
        self.front.transport.write(b"%b%b%b%b\r\n" % (head_of(status, content_type, self.connection()),
                                                      self.front.server.date, extra, framing))

    def write(self, data: bytes) -> None:
        """More of a started answer, at once. One call is one chunk."""
        if self.over or not data:
            return
        if self._chunked:
            self.front.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif self.method != b"HEAD":
            self.front.transport.write(data)

    def finish(self) -> None:
        """A started answer is whole."""
        if self.over:
            return
        if self._chunked:
            self.front.transport.write(b"0\r\n\r\n")
        self.front.finished(self)

    def abort(self) -> None:
        """End the connection so that the client sees a broken transfer: what was written still goes out, but no end."""
        if self.over:
            return
        self.keep_alive = False
        if self._started and not self._chunked:
            # Without chunks the close is the end of the body; only a reset tells that it is not whole.
            sock = self.front.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self.front.cut(self)
        else:
            self.front.finished(self)

    # ------------------------------------------------------------------------------------------- for the front

    @property
    def started(self) -> bool:
        return self._started

    def mark_started(self) -> None:
        """The Tornado door writes its own head."""
        self._started = True

    def connection(self) -> int:
        """Decide whether the connection outlives this answer, and which Connection header says so."""
        if self.keep_alive and (self.front.server.draining or not self.front.can_outlive(self)):
            self.keep_alive = False
        if not self.keep_alive:
            return CLOSE
        return KEEP_1_0 if self.http10 else KEEP

    def tell_pause(self) -> None:
        if not self._told_to_pause and not self.over and self.running:
            self._told_to_pause = True
            self.handler.pause(self)

    def tell_resume(self) -> None:
        if self._told_to_pause and not self.over:
            self._told_to_pause = False
            self.handler.resume(self)
