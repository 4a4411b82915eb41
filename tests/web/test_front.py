"""The inward connection: framing, order, pressure, disconnects, limits and what handlers may do."""

import asyncio
import json
import socket
import struct

import pytest
import uvloop
from web_kit import EDGE, TEXT, Client, Echo, Hold, ask, said, served, until

from smartoken.errors import refuse
from smartoken.web.http1 import Edge


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    def runner(main):
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(main())

    return runner


def test_answers_keep_the_connection_and_say_no_more_than_they_must(run):
    async def main():
        async with served() as (_server, port), Client(port) as client:
            for _ in range(3):
                client.send(ask(body=b"abc"))
                status, headers, body = await client.answer()
                assert (status, body) == (200, b"POST /hot abc")
                assert headers.keys() == {"content-type", "date", "content-length"}
            client.send(ask(body=b"abc", extra=b"Connection: close\r\n"))
            assert (await client.answer())[1]["connection"] == "close"
            assert await client.ended() == b""

    run(main)


def test_the_request_is_what_was_sent(run):
    async def main():
        echo = Echo()
        async with served({b"/hot": echo}) as (_server, port), Client(port) as client:
            client.send(b"POST /hot?a=%20b&c HTTP/1.1\r\nHOST: gateway\r\nX-Many: 1 \r\nx-many:\t2\r\nCookie: a=1\r\n"
                        b"cookie: b=2\r\nEmpty:\r\nTransfer-Encoding: chunked\r\n\r\n"
                        b"3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n")
            await client.answer()
            request = echo.runs[0]
            assert (request.method, request.path, request.query) == (b"POST", b"/hot", b"a=%20b&c")
            assert request.headers == {b"host": b"gateway", b"x-many": b"1, 2", b"cookie": b"a=1; b=2", b"empty": b"",
                                       b"transfer-encoding": b"chunked"}
            assert request.body == b"abcde" and request.peer == "127.0.0.1" and request.started_us > 0
            client.send(b"POST HTTP://other:80/hot?x HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n")
            await client.answer()
            assert echo.runs[1].path == b"/hot" and echo.runs[1].headers[b"host"] == b"other:80"

    run(main)


SHAPES = {
    "length": ask(b"/hot?q", b"hello", extra=b"X-Y: z\r\n"),
    "chunked": b"POST /hot?q HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
    "upgrade": ask(b"/hot?q", b"hello", extra=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    "upgrade chunked": b"POST /hot?q HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_may_be_cut_anywhere(run, shape):
    async def main():
        echo, data = Echo(), SHAPES[shape]
        async with served({b"/hot": echo}) as (_server, port):
            cuts = [[data[:at], data[at:]] for at in range(1, len(data))]
            cuts.append([data[at:at + 1] for at in range(len(data))])
            for pieces in cuts:
                async with Client(port) as client:
                    client.send(ask())
                    await client.answer()
                    # The pieces go straight into the protocol: on the wire the kernel would join them again.
                    for piece in pieces:
                        echo.runs[-1].front.data_received(piece)
                    status, _, body = await client.answer()
                    assert (status, body) == (200, b"POST /hot?q hello"), pieces
            assert len(echo.runs) == 2 * len(cuts) and not echo.gones

    run(main)


def test_pipelined_requests_are_answered_in_order(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": Echo(), b"/hold": hold}) as (server, port), Client(port) as client:
            client.send(b"".join(ask(b"/hold" if n % 3 == 0 else b"/hot", b"%d" % n) for n in range(30)))
            for n in range(30):
                if n % 3 == 0:
                    await until(lambda: len(hold.runs) == n // 3 + 1)
                    assert server.in_flight == 1
                    hold.runs[-1].answer(200, TEXT, said(hold.runs[-1]))
                assert (await client.answer())[2].endswith(b" %d" % n)

    run(main)


def test_a_flood_of_pipelined_requests_is_not_taken_in(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold}) as (_server, port):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            sent, still, flood = 0, 0, ask(body=b"x") * 1000
            while still < 20:
                try:
                    sent, still = sent + sock.send(flood), 0
                except BlockingIOError:
                    still += 1
                    await asyncio.sleep(0.02)
            assert len(hold.heads) == len(hold.runs) == 1
            front = hold.runs[0].front
            assert len(front._backlog) + sum(len(r.body) + 200 for r in front._queue) < 1 << 20
            sock.close()
            hold.runs[0].abort()

    run(main)


def test_a_slow_reader_pauses_the_handler_and_memory_stays_small(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold}) as (_server, port):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, ask())
            await until(lambda: hold.runs)
            request, wrote = hold.runs[0], 0
            request.start(200, TEXT)
            while not hold.pauses:
                request.write(b"~" * 4096)
                wrote += 4096
                await asyncio.sleep(0)
                assert wrote < 64 << 20
            assert request.front.unsent() < 1 << 20 and not hold.resumes
            got = b""
            while not hold.resumes:
                got += await loop.sock_recv(sock, 1 << 16)
            request.finish()
            while not got.endswith(b"\r\n0\r\n\r\n"):
                got += await loop.sock_recv(sock, 1 << 20)
            assert got.count(b"~") == wrote and hold.pauses == hold.resumes == [request]
            sock.close()

    run(main)


@pytest.mark.parametrize("how", ["eof", "reset", "close"])
@pytest.mark.parametrize("when", ["running", "streaming", "in the body"])
def test_a_client_that_leaves_is_noticed_once(run, how, when):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold}) as (server, port):
            sock = socket.create_connection(("127.0.0.1", port))
            data = ask(body=b"abcdef")
            sock.sendall(data[:-2] if when == "in the body" else data)
            await until(lambda: hold.heads if when == "in the body" else hold.runs)
            request = hold.heads[0]
            if when == "streaming":
                request.start(200, TEXT)
                request.write(b"x")
            if how == "eof":
                sock.shutdown(socket.SHUT_WR)
            elif how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            else:
                sock.close()
            await until(lambda: hold.gones)
            assert hold.gones == [request] and request.over and server.in_flight == 0
            request.write(b"too late")
            request.finish()
            request.answer(200, TEXT, b"too late")
            await until(lambda: server.counts()["connections"] == 0)
            assert hold.gones == [request]
            sock.close()

    run(main)


