"""One request to an upstream and its answer (Exchange), and the connection that carries one at a time (Line).

Everything here is call-backs on the loop: no task, future or coroutine per exchange. The parser's call-backs only note
what was read; the Answer is called after the parser has returned, so that its faults are never taken for the
upstream's, and so that one read from the socket is one `on_data`.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from smartoken.upstream.decode import DECODED_MAX, Malformed, TooLarge, decoder_for
from smartoken.upstream.origin import Limits, Origin

if TYPE_CHECKING:
    from smartoken.upstream.pool import Pool

HEAD_MAX = 64 << 10
INFORMATIONAL_MAX = 8
WRITE_PIECE = 64 << 10
NEVER = float("inf")


class Answer(Protocol):
    """Who hears of one attempt. Exactly one of on_end and on_fail comes, the last call of all; none after abort().

    No call comes from inside Pool.send.
    """

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The final status (never 1xx) and the headers as they came, names in lower case."""

    def on_data(self, data: bytes) -> None:
        """Bytes of the body, without chunk framing and content coding: one call per read from the socket."""

    def on_end(self) -> None:
        """The answer is whole. `exchange.framed` False: it ended by closing, so wholeness is the wire's to judge."""

    def on_fail(self, kind: str, detail: str) -> None:
        """`kind` is one of origin.FAILS; `detail` is for logs. See exchange.sent and exchange.answered."""


class Exchange:
    """One request under way. Read the attributes; call abort, pause and resume; the rest belongs to the pool."""

    __slots__ = ("answer", "answered", "body", "body_max", "deadline", "framed", "head", "limits", "line", "origin",
                 "over", "paused", "pool", "reused", "sent", "total_deadline")

    def __init__(self, pool: "Pool", origin: Origin, head: bytes, body: bytes, answer: Answer, limits: Limits):
        self.pool, self.origin, self.answer, self.limits = pool, origin, answer, limits
        self.head, self.body = head, body
        self.body_max = limits.body_max
        self.line: Line | None = None
        self.deadline = self.total_deadline = NEVER
        self.sent = False  # some byte of the request was handed to the connection
        self.answered = False  # some byte of the answer came
        self.reused = False  # it went out on a pooled connection
        self.framed = True  # the answer's length was told by the upstream, not by closing
        self.paused = self.over = False

    def abort(self) -> None:
        """Stop: the connection is closed (that is how HTTP/1.1 says "cancel") and the Answer hears nothing more."""
        if not self.over:
            line = self.line
            self.pool.let_go(self)
            if line is not None:
                line.close()

    def pause(self) -> None:
        """Stop reading the answer (whoever takes it is slow). The idle time stops too, the total time does not."""
        if not self.paused and not self.over:
            self.paused = True
            if self.answered:
                self.deadline = self.total_deadline
            if self.line is not None:
                self.line.pause_reading()

    def resume(self) -> None:
        if self.paused and not self.over:
            self.paused = False
            if self.answered:
                self.touch()
            if self.line is not None:
                self.line.resume_reading()

    def touch(self) -> None:
        """Something came: the idle time starts anew. The pool's clock is coarse, so allow for one tick more."""
        if not self.paused:
            self.deadline = min(self.total_deadline, self.pool.now + self.pool.tick_s + self.limits.idle_s)

    def fail(self, kind: str, detail: str) -> None:
        if not self.over:
            line = self.line
            self.pool.let_go(self)
            if line is not None:
                line.close()
            self.answer.on_fail(kind, detail)

    def late(self, now: float) -> None:
        """The sweep found the deadline passed."""
        if now >= self.total_deadline:
            self.fail("total_timeout", f"not finished after {self.limits.total_s:g} s")
        elif self.answered:
            self.fail("idle_timeout", f"silent for {self.limits.idle_s:g} s")
        else:
            self.fail("first_byte_timeout", f"no answer within {self.limits.first_byte_s:g} s")


