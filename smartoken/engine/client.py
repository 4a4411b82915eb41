"""Whom a call answers, and what answers are made of: the Client, the ones that stand in for nobody, header lines."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from smartoken.errors import Refusal

JSON = b"application/json"
SSE = b"text/event-stream; charset=utf-8"
NOTHING: Mapping[bytes, bytes] = MappingProxyType({})      # no headers


class Client(Protocol):
    """What the door offers a call: one whole answer, or start, writes and finish."""

    def answer(self, status: int, content_type: bytes, body: bytes, extra: bytes = b"") -> None: ...

    def start(self, status: int, content_type: bytes, extra: bytes = b"") -> None: ...

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...


class Nobody:
    """The client of a call that needs none any more. A call does not keep its real one: the client's state keeps the
    call, and what holds each other waits for the garbage collector, bodies of megabytes and all."""

    def nothing(self, *_: object) -> None:
        """Whatever is said."""

    answer = start = write = finish = abort = nothing


NOBODY = Nobody()


class HearsNothing:
    """The Answer of an exchange whose stream has said its last word."""

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_fail(self, kind: str, detail: str) -> None: ...


HEARS_NOTHING = HearsNothing()


def header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    """A header's value, b'' when absent."""
    for found, value in headers:
        if found == name:
            return value
    return b""


def refusal_headers(refusal: Refusal) -> bytes:
    """The header lines that a refusal asks for, ready to send."""
    lines = b""
    if refusal.retry_after_s is not None:
        lines += b"Retry-After: %d\r\n" % refusal.retry_after_s
    if refusal.should_retry is not None:
        lines += b"x-should-retry: %s\r\n" % (b"true" if refusal.should_retry else b"false")
    return lines