def test_nobody_is_gone_once_the_answer_is_written(run):
    async def main():
        echo = Echo()
        async with served({b"/hot": echo}) as (server, port):
            async with Client(port) as client:
                client.send(ask())
                client.writer.write_eof()
                assert (await client.answer())[0] == 200  # a half-closed client still gets what was written at once
            await until(lambda: server.counts()["connections"] == 0)
            assert not echo.gones

    run(main)


def test_http_1_0(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": Echo(), b"/hold": hold}) as (_server, port):
            async with Client(port) as client:
                client.send(b"POST /hot HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na" * 2)
                for _ in range(2):
                    status, headers, body = await client.answer()
                    assert (status, headers["connection"], body) == (200, "keep-alive", b"POST /hot a")
                client.send(b"POST /hot HTTP/1.0\r\n\r\n")
                assert (await client.answer())[1]["connection"] == "close"
                assert await client.ended() == b""
            async with Client(port) as client:
                client.send(b"POST /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                await until(lambda: hold.runs)
                hold.runs[0].start(200, TEXT)
                hold.runs[0].write(b"abc")
                hold.runs[0].finish()
                status, headers, body = await client.answer()
                assert body == b"abc" and "transfer-encoding" not in headers and headers["connection"] == "close"

    run(main)


def test_streams_are_chunked_and_a_cut_one_shows(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold}) as (_server, port):
            async with Client(port) as client:
                client.send(ask())
                await until(lambda: hold.runs)
                hold.runs[0].start(200, b"text/event-stream", b"X-Request-Id: 1\r\n")
                hold.runs[0].write(b"one")
                hold.runs[0].write(b"")
                hold.runs[0].write(b"two")
                hold.runs[0].finish()
                _status, headers, body = await client.answer()
                assert body == b"onetwo" and headers["x-request-id"] == "1" and "content-length" not in headers
                client.send(ask())
                await until(lambda: len(hold.runs) == 2)
                hold.runs[1].start(200, TEXT)
                hold.runs[1].write(b"event: error\n\n")
                hold.runs[1].abort()
                assert (await client.ended()).endswith(b"e\r\nevent: error\n\n\r\n")
            async with Client(port) as client:
                client.send(b"POST /hot HTTP/1.0\r\n\r\n")
                await until(lambda: len(hold.runs) == 3)
                hold.runs[2].start(200, TEXT)
                hold.runs[2].abort()
                assert await client.ended() == b"reset"
            with pytest.raises(RuntimeError):
                async with Client(port) as client:
                    client.send(ask())
                    await until(lambda: len(hold.runs) == 4)
                    hold.runs[3].start(200, TEXT)
                    hold.runs[3].answer(200, TEXT, b"")

    run(main)


def test_head_gets_no_body(run):
    async def main():
        async with served() as (_server, port), Client(port) as client:
            client.send(ask(method=b"HEAD"))
            _status, headers, _ = await client.answer(bodiless=True)
            assert headers["content-length"] == "10"
            client.send(ask())
            assert (await client.answer())[2] == b"POST /hot "

    run(main)


def test_continue_is_said_only_after_the_head_was_accepted(run):
    async def main():
        echo = Echo()
        accept = echo.head

        def head(request):
            accept(request)
            if request.headers.get(b"authorization") != b"Bearer good":
                raise refuse("authentication", "No.")

        echo.head = head
        expect = b"Expect: 100-continue\r\n"
        async with served({b"/hot": echo}) as (_server, port):
            async with Client(port) as client:
                client.send(ask(body=b"abc", extra=expect + b"Authorization: Bearer good\r\n")[:-3])
                assert (await client.answer())[0] == 100
                client.send(b"abc")
                assert (await client.answer())[2] == b"POST /hot abc"
                client.send(ask(body=b"abc", extra=expect)[:-3])
                status, headers, _ = await client.answer()
                # Whether the body still comes is unknown, so the connection cannot be used on.
                assert (status, headers["connection"]) == (401, "close")
                assert await client.ended() == b""
            async with Client(port) as client:
                big = b"Content-Length: 99999999\r\nAuthorization: Bearer good\r\n"
                client.send(b"POST /hot HTTP/1.1\r\nHost: a\r\n" + expect + big + b"\r\n")
                assert (await client.answer())[0] == 413
        assert len(echo.runs) == 1 and len(echo.gones) == 1

    run(main)


def test_an_early_answer_reads_a_small_body_away_and_closes_over_a_big_one(run):
    async def main():
        echo = Echo()
        echo.head = lambda request: request.answer(401, TEXT, b"no")
        async with served({b"/hot": echo}, edge=EDGE._replace(body_max=1 << 30)) as (_server, port):
            async with Client(port) as client:
                for _ in range(2):
                    data = ask(body=b"x" * 60_000)
                    client.send(data[:200])
                    assert (await client.answer())[0] == 401
                    client.send(data[200:])
            async with Client(port) as client:
                client.send(ask(body=b"x" * 10_000_000))
                status, headers, body = await client.answer()
                assert (status, headers["connection"], body) == (401, "close", b"no")
            async with Client(port) as client:
                client.send(b"POST /hot HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n")
                assert (await client.answer())[1]["connection"] == "close"
        assert not echo.runs and not echo.gones

    run(main)


def test_bodies_over_the_limit(run):
    async def main():
        echo = Echo()
        chunked = b"POST /hot HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n%b\r\n" % (b"x" * 1024)
        async with served({b"/hot": echo, b"/big": echo}, edge=EDGE._replace(body_max=2000),
                          body_max_by_path={b"/big": 5000}) as (_server, port):
            for data in (ask(body=b"x" * 2001), chunked + b"400\r\n" + b"x" * 1024, ask(b"/big", b"x" * 5001),
                         b"POST /hot HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n"):
                async with Client(port) as client:
                    client.send(data)
                    status, _headers, body = await client.answer()
                    assert status == 413 and json.loads(body)["error"]["code"] == "body_too_large"
            assert not echo.runs and echo.gones == echo.heads
            async with Client(port) as client:
                for data in (ask(body=b"x" * 2000), ask(b"/big", b"x" * 5000), chunked + b"0\r\n\r\n"):
                    client.send(data)
                    assert (await client.answer())[0] == 200
                accept = echo.head
                echo.head = lambda request: (accept(request), setattr(request, "limit", 9000))[0]
                client.send(ask(body=b"x" * 9000))
                assert (await client.answer())[0] == 200

    run(main)


def test_a_handler_s_faults_are_ours_and_say_nothing(run, caplog):
    async def main():
        class Faulty(Hold):
            def run(self, request):
                super().run(request)
                if request.query == b"refuse":
                    raise refuse("rate_limit", "Slow down.", code="rpm", retry_after_s=7)
                if request.query == b"stream":
                    request.start(200, TEXT)
                raise KeyError("a secret")

        faulty = Faulty()
        async with served({b"/hot": faulty}) as (_server, port), Client(port) as client:
            client.send(ask(b"/hot?refuse"))
            status, headers, body = await client.answer()
            assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (429, "7", "rpm")
            assert headers["x-request-id"] and not faulty.gones
            client.send(ask(b"/hot?x") + ask(b"/hot?stream"))
            status, headers, body = await client.answer()
            assert status == 500 and b"secret" not in body and json.loads(body)["error"]["type"] == "internal_error"
            assert not (await client.ended()).endswith(b"0\r\n\r\n")
            assert faulty.gones == faulty.runs[1:]
        assert sum(record.exc_info is not None for record in caplog.records) == 2

    run(main)


def test_broken_bytes_are_answered_after_what_came_before_them(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold}) as (_server, port), Client(port) as client:
            client.send(ask() + b"GARBAGE\r\n\r\n")
            await until(lambda: hold.runs)
            hold.runs[0].answer(200, TEXT, b"first")
            assert (await client.answer())[2] == b"first"
            status, headers, _body = await client.answer()
            assert (status, headers["connection"]) == (400, "close")
            assert await client.ended() == b"" and not hold.gones

    run(main)


