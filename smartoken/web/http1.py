"""The edge as values: what a connection may cost (Edge), response heads kept rendered, the Date header."""

from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from smartoken.errors import Refusal

# (content type, body, header lines each ended by CRLF) of a refusal; the path picks the surface whose shape it takes,
# b"" when the request was too broken to have one. Every answer's id (X-Request-Id) is among the lines.
RenderRefusal = Callable[[Refusal, bytes], tuple[bytes, bytes, bytes]]


class Edge(NamedTuple):
    """Limits of the inward side. Times in seconds, as exact as the sweep (1 s); sizes in bytes."""

    head_max: int = 16 << 10
    headers_max: int = 100
    body_max: int = 1 << 20
    """For paths that `body_max_by_path` does not name; a handler may set `request.limit` in head()."""
    backlog_max: int = 64 << 10
    """Unread pipelined bytes after which the connection is no longer read."""
    connections_max: int = 10_000
    connections_per_ip: int = 10_000
    idle_s: float = 75.0
    head_s: float = 60.0
    body_s: float = 60.0
    """Without a byte of the body."""
    stall_s: float = 60.0
    """Without a byte taken by the client while we have some to send."""
    linger_s: float = 2.0
    """How long a connection that is being refused is still read, so that the refusal is not lost in a reset."""


# What may be said only once; other repeated headers are joined as RFC 9110, 5.3 has it. Two credentials in one request
# would let two hops see two different callers.
SINGLE = frozenset((b"host", b"content-length", b"authorization", b"content-type", b"x-api-key", b"api-key",
                    b"x-goog-api-key", b"idempotency-key", b"transfer-encoding", b"expect"))

KEEP, CLOSE, KEEP_1_0 = 0, 1, 2
_CONNECTION = (b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n")
_heads: dict[tuple[int, bytes, int], bytes] = {}
_HEADS_MAX = 512  # content types may come from upstreams, so the cache is bounded

STATUS_LINES = {int(status): b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def head_of(status: int, content_type: bytes, connection: int) -> bytes:
    """Status line, Content-Type and Connection, rendered once per combination."""
    key = (status, content_type, connection)
    head = _heads.get(key)
    if head is None:
        if len(_heads) >= _HEADS_MAX:
            _heads.clear()
        type_line = b"Content-Type: %b\r\n" % content_type if content_type else b""
        head = _heads[key] = status_line(status) + type_line + _CONNECTION[connection]
    return head


def date_line() -> bytes:
    """The Date header of now; the server renews it once per second."""
    return b"Date: %b\r\n" % formatdate(usegmt=True).encode()
