"""One exchange: answers of every framing cut at every byte, broken answers, codings, and pressure both ways."""

import asyncio
import gzip
import socket
import struct
import zlib

import pytest
import uvloop
from upstream_kit import HEAD, Heard, always, ask, once, pool_and, read_request, until

from smartoken.upstream.origin import Limits

CHUNKED = (b"HTTP/1.1 200 OK\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n")
LENGTH = b"HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 11\r\n\r\nhello world"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LENGTH
NO_REASON = b"HTTP/1.1 200\r\nX-One: 1\r\nContent-Length: 11\r\n\r\nhello world"


async def silent(upstream, number, reader, writer):
    await read_request(upstream, reader)
    await reader.read()


async def fed(pool, upstream, pieces):
    """An exchange on a real connection whose answer is given to the protocol in exactly these pieces."""
    heard = Heard()
    exchange = pool.send(upstream.origin, HEAD, b"{}", heard, Limits())
    await until(lambda: exchange.line)
    line = exchange.line
    for piece in pieces:
        line.data_received(piece)
    return heard, exchange


@pytest.mark.parametrize("answer", [CHUNKED, LENGTH, INTERIM, NO_REASON], ids=["chunked", "length", "1xx", "no reason"])
def test_an_answer_may_be_cut_anywhere(answer):
    async def main():
        async with pool_and(silent) as (pool, upstream):
            cuts = [[answer[:at], answer[at:]] for at in range(1, len(answer))]
            cuts.append([answer[at:at + 1] for at in range(len(answer))])
            for pieces in cuts:
                heard, _ = await fed(pool, upstream, pieces)
                assert heard.events[0][:2] == ("head", 200) and (b"x-one", b"1") in heard.events[0][2]
                assert heard.body == b"hello world" and heard.last == "end", pieces
            assert upstream.count == 1  # each of them left the connection clean

    asyncio.run(main())


def test_a_burst_is_one_call():
    async def main():
        burst = b"".join(b"4\r\nab%02d\r\n" % number for number in range(100))
        async with pool_and(silent) as (pool, upstream):
            heard, _ = await fed(pool, upstream, [CHUNKED[:CHUNKED.index(b"5;")] + burst + b"0\r\n\r\n"])
            assert [event[0] for event in heard.events] == ["head", "data", "end"] and len(heard.body) == 400

    asyncio.run(main())


