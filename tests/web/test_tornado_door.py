"""Ordinary Tornado handlers behind our connection: bodies, files, flow control, faults."""

import asyncio
import io
import json
import logging
import socket

import aiohttp
import pytest
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, StaticFileHandler, stream_request_body
from web_kit import EDGE, Client, ask, served, until

from smartoken.errors import refuse
from smartoken.web.app import ApiHandler

seen: list = []


class Whole(ApiHandler):
    def post(self):
        self.send({"size": len(self.request.body), "ip": self.request.remote_ip, "q": self.get_query_argument("q", "")})

    def get(self):
        self.add_header("Set-Cookie", "a=1")
        self.add_header("Set-Cookie", "b=2")
        self.finish(b"plain")


@stream_request_body
class Pieces(ApiHandler):
    async def prepare(self):
        await asyncio.sleep(0.01)
        if self.request.headers.get("Authorization") != "Bearer good":
            raise refuse("authentication", "No.")
        self.request.connection.set_max_body_size(64 << 20)
        self.size = 0

    async def data_received(self, chunk):
        await asyncio.sleep(0)
        self.size += len(chunk)

    def post(self):
        self.send({"size": self.size})

    def on_connection_close(self):
        super().on_connection_close()
        seen.append("closed in the body")


class Streams(ApiHandler):
    async def get(self):
        for number in range(3):
            self.write(b"%d;" % number)
            await self.flush()


class Endless(ApiHandler):
    async def get(self):
        try:
            while True:
                self.write(b"~" * 65536)
                await self.flush()
                seen.append(65536)
        except StreamClosedError:
            seen.append("closed")
            raise

    def on_connection_close(self):
        seen.append("told")


class Faults(ApiHandler):
    async def get(self, how):
        if how == "raise":
            raise KeyError("a secret")
        if how == "refuse":
            raise refuse("rate_limit", "Slow.", retry_after_s=3)
        if how == "argument":
            self.get_argument("missing")
        self.set_header("Content-Length", "10")
        self.write(b"123" if how == "short" else b"12345678901")
        await self.flush()
        self.finish()


class Cuts(RequestHandler):
    async def get(self):
        self.write(b"half")
        await self.flush()
        self.request.connection.close()


def routes(folder):
    return [(r"/whole", Whole), (r"/pieces", Pieces), (r"/streams", Streams), (r"/endless", Endless),
            (r"/faults/(\w+)", Faults), (r"/cuts", Cuts), (r"/files/(.*)", StaticFileHandler, {"path": str(folder)})]


@pytest.fixture
def folder(tmp_path):
    seen.clear()
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 1000)
    return tmp_path


def test_an_independent_client_finds_nothing_odd(folder):
    async def main():
        async with served(routes=routes(folder), edge=EDGE._replace(body_max=3 << 20)) as (_, port):
            base = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession() as session:
                for body in (b"", b"x" * 1000, b"x" * (3 << 20)):
                    async with session.post(base + "/whole?q=%C3%A9", data=io.BytesIO(body)) as answer:
                        assert await answer.json() == {"size": len(body), "ip": "127.0.0.1", "q": "é"}
                async with session.get(base + "/whole") as answer:
                    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"] and await answer.read() == b"plain"
                    assert "Server" not in answer.headers and "Etag" not in answer.headers
                async with session.get(base + "/streams") as answer:
                    assert await answer.read() == b"0;1;2;" and answer.headers["Transfer-Encoding"] == "chunked"
                async with session.head(base + "/whole") as answer:
                    assert answer.status == 200 and answer.headers["Content-Length"] == "5"
                async with session.options(base + "/whole") as answer:
                    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD, POST"
                whole = (folder / "a.txt").read_bytes()
                async with session.get(base + "/files/a.txt") as answer:
                    assert await answer.read() == whole and answer.headers["X-Request-Id"]
                    etag = answer.headers["Etag"]
                async with session.get(base + "/files/a.txt", headers={"Range": "bytes=10-19"}) as answer:
                    assert answer.status == 206 and await answer.read() == whole[10:20]
                async with session.get(base + "/files/a.txt", headers={"If-None-Match": etag}) as answer:
                    assert answer.status == 304 and await answer.read() == b""
                headers = {"Authorization": "Bearer good"}
                big = io.BytesIO(b"x" * (20 << 20))
                async with session.post(base + "/pieces", data=big, headers=headers) as answer:
                    assert await answer.json() == {"size": 20 << 20}

    asyncio.run(main())


