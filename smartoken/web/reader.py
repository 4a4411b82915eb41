"""Bytes of a client into Requests: strict HTTP/1.1 by llhttp, and what llhttp leaves to its user to refuse.

The parser's call-backs only note what was read. Whatever breaks becomes `refusal`, after which nothing is read.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from smartoken.errors import Refusal, refuse
from smartoken.web.http1 import SINGLE, Edge
from smartoken.web.request import Request

if TYPE_CHECKING:
    from smartoken.web.front import Front

SLICE = 16 << 10  # parsed at a time, so that one read cannot make thousands of requests


def too_large(request: Request) -> Refusal:
    return refuse("too_large", f"The body passes the limit of {request.limit} bytes.", code="body_too_large")


class _BodyOnly:
    """Takes the body of a request whose head asked for an upgrade, which the first parser refuses to read."""

    def __init__(self, reader: "Reader"):
        self.on_body, self.on_message_complete = reader.on_body, reader.on_message_complete


class Reader:
    """The reading half of one connection. `queue` holds requests from the end of their head on, until they are
    answered; `reading` is the one whose body is being read; `open_head` counts the bytes of an unfinished head."""

    __slots__ = ("_count", "_edge", "_front", "_head_bytes", "_headers", "_last", "_parser", "_target", "_upgrading",
                 "open_head", "queue", "reading", "refusal")

    def __init__(self, front: "Front", edge: Edge):
        self._front, self._edge = front, edge
        self.queue: deque[Request] = deque()
        self.reading: Request | None = None
        self.refusal: Refusal | None = None
        self.open_head = 0
        self._last = self._upgrading = False  # the last request of this connection is read; the current one upgrades
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._new_message()

    @property
    def ended(self) -> bool:
        """Nothing that still comes will be read."""
        return self._last or self.refusal is not None

    def appetite(self) -> int:
        """How many bytes to parse at once: the rest of a body whose length is known, else a slice."""
        reading = self.reading
        return reading.length - reading.received if reading is not None and reading.length > 0 else SLICE

    def close(self) -> None:
        """Let go of the parser: it holds our bound methods, a circle."""
        self._parser = None

    def _new_message(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = self._count = 0

    def parse(self, piece: bytes) -> None:
        """Read on; what is found is in `queue`, `reading` and `refusal`. Raises nothing for the client's faults."""
        before = self._headers
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade as stop:
            self._after_upgrade(piece[stop.args[0]:])
        except HttpParserError as error:
            if self.refusal is None and not self._last:
                self.refusal = refuse("invalid_request", f"Malformed HTTP: {error}.", code="malformed_http")
        if self.reading is not None or self.refusal is not None:
            self.open_head = 0
        elif before is self._headers:
            # No message ended here (each has its own dict), so all of this is head, whole lines or not.
            self.open_head += len(piece)
            if self.open_head > self._edge.head_max:
                self.refusal = refuse("headers_too_large", "The request's headers are too large.")
        else:
            self.open_head = len(self._target) + self._head_bytes

    def _after_upgrade(self, rest: bytes) -> None:
        """Upgrades are ignored: the request is served as if it had not asked, and its connection ends with it."""
        self._upgrading = False
        reading = self.reading
        if reading is None:
            return
        # llhttp stops at the end of such a head. A parser of its own, told the framing only, reads the body.
        self._parser = HttpRequestParser(_BodyOnly(self))
        framing = b"Transfer-Encoding: chunked" if reading.length < 0 else b"Content-Length: %d" % reading.length
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        if rest:
            self.parse(rest)

    # ------------------------------------------------------------------------------- what httptools calls back

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > self._edge.head_max:
            self._stop(refuse("headers_too_large", "The request's target is too long."))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._head_bytes += len(name) + len(value) + 4
        edge = self._edge
        if self._count > edge.headers_max or self._head_bytes > edge.head_max:
            self._stop(refuse("headers_too_large", "The request's headers are too large or too many."))
        if self.reading is not None:
            return  # a trailer: counted, not kept
        name, value, headers = name.lower(), value.rstrip(b" \t"), self._headers
        if name in headers:
            if name in SINGLE:
                self._stop(refuse("invalid_request", f"The header {name.decode('latin-1')} may come only once."))
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        parser, headers, target = self._parser, self._headers, self._target
        version = parser.get_http_version()
        if version != "1.1" and version != "1.0":
            self._stop(refuse("invalid_request", "Only HTTP/1.1 and HTTP/1.0 are spoken here."))
        method = parser.get_method()
        if method == b"CONNECT":
            self._stop(refuse("method_not_allowed", "CONNECT is not served."))
        http10 = version == "1.0"
        if target[:1] != b"/":
            target = self._other_form(target, method)
        if not headers.get(b"host") and not http10:
            self._stop(refuse("invalid_request", "The header host is missing."))
        if b"#" in target:
            self._stop(refuse("invalid_request", "The request's target holds a fragment."))
        path, _, query = target.partition(b"?")
        length = int(headers.get(b"content-length", b"0"))
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if http10 or coding.lower() != b"chunked":
                self._stop(refuse("invalid_request", "Only the transfer coding chunked is understood."))
            length = -1
        keep_alive = parser.should_keep_alive()
        if parser.should_upgrade():
            self._upgrading, keep_alive = True, False
        request = Request(self._front, method, target, path, query, headers, length, http10, keep_alive,
                          time.monotonic_ns() // 1000)
        request.expects = not http10 and headers.get(b"expect", b"").lower() == b"100-continue"
        self.reading = request
        self.queue.append(request)

    def on_body(self, data: bytes) -> None:
        reading = self.reading
        if reading is None:
            return
        reading.received += len(data)
        if reading.over:
            return
        if reading.begun and reading.received > reading.limit:
            self._stop(too_large(reading))
        reading.chunks.append(data)
        reading.held += len(data)

    def on_message_complete(self) -> None:
        reading = self.reading
        if reading is None or (self._upgrading and reading.length != 0):
            return
        reading.complete = True
        self.reading = None
        if not reading.keep_alive:
            self._last = True
        self._new_message()

    def _stop(self, refusal: Refusal) -> None:
        self.refusal = refusal
        raise refusal

    def _other_form(self, target: bytes, method: bytes) -> bytes:
        """The path of an absolute target, whose host then counts (RFC 9112, 3.2.2); or the asterisk of OPTIONS."""
        if target == b"*" and method == b"OPTIONS":
            return target
        scheme, found, rest = target.partition(b"://")
        host, slash, path = rest.partition(b"/")
        if scheme.lower() not in (b"http", b"https") or not found or not host or b"@" in host or b"?" in host:
            self._stop(refuse("invalid_request", "The request's target is neither a path nor an http URL."))
        if b"host" in self._headers:
            self._headers[b"host"] = host
        return slash + path if slash else b"/"
