"""The pretend upstream's side of one connection: parses requests, plays answers in order, breaks off when told to.

No task and no future per request: a timer or a call_soon handle at most, cancelled when the connection goes.
"""

import asyncio
import socket
import struct
from collections import deque
from dataclasses import replace
from email.utils import formatdate
from time import time

import httptools

from smartoken.testing.answers import ID, Answer, chunk
from smartoken.testing.calls import Call
from smartoken.testing.counts import Line
from smartoken.testing.plays import Play

REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 429: b"Too Many Requests", 500: b"Internal Server Error"}
LINGER = struct.pack("ii", 1, 0)  # close() sends RST
READ_FIRST_S = 0.02               # before a reset, so that the other side has read what was sent
AGAIN = 64                        # events of an endless answer per write


class Player(asyncio.Protocol):
    """One connection of an Upstream."""

    __slots__ = ("answer", "body", "call", "handle", "headers", "index", "line", "loop", "parser", "paused", "play",
                 "queue", "target", "transport", "upstream", "waiting")

    def __init__(self, upstream):
        self.upstream = upstream
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        self.queue: deque = deque()
        self.call = self.handle = self.line = None
        self.paused = self.waiting = False

    # the connection

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstream.connections.add(self)

    def connection_lost(self, error):
        self.upstream.connections.discard(self)
        self._cancel()
        if self.line is not None and not self.line.finished and self.play.cut in ("", "stall"):
            self.upstream.counts.left(self.line)
        self.call = self.line = None
        self.queue.clear()

    def drop(self):
        """End at once."""
        self._cancel()
        self.transport.abort()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        if self.waiting:
            self.waiting = False
            self._next()

    def _cancel(self):
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    # the request

    def data_received(self, data):
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def on_message_begin(self):
        self.headers, self.body, self.target = [], [], b""

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_headers_complete(self):
        if (b"expect", b"100-continue") in self.headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data):
        self.body.append(data)

    def on_message_complete(self):
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        call = Call(self.parser.get_method().decode(), self.target.decode("latin-1"), self.headers, body,
                    self.parser.should_keep_alive())
        if self.call is None:
            self._begin(call)
        else:
            self.queue.append(call)

    # the answer

    def _begin(self, call):
        self.call = call
        self.play, self.answer, wire = self.upstream.answer(call)
        self.line, self.index = None, 0
        if self.play.cut and self.play.after > 0 and self.answer.framing == "length":
            self.play = replace(self.play, after=0, torn=True)  # half of a whole body
        if wire:
            billed = self.answer.status < 400
            self.line = Line(call.id, call.at, wire, call.model, self.answer.status,
                             self.answer.input if billed else 0, self.answer.cache_read if billed else 0)
            self.upstream.counts.begin(self.line)
        if self.play.delay_ms:
            self.handle = self.loop.call_later(self.play.delay_ms / 1000, self._head)
        else:
            self._head()

    def _head(self):
        play, answer = self.play, self.answer
        if play.cut and play.after < 0:
            return self._cut()
        head = _head(self.call, play, answer)
        if play.gap_ms < 0 and not play.cut and answer.endless is None:
            self._count(answer.output, True)
            self.transport.write(head + answer.burst.replace(ID, self.call.id.encode()))
            return self._end()
        self.transport.write(head)
        self._later()

    def _later(self):
        gap_ms = self.play.gap_ms
        self.handle = self.loop.call_later(gap_ms / 1000, self._next) if gap_ms > 0 else self.loop.call_soon(self._next)

    def _next(self):
        play, answer, index = self.play, self.answer, self.index
        if self.paused:
            self.waiting = True
            return
        if play.cut and index >= play.after:
            return self._cut()
        if index < len(answer.pieces):
            data, tokens = answer.pieces[index]
            last = index + 1 == len(answer.pieces) and answer.endless is None and not play.cut
            self.index += 1
        elif answer.endless is not None:
            data, tokens = answer.endless[0] * AGAIN, answer.endless[1] * AGAIN
            last = False
        else:  # an answer without pieces
            data, tokens, last = b"", 0, not play.cut
        self._count(tokens, last)
        if data:
            self.transport.write(self._frame(data))
        if last:
            if answer.framing == "chunked":
                self.transport.write(b"0\r\n\r\n")
            return self._end()
        if play.cut and index + 1 > len(answer.pieces):
            return self._cut()
        self._later()

    def _frame(self, data):
        data = data.replace(ID, self.call.id.encode())
        return chunk(data) if self.answer.framing == "chunked" else data

    def _count(self, tokens, last):
        if self.line is None:
            return
        if last:
            self.upstream.counts.finish(self.line, tokens)
        elif tokens:
            self.upstream.counts.sending(self.line, tokens)

    def _end(self):
        call, self.call, self.handle = self.call, None, None
        if not call.keep_alive or self.answer.framing == "close" or self.play.length:
            self.transport.close()
        elif self.queue:
            self._begin(self.queue.popleft())

    def _cut(self):
        self.handle = None
        if self.play.torn and self.index < len(self.answer.pieces):
            data, tokens = self.answer.pieces[self.index]
            self._count(tokens, False)
            framed = self._frame(data)
            self.transport.write(framed[:len(framed) // 2])
        if self.play.cut == "reset":
            self.handle = self.loop.call_later(READ_FIRST_S, self._reset)
        elif self.play.cut == "close":
            self.transport.close()

    def _reset(self):
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.transport.abort()


def _head(call, play: Play, answer: Answer) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (answer.status, REASONS.get(answer.status, b"Status")),
             b"Content-Type: " + answer.content_type.encode(), b"x-request-id: up-" + call.id.encode()]
    if play.retry_after:
        value = formatdate(time() + 2, usegmt=True) if play.retry_after == "date" else play.retry_after
        lines.append(b"Retry-After: " + value.encode())
    lines += [f"{name}: {value}".encode() for name, value in answer.headers]
    if answer.framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    elif answer.framing == "length":
        length = sum(len(data) for data, _ in answer.pieces) + play.length
        lines.append(b"Content-Length: %d" % max(length, 0))
    if not call.keep_alive or answer.framing == "close" or play.length:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