@pytest.mark.parametrize(("answer", "kind"), [
    (b"", "reset"),
    (b"HTTP/1.1 200 OK\r\nContent-Le", "reset"),
    (LENGTH[:-1], "reset"),
    (CHUNKED[:-2], "reset"),
    (CHUNKED[:CHUNKED.index(b" world")], "reset"),
    (b"<html>busy</html>", "protocol"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "protocol"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\na\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", "protocol"),
    (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nhi", "protocol"),
    (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "protocol"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "protocol"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, "protocol"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nhi", "protocol"),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nhi", "protocol"),
    (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi", "protocol"),
])
def test_a_broken_answer_fails_once(answer, kind):
    async def main():
        async with pool_and(once(answer)) as (pool, upstream):
            heard, exchange = await ask(pool, upstream)
            assert heard.last == ("fail", kind), heard.events
            assert sum(event[0] in ("end", "fail") for event in heard.events) == 1
            assert exchange.answered == bool(answer)
            assert pool.counts()["idle"] == 0

    asyncio.run(main())


def test_a_body_that_ends_by_closing_is_marked_so_and_a_reset_is_not_an_end():
    async def main():
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        async with pool_and(once(head, b"data: 1\n\n")) as (pool, upstream):
            heard, exchange = await ask(pool, upstream)
            assert heard.last == "end" and heard.body == b"data: 1\n\n" and exchange.framed is False

        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(head + b"data: 1\n\n")
            await writer.drain()
            await started.wait()
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        started = asyncio.Event()
        async with pool_and(script) as (pool, upstream):
            heard = Heard()
            pool.send(upstream.origin, HEAD, b"{}", heard, Limits())
            heard.hook = lambda name: started.set() if name == "data" else None
            assert (await heard.wait())[-1][:2] == ("fail", "reset")

    asyncio.run(main())


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_leave_the_connection_usable(status):
    async def main():
        async with pool_and(always(b"HTTP/1.1 %d X\r\n\r\n" % status)) as (pool, upstream):
            for _ in range(2):
                heard, exchange = await ask(pool, upstream)
                assert heard.events == [("head", status, []), ("end",)]
            assert exchange.reused

    asyncio.run(main())


def bare_deflate(data):
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize(("coding", "pack"), [
    (b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", bare_deflate),
    (b"gzip", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])), (b"identity", bytes)])
def test_a_coding_that_came_unasked_is_undone_wherever_it_is_cut(coding, pack):
    async def main():
        plain = b"The quick brown fox jumps over the lazy dog. " * 4
        packed = pack(plain)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(packed))
        async with pool_and(silent) as (pool, upstream):
            for cut in range(len(packed)):
                heard, _ = await fed(pool, upstream, [head + packed[:cut], packed[cut:]])
                assert heard.last == "end" and heard.body == plain
                if coding != b"identity":
                    assert heard.events[0][2] == []
            short = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 30\r\n\r\n"
            heard, _ = await fed(pool, upstream, [short + gzip.compress(plain)[:30]])
            assert heard.last == ("fail", "protocol")

    asyncio.run(main())


def test_a_gzip_bomb_is_too_large_before_it_is_unpacked():
    async def main():
        bomb = gzip.compress(b"\0" * (200 << 20), 9)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        async with pool_and(once(head + bomb)) as (pool, upstream):
            for limits in (Limits(), Limits(body_max=0), Limits(body_max=1000)):
                heard, _ = await ask(pool, upstream, limits=limits)
                assert heard.last == ("fail", "too_large")
                assert len(heard.body) <= (limits.body_max or 64 << 20)

    asyncio.run(main())


def test_a_body_over_its_limit_is_cut_unless_the_head_lifted_it():
    async def main():
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
        async with pool_and(once(answer)) as (pool, upstream):
            heard, _ = await ask(pool, upstream, limits=Limits(body_max=4999))
            assert heard.last == ("fail", "too_large") and len(heard.body) <= 4999
            heard = Heard()
            exchange = pool.send(upstream.origin, HEAD, b"{}", heard, Limits(body_max=10))
            heard.hook = lambda name: setattr(exchange, "body_max", 0) if name == "head" else None
            await heard.wait()
            assert heard.last == "end" and len(heard.body) == 5000

    asyncio.run(main())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_paused_exchange_stops_the_upstream(loop):
    async def main():
        size, written = 64 << 20, [0]

        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while written[0] < size:
                writer.write(b"x" * (1 << 16))
                await writer.drain()
                written[0] += 1 << 16
            await reader.read()

        async with pool_and(script) as (pool, upstream):
            heard, got = Heard(), [0]
            heard.on_data = lambda data: (got.__setitem__(0, got[0] + len(data)), exchange.pause())
            exchange = pool.send(upstream.origin, HEAD, b"{}", heard, Limits(body_max=0))
            before = -1
            while before != written[0] or not written[0]:
                before = written[0]
                await asyncio.sleep(0.1)
            assert written[0] < size // 2 and got[0] < 1 << 20
            heard.on_data = lambda data: got.__setitem__(0, got[0] + len(data))
            exchange.resume()
            await heard.wait()
            assert got[0] == size and heard.last == "end"
            assert pool.counts()["idle"] == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_big_request_body_waits_for_a_slow_upstream_and_arrives_whole(loop):
    async def main():
        go = asyncio.Event()

        async def script(upstream, number, reader, writer):
            await go.wait()
            await read_request(upstream, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.read()

        body = bytes(range(256)) * (32 << 12)
        async with pool_and(script) as (pool, upstream):
            heard = Heard()
            exchange = pool.send(upstream.origin, HEAD, body, heard, Limits())
            await until(lambda: exchange.line)
            await asyncio.sleep(0.2)
            # What the connection holds of it is bounded, however big the body is.
            assert exchange.line.transport.get_write_buffer_size() <= 256 << 10
            go.set()
            await heard.wait()
            assert heard.last == "end" and upstream.requests[0][1] == body

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_an_answer_before_the_whole_request_is_sent_ends_the_connection():
    async def main():
        async def script(upstream, number, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.transport.pause_reading()
            await asyncio.sleep(5)

        async with pool_and(script) as (pool, upstream):
            heard, _ = await ask(pool, upstream, body=b"x" * (64 << 20))
            assert heard.last == "end" and heard.events[0][1] == 413
            assert pool.counts()["idle"] == 0

    asyncio.run(main())


def test_the_stream_goes_on_after_a_reader_failed():
    """A fault in the Answer is ours: it must not be called the upstream's, and must not leave the connection behind."""

    async def main():
        async with pool_and(silent) as (pool, upstream):
            heard = Heard()
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
            faults = []

            async def script(upstream, number, reader, writer):
                await read_request(upstream, reader)
                writer.write(LENGTH)
                await reader.read()

            upstream.script = script

            def hook(name):
                if name == "data":
                    raise KeyError("ours")

            heard.hook = hook
            pool.send(upstream.origin, HEAD, b"{}", heard, Limits())
            await heard.wait()
            assert heard.last == ("fail", "reset") and isinstance(faults[0]["exception"], KeyError)

    asyncio.run(main())