def test_a_body_that_breaks_tells_the_handler(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold}) as (server, port), Client(port) as client:
            client.send(b"POST /hot HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            await until(lambda: hold.heads)
            client.send(b"zz\r\n")
            assert (await client.answer())[0] == 400
            assert hold.gones == hold.heads and not hold.runs and server.in_flight == 0

    run(main)


def test_head_may_pass_a_request_on_to_the_application(run):
    async def main():
        echo = Echo()
        echo.head = lambda request: None if request.method == b"POST" else False
        async with served({b"/hot": echo}) as (_server, port), Client(port) as client:
            client.send(ask(method=b"GET") + ask())
            status, _, body = await client.answer()
            assert status == 404 and json.loads(body)["error"]["code"] == "unknown_route"
            assert (await client.answer())[0] == 200

    run(main)


def test_slow_clients_are_dropped_by_the_sweep(run):
    async def main():
        hold = Hold()
        edge = Edge(idle_s=0.1, head_s=0.1, body_s=0.1, stall_s=0.1)
        async with served({b"/hot": hold, b"/echo": Echo()}, edge=edge) as (server, port):
            async with Client(port) as idle, Client(port) as head, Client(port) as body, Client(port) as busy:
                idle.send(ask(b"/echo"))
                await idle.answer()
                head.send(b"POST /hot HTTP/1.1\r\nHost: a\r\n")
                body.send(ask(body=b"abc")[:-1])
                busy.send(ask(body=b"abc"))
                assert await idle.ended() == b"" and await head.ended() in (b"", b"reset")
                assert await body.ended() in (b"", b"reset")
                assert len(hold.gones) == 1 and not hold.gones[0].complete
                assert not hold.runs[0].over  # a request in service has all the time that its handler takes
                hold.runs[0].answer(200, TEXT, b"")
                assert (await busy.answer())[0] == 200
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(ask())
            await until(lambda: len(hold.runs) == 2)
            hold.runs[1].answer(200, TEXT, b"x" * (64 << 20))
            await until(lambda: server.counts()["connections"] == 0)  # it took nothing for stall_s
            sock.close()

    run(main)


def test_connections_are_capped(run):
    async def main():
        async with served(edge=EDGE._replace(connections_per_ip=1)) as (server, port):
            async with Client(port) as first:
                first.send(ask())
                await first.answer()
                async with Client(port) as second:
                    status, _headers, body = await second.answer()
                    assert status == 429 and json.loads(body)["error"]["code"] == "too_many_connections"
                    assert await second.ended() == b""
            await until(lambda: server.counts()["connections"] == 0)
            async with Client(port) as third:
                third.send(ask())
                assert (await third.answer())[0] == 200
        async with served(edge=EDGE._replace(connections_max=0)) as (server, port), Client(port) as client:
            assert (await client.answer())[0] == 429

    run(main)


def test_draining_finishes_what_is_in_flight_and_takes_no_more(run):
    async def main():
        hold = Hold()
        async with served({b"/hot": hold, b"/echo": Echo()}) as (server, port):
            async with Client(port) as busy, Client(port) as idle:
                idle.send(ask(b"/echo"))
                await idle.answer()
                busy.send(ask() + ask(b"/echo"))
                await until(lambda: hold.runs)
                assert await server.drain(0.05) == 1
                assert await idle.ended() == b""
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", port)
                drained = asyncio.create_task(server.drain(10))
                await asyncio.sleep(0)
                big = b"x" * (8 << 20)
                hold.runs[0].answer(200, TEXT, big)
                _status, headers, body = await busy.answer()
                assert headers["connection"] == "close" and body == big
                assert await busy.ended() == b""
                assert await drained == 0 and server.in_flight == 0

    run(main)