def test_a_streamed_body_waits_for_prepare_and_is_refused_before_it_is_read(folder):
    async def main():
        async with served(routes=routes(folder)) as (_, port):
            async with Client(port) as client:
                client.send(ask(b"/pieces", b"x" * 10_000_000))
                status, headers, body = await client.answer()
                assert (status, headers["connection"]) == (401, "close")
                assert json.loads(body)["error"]["type"] == "authentication_error"
            async with Client(port) as client:
                head = ask(b"/pieces", b"abc", extra=b"Expect: 100-continue\r\nAuthorization: Bearer good\r\n")[:-3]
                client.send(head)
                assert (await client.answer())[0] == 100
                client.send(b"abc" + head)
                assert json.loads((await client.answer())[2]) == {"size": 3}
                assert (await client.answer())[0] == 100
                client.send(b"ab")
                await asyncio.sleep(0.02)
            await until(lambda: seen == ["closed in the body"])

    asyncio.run(main())


def test_a_body_over_the_limit_is_json_413(folder):
    async def main():
        async with served(routes=routes(folder)) as (_, port):
            chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            for data in (ask(b"/whole", b"x" * ((1 << 20) + 1)),
                         b"POST /whole HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 17):
                async with Client(port) as client:
                    client.send(data)
                    status, _, body = await client.answer()
                    assert status == 413 and json.loads(body)["error"]["code"] == "body_too_large"

    asyncio.run(main())


def test_flush_waits_for_a_slow_client_and_a_departure_is_told(folder):
    async def main():
        async with served(routes=routes(folder)) as (server, port):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            before = -1
            while before != len(seen) or not seen:
                before = len(seen)
                await asyncio.sleep(0.1)
            assert sum(seen) < 64 << 20 and server.in_flight == 1
            sock.close()
            await until(lambda: "closed" in seen)
            assert seen.count("told") == 1 and server.in_flight == 0

    asyncio.run(main())


def test_faults_are_json_without_a_word_of_the_cause(folder, caplog):
    async def main():
        async with served(routes=routes(folder)) as (_, port), Client(port) as client:
            for how, status, kind in (("raise", 500, "internal_error"), ("refuse", 429, "rate_limit_error"),
                                      ("argument", 400, "invalid_request_error")):
                client.send(b"GET /faults/%b HTTP/1.1\r\nHost: a\r\n\r\n" % how.encode())
                got, headers, body = await client.answer()
                assert got == status and json.loads(body)["error"]["type"] == kind and b"secret" not in body
                assert headers["x-request-id"]
            assert headers.get("retry-after") is None
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    asyncio.run(main())


@pytest.mark.parametrize("how", ["faults/short", "faults/long", "cuts"])
def test_a_body_of_another_length_than_told_is_a_broken_transfer(folder, how):
    async def main():
        async with served(routes=routes(folder)) as (server, port), Client(port) as client:
            client.send(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % how.encode())
            got = await client.ended()
            assert not got.endswith(b"0\r\n\r\n") and len(got.rpartition(b"\r\n\r\n")[2]) < 10
            assert server.in_flight == 0

    asyncio.run(main())


def test_hosts_that_tornado_refuses_are_json_too(folder):
    async def main():
        async with served(routes=routes(folder)) as (_, port), Client(port) as client:
            client.send(b"GET /whole HTTP/1.1\r\nHost: a,b\r\n\r\n")
            status, _, body = await client.answer()
            assert status == 400 and json.loads(body)["error"]["type"] == "invalid_request_error"

    asyncio.run(main())


def test_requests_of_both_kinds_share_a_connection_in_order(folder):
    async def main():
        async with served(routes=routes(folder)) as (_, port), Client(port) as client:
            client.send((ask(b"/hot", b"1") + b"GET /streams HTTP/1.1\r\nHost: a\r\n\r\n" + ask(b"/whole", b"22")) * 5)
            for _ in range(5):
                assert (await client.answer())[2] == b"POST /hot 1"
                assert (await client.answer())[2] == b"0;1;2;"
                assert json.loads((await client.answer())[2])["size"] == 2

    asyncio.run(main())


def test_http_1_0_gets_no_chunks(folder):
    async def main():
        async with served(routes=routes(folder)) as (_, port):
            async with Client(port) as client:
                client.send(b"GET /streams HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                status, headers, body = await client.answer()
                assert body == b"0;1;2;" and headers["connection"] == "close" and "transfer-encoding" not in headers
            async with Client(port) as client:
                client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
                status, headers, body = await client.answer()
                assert (status, headers["content-length"], body) == (200, "15", b'{"status":"ok"}')

    asyncio.run(main())
