"""One client connection: bytes in, requests to handlers in order, answers out.

web/reader.py makes requests of the bytes; `_advance` serves them after the parser has returned, so that no handler runs
inside the parser and a handler's fault is never taken for the client's. Requests are served strictly one after
the other: while one is in service nothing more is parsed, what arrives waits as bytes in `_backlog`, and past a bound
the connection is not read until the answer is done.

A client that closes its sending side counts as gone, as with nginx's defaults and Tornado: an answer that is not
written yet is given up. (An answer already written is still delivered.)
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from smartoken.errors import Refusal, refuse
from smartoken.web.http1 import CLOSE, head_of
from smartoken.web.reader import Reader, too_large
from smartoken.web.request import Request

if TYPE_CHECKING:
    from smartoken.web.server import FrontServer

DISCARD_MAX = 64 << 10  # of an unread body that is read away to keep the connection
NEVER = float("inf")

log = logging.getLogger("smartoken.web")


class Front(asyncio.Protocol):
    """See the module. `peer` is the client's address as the socket knows it."""

    __slots__ = ("_advancing", "_backlog", "_closing", "_queue", "_read_paused", "_reader", "_stalled_at",
                 "_write_paused", "deadline", "peer", "server", "transport")

    def __init__(self, server: "FrontServer"):
        self.server = server
        self.peer = ""
        self.deadline = NEVER
        self._reader = Reader(self, server.edge)
        self._queue = self._reader.queue  # the requests that are not answered yet; the first is the one in service
        self._backlog = b""
        self._advancing = self._read_paused = self._write_paused = self._closing = False
        self._stalled_at = 0

    # ---------------------------------------------------------------------------------------------- connection

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.deadline = self.server.now + self.server.edge.head_s
        refusal = self.server.joined(self)
        if refusal is not None:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.server.left(self)
        self._gone()
        self._reader.close()
        self._backlog = b""

    def eof_received(self) -> None:
        """The client sends no more: that is leaving. Returning None closes the transport once it is flushed."""
        self._gone()
        self._closing = True
        self._await_flush(self.server.edge.stall_s)

    def pause_writing(self) -> None:
        self._write_paused = True
        self._await_flush(self.server.edge.stall_s)
        if self._queue:
            self._queue[0].tell_pause()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._set_deadline()
        if self._queue:
            self._queue[0].tell_resume()

    @property
    def write_paused(self) -> bool:
        return self._write_paused

    @property
    def closing(self) -> bool:
        return self._closing

    # ------------------------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        if self._closing or self._reader.ended:
            return
        if self._backlog:
            self._backlog += data
        else:
            self._feed(data)
        self._gate()
        self._set_deadline()

    def _feed(self, data: bytes) -> None:
        reader, at, end = self._reader, 0, len(data)
        while at < end and not self._closing and not reader.ended:
            if self._queue and reader.reading is None:
                self._backlog += data[at:]
                return
            take = reader.appetite()
            piece = data if at == 0 and end <= take else data[at:at + take]
            at += len(piece)
            was_open = reader.open_head
            reader.parse(piece)
            if reader.open_head and not was_open:
                self.deadline = self.server.now + self.server.edge.head_s
            self._advance()

    # ------------------------------------------------------------------------------------------------- serving

    def _advance(self) -> None:
        """Serve what is read, in order, as far as it goes now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue and not self._closing:
                request = self._queue[0]
                if not request.begun:
                    self._begin(request)
                if request.over:
                    if not self._settled(request):
                        break
                    continue
                if not self._deliver(request):
                    break
            if self._reader.refusal is not None and not self._closing:
                self._answer_refusal()
        finally:
            self._advancing = False

    def _begin(self, request: Request) -> None:
        server = self.server
        request.begun = True
        server.began()
        request.limit = server.body_max_by_path.get(request.path, server.edge.body_max)
        request.handler = server.hot.get(request.path)
        if request.handler is not None and self._call(request, request.handler.head) is False and not request.over:
            request.handler = None
        if request.handler is None and not request.over:
            self._call(request, server.open_door)
        if request.over:
            return
        if request.stream is None:
            self.accept_body(request)

    def accept_body(self, request: Request) -> None:
        """The head is accepted: is the body, too? Then say so to a client that waits for it."""
        if max(request.length, request.received) > request.limit:
            self._give_up(request, too_large(request), tell=True)
        elif request.expects and not request.received and not request.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.expects = False

    def _deliver(self, request: Request) -> bool:
        """The body, or as much of it as is here, to the handler. False: nothing more to do until something happens."""
        if request.stream is not None and not self._call(request, request.stream.take):
            return request.over
        if not request.complete or request.running:
            return request.over
        request.running = True
        chunks = request.chunks
        if chunks:
            request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            request.chunks = []
        self._call(request, request.handler.run)
        if self._write_paused and not request.over:
            request.tell_pause()
        return request.over

    def _call(self, request: Request, step) -> object:
        """Run a handler's step; what it raises becomes the answer."""
        try:
            return step(request)
        except Refusal as refusal:
            self._give_up(request, refusal)
        except Exception:
            log.exception("a handler failed on %s", request.path.decode("latin-1"))
            self._give_up(request, refuse("internal", "Something went wrong on our side."), tell=True)
        return None

    def _give_up(self, request: Request, refusal: Refusal, tell: bool = False) -> None:
        """Refuse a request that the handler will not answer: a whole answer, or a cut if one has begun. `tell` it, when
        it does not know yet."""
        if request.over:
            return
        if request.started:
            request.abort()
        else:
            kind, body, extra = self.server.render(refusal, request.path)
            request.answer(refusal.status, kind, body, extra)
        if tell:
            self._tell_gone(request)

    def fail(self, request: Request, error: BaseException) -> None:
        """The Tornado door's delegate failed while the body was being read."""
        log.error("a handler failed on %s", request.path.decode("latin-1"), exc_info=error)
        self._give_up(request, refuse("internal", "Something went wrong on our side."), tell=True)

    def _settled(self, request: Request) -> bool:
        """The first request is answered. True: it is out of the queue and the connection lives on."""
        if not request.keep_alive:
            self._queue.popleft()
            self._close()
            return False
        if not request.complete:
            return False  # the small rest of its body is still to be read away
        self._queue.popleft()
        return True

    def can_outlive(self, request: Request) -> bool:
        """Whether the connection can go on after an answer now: the body is read, or its rest is small and sure."""
        if request.complete:
            return True
        rest = request.length - request.received
        return request.length >= 0 and rest <= DISCARD_MAX and not request.expects and self._reader.refusal is None

    def finished(self, request: Request) -> None:
        """The request's answer is written (or given up): called by the answer methods."""
        request.over = True
        request.chunks = []
        self.server.ended()
        if not self._advancing:
            self._resume()

    def cut(self, request: Request) -> None:
        """The request's answer is broken off, and the connection with it, at once."""
        request.over = True
        self.server.ended()
        self._queue.clear()
        self._closing = True
        self.transport.abort()

    def resume_stream(self) -> None:
        """The Tornado door can take more of a body, or has let the request begin."""
        if not self._closing and not self._advancing:
            self._resume()

    def _resume(self) -> None:
        """Something was finished outside of data_received: go on with what waits."""
        self._advance()
        while self._backlog and not self._queue and not self._closing:
            data, self._backlog = self._backlog, b""
            self._feed(data)
        self._gate()
        self._set_deadline()

    def _gate(self) -> None:
        """Read or don't, by what is held already."""
        if self._closing or self.transport.is_closing():
            return
        limit, first = self.server.edge.backlog_max, self._queue[0] if self._queue else None
        full = len(self._backlog) > limit or (first is not None and first.stream is not None and first.held > limit)
        if full != self._read_paused:
            self._read_paused = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # ------------------------------------------------------------------------------------------------- the end

    def _answer_refusal(self) -> None:
        """What broke the connection is answered once everything before it has been."""
        if self._queue and self._queue[0] is not self._reader.reading:
            return
        refusal, request = self._reader.refusal, self._reader.reading
        if request is not None and request.begun and not request.over:
            request.over = True
            self.server.ended()
            self._tell_gone(request)
            if request.started:
                self._queue.clear()
                self._close()
                return
        self._queue.clear()
        self._refuse(refusal, request.path if request is not None else b"")

    def _refuse(self, refusal: Refusal, path: bytes = b"") -> None:
        kind, body, extra = self.server.render(refusal, path)
        self.transport.write(b"%b%b%bContent-Length: %d\r\n\r\n%b" % (
            head_of(refusal.status, kind, CLOSE), self.server.date, extra, len(body), body))
        self._close()

    def _close(self) -> None:
        """Flush and close: our side first, while what the client still sends is read away until it closes, too, or a
        moment has passed. Closing over unread bytes is a reset, which can overtake the answer (RFC 9112, 9.6)."""
        self._closing = True
        self._backlog = b""
        edge = self.server.edge
        if not self.transport.can_write_eof():
            self._await_flush(edge.stall_s)
            self.transport.close()
            return
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()
        self._await_flush(edge.stall_s if self.transport.get_write_buffer_size() else edge.linger_s)
        self.transport.write_eof()

    def _gone(self) -> None:
        if not self._queue:
            return
        request = self._queue[0]
        self._queue.clear()
        if request.begun and not request.over:
            request.over = True
            self.server.ended()
            self._tell_gone(request)

    def _tell_gone(self, request: Request) -> None:
        request.chunks = []
        try:
            request.handler.gone(request)
        except Exception:
            log.exception("a handler failed on a client that left %s", request.path.decode("latin-1"))

    def close_if_idle(self) -> None:
        """For draining: a connection with nothing in service has no reason to stay."""
        if not self._queue and not self._closing and not self._reader.open_head:
            self._close()

    def _set_deadline(self) -> None:
        if self._closing or self._write_paused:
            return
        server = self.server
        if self._reader.reading is not None:
            self.deadline = NEVER if self._read_paused else server.now + server.edge.body_s
        elif self._queue:
            self.deadline = NEVER
        elif not self._reader.open_head:  # else it counts from the head's first bytes, and more bytes do not move it
            self.deadline = server.now + server.edge.idle_s

    def _await_flush(self, seconds: float) -> None:
        self._stalled_at = self.transport.get_write_buffer_size()
        self.deadline = self.server.now + seconds

    def unsent(self) -> int:
        """Bytes of answers that the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def late(self) -> None:
        """The sweep found the deadline passed. A client that takes bytes, however slowly, gets more time."""
        if (self._write_paused or self._closing) and 0 < self.unsent() < self._stalled_at:
            self._await_flush(self.server.edge.stall_s)
        else:
            self.end()

    def end(self) -> None:
        """Now, whatever is under way."""
        self._closing = True
        self._gone()
        self.transport.abort()
