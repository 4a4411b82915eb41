"""The pool: which connection a request goes on, how long it is kept, and what happens when it is dead."""

import asyncio
import gc
import socket
import ssl
import warnings

import pytest
import uvloop
from upstream_kit import HEAD, OK, Heard, always, ask, once, pool_and, read_request, until

from smartoken.upstream.origin import Limits, Origin
from smartoken.upstream.pool import Pool


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on each kind of loop; a warning about something left open is a failure."""

    def runner(main):
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            with asyncio.Runner(loop_factory=factory) as loop:
                loop.run(main())
            gc.collect()

    return runner


def test_a_connection_is_used_again_and_the_last_one_first(run):
    async def main():
        async with pool_and(always(OK)) as (pool, upstream):
            first, exchange = await ask(pool, upstream)
            assert first.events == [("head", 200, [(b"content-length", b"2")]), ("data", b"hi"), ("end",)]
            assert (exchange.reused, exchange.sent, exchange.answered, exchange.framed) == (False, True, True, True)
            _, exchange = await ask(pool, upstream)
            assert exchange.reused and upstream.count == 1
            both = [Heard(), Heard()]
            for heard in both:
                pool.send(upstream.origin, HEAD, b"{}", heard, Limits())
            await asyncio.gather(*(heard.wait() for heard in both))
            assert upstream.count == 2 and pool.counts()["idle"] == 2
            assert upstream.requests[0] == (HEAD + b"2\r\n\r\n", b"{}")

    run(main)


def test_a_dead_pooled_connection_is_tried_once_more_on_a_new_one(run):
    async def main():
        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(OK)
            if number == 0:
                # The second request is swallowed and the connection dies with no byte of an answer.
                await read_request(upstream, reader)

        async with pool_and(script) as (pool, upstream):
            await ask(pool, upstream)
            heard, exchange = await ask(pool, upstream)
            assert heard.last == "end" and upstream.count == 2 and not exchange.reused
            assert len(upstream.requests) == 3

    run(main)


def test_only_once_and_never_for_a_fresh_one(run):
    async def main():
        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            if number == 0:
                writer.write(OK)
                await read_request(upstream, reader)

        async with pool_and(script) as (pool, upstream):
            await ask(pool, upstream)
            heard, exchange = await ask(pool, upstream)
            assert heard.last == ("fail", "reset") and upstream.count == 2
            assert exchange.sent and not exchange.answered
        async with pool_and(always(OK)) as (pool, upstream):
            for _ in range(2):
                heard, exchange = await ask(pool, upstream, limits=Limits(fresh=True))
                assert heard.last == "end" and not exchange.reused
            assert upstream.count == 2

    run(main)


def test_a_connection_that_answered_a_little_is_not_tried_again(run):
    async def main():
        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(OK)
            await read_request(upstream, reader)
            writer.write(b"HTTP/1.1 2")

        async with pool_and(script) as (pool, upstream):
            await ask(pool, upstream)
            heard, exchange = await ask(pool, upstream)
            assert heard.last == ("fail", "reset") and exchange.answered and upstream.count == 1

    run(main)


def test_bytes_on_an_idle_connection_close_it(run):
    async def main():
        told = asyncio.Event()

        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(OK)
            await writer.drain()
            await told.wait()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            assert await reader.read() == b""

        async with pool_and(script) as (pool, upstream):
            await ask(pool, upstream)
            assert pool.counts()["idle"] == 1
            told.set()
            await until(lambda: not pool.counts()["open"])
            assert pool.counts()["idle"] == 0

    run(main)


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    OK + OK,
    OK + b"garbage",
    b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nhi",
])
def test_answers_after_which_a_connection_is_not_kept(run, answer):
    async def main():
        async with pool_and(once(answer)) as (pool, upstream):
            heard, _ = await ask(pool, upstream)
            assert heard.last == "end" and heard.body == b"hi"
            assert pool.counts()["idle"] == 0

    run(main)


def test_idle_connections_expire_and_their_number_is_bounded(run):
    async def main():
        async with pool_and(always(OK), idle_s=0.1, idle_max=1, tick_s=0.02) as (pool, upstream):
            both = [Heard(), Heard()]
            for heard in both:
                pool.send(upstream.origin, HEAD, b"{}", heard, Limits())
            await asyncio.gather(*(heard.wait() for heard in both))
            assert pool.counts()["idle"] == 1
            await until(lambda: not pool.counts()["open"])
            heard, exchange = await ask(pool, upstream)
            assert heard.last == "end" and not exchange.reused

    run(main)


def test_abort_closes_the_connection_and_nothing_more_is_heard(run):
    async def main():
        seen_eof = asyncio.Event()

        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            await reader.read()
            seen_eof.set()

        async with pool_and(script) as (pool, upstream):
            heard = Heard()
            exchange = pool.send(upstream.origin, HEAD, b"{}", heard, Limits())
            heard.hook = lambda name: exchange.abort() if name == "data" else None
            await asyncio.wait_for(seen_eof.wait(), 5)
            assert [event[0] for event in heard.events] == ["head", "data"] and exchange.over
            exchange.abort()

    run(main)


def test_abort_while_dialing_leaves_a_warm_connection(run):
    async def main():
        async with pool_and(always(OK)) as (pool, upstream):
            heard = Heard()
            pool.send(upstream.origin, HEAD, b"{}", heard, Limits()).abort()
            await until(lambda: pool.counts()["idle"])
            assert heard.events == [] and upstream.requests == []
            _, exchange = await ask(pool, upstream)
            assert exchange.reused

    run(main)


@pytest.mark.parametrize(("limits", "kind"), [
    (Limits(first_byte_s=0.1), "first_byte_timeout"), (Limits(total_s=0.1), "total_timeout")])
def test_a_silent_upstream_is_given_up(run, limits, kind):
    async def main():
        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            await reader.read()

        async with pool_and(script, tick_s=0.02) as (pool, upstream):
            heard, exchange = await ask(pool, upstream, limits=limits)
            assert heard.last == ("fail", kind) and exchange.sent and not exchange.answered

    run(main)


def test_a_stream_that_stalls_is_given_up_unless_we_paused_it(run):
    async def main():
        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            await reader.read()

        async with pool_and(script, tick_s=0.02) as (pool, upstream):
            heard, _ = await ask(pool, upstream, limits=Limits(idle_s=0.1))
            assert heard.last == ("fail", "idle_timeout") and heard.body == b"a"
            heard = Heard()
            exchange = pool.send(upstream.origin, HEAD, b"{}", heard, Limits(idle_s=0.1, total_s=0.5))
            heard.hook = lambda name: exchange.pause() if name == "data" else None
            assert (await heard.wait())[-1][1] == "total_timeout"

    run(main)


def test_failures_of_dialing_have_their_kinds(run):
    async def main():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
            closed_port = taken.getsockname()[1]
            pool = Pool()
            try:
                for url, kind in ((f"http://127.0.0.1:{closed_port}", "connect"), ("http://no-such.invalid", "dns"),
                                  ("http://169.254.169.254", "connect"), ("http://100.100.100.200", "connect")):
                    heard = Heard()
                    exchange = pool.send(Origin.of(url), HEAD, b"", heard, Limits())
                    await heard.wait()
                    assert heard.last == ("fail", kind), heard.events
                    assert not exchange.sent
            finally:
                await pool.close()

    run(main)


def test_an_upstream_without_a_good_certificate_is_a_tls_failure(run, tmp_path):
    async def main():
        cert, key = self_signed(tmp_path)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(cert, key)

        async def serve(reader, writer):
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)
                await reader.read()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
        port = server.sockets[0].getsockname()[1]
        pool = Pool()
        try:
            trusted = ssl.create_default_context(cafile=cert)
            trusted.check_hostname = False
            for tls, last in ((True, ("fail", "tls")), (trusted, "end"), (False, "end")):
                heard = Heard()
                pool.send(Origin("https", "127.0.0.1", port, None, tls), HEAD, b"", heard, Limits())
                await heard.wait()
                assert heard.last == last, heard.events
            assert pool.counts()["idle"] == 2  # one per origin, and TLS settings are part of it
        finally:
            await pool.close()
            server.close()
            await server.wait_closed()

    run(main)


def self_signed(folder):
    """A certificate for 127.0.0.1, as two files."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "upstream.test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_a_plain_http_origin_through_a_proxy(run):
    async def main():
        async with pool_and(always(OK)) as (pool, proxy):
            heard = Heard()
            origin = Origin.of("http://upstream.test:8080", proxy=f"http://joe:pw@127.0.0.1:{proxy.origin.port}")
            pool.send(origin, HEAD, b"{}", heard, Limits())
            await heard.wait()
            assert heard.last == "end"
            head = proxy.requests[0][0]
            assert head.startswith(b"POST http://upstream.test:8080/v1/x HTTP/1.1\r\n")
            assert b"\r\nProxy-Authorization: Basic am9lOnB3\r\n" in head

    run(main)


def test_closing_the_pool_fails_what_is_under_way(run):
    async def main():
        async def script(upstream, number, reader, writer):
            await read_request(upstream, reader)
            await reader.read()

        async with pool_and(script) as (pool, upstream):
            on_line, dialing = Heard(), Heard()
            pool.send(upstream.origin, HEAD, b"{}", on_line, Limits())
            await until(lambda: upstream.requests)
            pool.send(upstream.origin, HEAD, b"{}", dialing, Limits())
            await pool.close()
            assert on_line.last == dialing.last == ("fail", "reset")
            with pytest.raises(RuntimeError):
                pool.send(upstream.origin, HEAD, b"{}", Heard(), Limits())

    run(main)