class Line(asyncio.Protocol):
    """One connection to an origin. `exchange` is None while it lies in the pool, where any byte closes it."""

    __slots__ = ("_chunks", "_clean", "_coding", "_complete", "_encoded", "_head_bytes", "_head_known", "_headers",
                 "_informational", "_keep", "_parser", "_size", "_status", "_unsent", "_untold", "exchange", "held",
                 "idle_until", "origin", "pool", "read_paused", "transport", "ttl_s", "write_paused")

    def __init__(self, pool: "Pool", origin: Origin, transport: asyncio.Transport, held: list):
        self.pool, self.origin, self.transport, self.held = pool, origin, transport, held
        self.exchange: Exchange | None = None
        self.ttl_s = pool.idle_s
        self.idle_until = NEVER
        self.read_paused = self.write_paused = False
        self._parser = HttpResponseParser(self)
        self._unsent: memoryview | None = None
        self._reset()

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._head_bytes = self._informational = self._status = self._size = 0
        self._head_known = self._untold = self._complete = self._keep = False
        self._clean = True
        self._encoded = False
        self._coding = None

    # ------------------------------------------------------------------------------------------------ sending

    def carry(self, exchange: Exchange, now: float) -> None:
        """Send the exchange's request; the pool has made sure that this line is free."""
        self.exchange, exchange.line = exchange, self
        self._reset()
        if exchange.paused:
            self.pause_reading()
        exchange.deadline = min(exchange.total_deadline, now + exchange.limits.first_byte_s)
        exchange.sent = True
        head, body = exchange.head, exchange.body
        if self.origin.proxy is not None and self.origin.scheme == "http":
            head = self.origin.through_proxy(head)
        if len(body) <= WRITE_PIECE:
            self.transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        else:
            self._unsent = memoryview(body)
            self.transport.write(b"%b%d\r\n\r\n" % (head, len(body)))
            self._send_more()

    def _send_more(self) -> None:
        # A big body goes piece by piece, so that the connection's buffer never holds a second copy of it.
        while self._unsent is not None and not self.write_paused and not self.transport.is_closing():
            piece, rest = self._unsent[:WRITE_PIECE], self._unsent[WRITE_PIECE:]
            self._unsent = rest if len(rest) else None
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._send_more()

    # ------------------------------------------------------------------------------------------------ reading

    def pause_reading(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # Nothing was asked: a late answer, a 408 before closing, or a confused server. Never let it meet a request.
            self.close()
            return
        if not exchange.answered:
            exchange.answered = True
        if not self._head_known:
            self._head_bytes += len(data)
        fault = None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            fault = ("protocol", "the upstream switched protocols")
        except HttpParserError as error:
            if not self._complete:
                fault = ("protocol", f"malformed answer: {error.__context__ or error}")
            self._clean = False
        if self._head_bytes > HEAD_MAX and not self._head_known:
            fault = ("protocol", "the answer's head passes 64 KiB")
        exchange.touch()
        self._tell(exchange, fault)

    def _tell(self, exchange: Exchange, fault: tuple[str, str] | None) -> None:
        """Hand on what the parser noted. The Answer may abort in any call, hence the looks at `over`."""
        answer = exchange.answer
        if self._untold:
            self._untold = False
            if self._encoded:
                try:
                    self._settle_coding(exchange)
                except Malformed as error:
                    exchange.fail("protocol", str(error))
                    return
            answer.on_head(self._status, self._headers)
            if exchange.over:
                return
        if self._chunks:
            data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks = []
            try:
                data = self._coding.feed(data) if self._coding is not None else data
            except Malformed as error:
                exchange.fail("protocol", str(error))
                return
            except TooLarge as error:
                exchange.fail("too_large", str(error))
                return
            self._size += len(data)
            if exchange.body_max and self._size > exchange.body_max:
                exchange.fail("too_large", f"the answer's body passes {exchange.body_max} bytes")
                return
            if data:
                answer.on_data(data)
                if exchange.over:
                    return
        if self._complete:
            self._finish(exchange)
        elif fault is not None:
            exchange.fail(*fault)

    def _settle_coding(self, exchange: Exchange) -> None:
        coding = b", ".join(value for name, value in self._headers if name == b"content-encoding")
        if coding:
            self._coding = decoder_for(coding, min(exchange.body_max or DECODED_MAX, DECODED_MAX))
            if self._coding is not None:
                gone = (b"content-encoding", b"content-length")
                self._headers = [pair for pair in self._headers if pair[0] not in gone]

    def _finish(self, exchange: Exchange) -> None:
        if self._coding is not None and self._size:
            try:
                self._coding.end()
            except Malformed as error:
                exchange.fail("protocol", str(error))
                return
        self.pool.let_go(exchange)
        self.exchange = None
        if self._keep and self._clean and self._unsent is None and not self.transport.is_closing():
            self.resume_reading()
            self.pool.keep(self)
        else:
            self.close()
        exchange.answer.on_end()

    # ------------------------------------------------------------------------------- what httptools calls back

    def on_message_begin(self) -> None:
        if self._complete:
            self._clean = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_known:
            return  # trailers say nothing that we use
        name = name.lower()
        if name == b"keep-alive":
            self._read_keep_alive(value)
        elif name == b"content-encoding":
            self._encoded = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._status = status
        self._head_known = self._untold = True
        self._keep = self._parser.should_keep_alive()
        # Framed by Content-Length or by a last coding "chunked"; a coding under the chunks is one we never asked for.
        framed, size = status in (204, 304), 0
        for name, value in self._headers:
            size += len(name) + len(value)
            if name == b"content-length":
                framed = True
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    raise ValueError("unknown transfer coding")
                framed = True
        if size > HEAD_MAX:
            raise ValueError("the head passes 64 KiB")
        self.exchange.framed = framed

    def on_body(self, data: bytes) -> None:
        if not self._complete:
            self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._head_known:
            self._complete = True
            return
        self._headers = []  # an informational answer is over; the real one follows
        self._informational += 1
        if self._informational > INFORMATIONAL_MAX:
            raise ValueError("too many informational answers")

    def _read_keep_alive(self, value: bytes) -> None:
        for part in value.lower().split(b","):
            key, _, seconds = part.strip().partition(b"=")
            if key == b"timeout" and seconds.isdigit() and len(seconds) < 6:
                # One second less than they say, since our request takes a while to reach them.
                self.ttl_s = min(self.pool.idle_s, int(seconds) - 1)

    # ------------------------------------------------------------------------------------------------- the end

    def eof_received(self) -> None:
        """Returning None closes the transport; connection_lost says the rest."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.lost(self)
        handler, connection = self.held
        connection.close()
        handler.connection_lost(exc)  # aiohttp's own protocol waits for this when its connector closes
        exchange, self.exchange = self.exchange, None
        self._unsent = None
        self._parser = None  # it holds our bound methods: a circle
        if exchange is None or exchange.over:
            return
        if not exchange.answered and exchange.reused:
            self.pool.again(exchange)
        elif self._head_known and not exchange.framed and exc is None:
            self._complete, self._keep = True, False
            self._finish(exchange)
        else:
            when = "in the middle of the answer" if exchange.answered else "without an answer"
            exchange.fail("reset", f"the connection was closed {when}" + (f": {exc}" if exc else ""))

    def close(self) -> None:
        """Close at once: what is still unsent is of no use to anybody."""
        self.exchange = None
        if not self.transport.is_closing():
            self.transport.abort()
