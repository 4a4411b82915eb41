"""GET /v1/models over real sockets: what the public sees, and revalidation."""

import asyncio
import json
from types import SimpleNamespace

import pytest
import tornado.httpclient
import tornado.httpserver
import tornado.netutil
from tornado.web import Application

from smartoken.domain.documents import ModelDoc, to_store
from smartoken.engine.compile import Gifts, compile_snapshot
from smartoken.engine.seal import Sealer
from smartoken.secrets import resolve
from smartoken.strict import decode
from smartoken.web.handlers import models


def snapshot(*docs):
    stored = [to_store(decode(ModelDoc, {"pricing": {"input_per_mtok": 1, "output_per_mtok": 2}, **doc}, "test"))
              for doc in docs]
    return compile_snapshot({"models": stored, "channels": []}, Gifts({}), Sealer({"k": b"k" * 32}), resolve)[0]


def served(work):
    """Run `work(gateway, get)` against the handlers on a free port; get(path, **headers) -> response."""
    async def main():
        gateway = SimpleNamespace(snapshots=SimpleNamespace(current=snapshot(
            {"slug": "acme/chat"}, {"slug": "acme/hidden", "public": False}, {"slug": "plain-1.5"})))
        server = tornado.httpserver.HTTPServer(Application(models.routes(gateway)))
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        port = sockets[0].getsockname()[1]
        client = tornado.httpclient.AsyncHTTPClient(force_instance=True)

        async def get(path, method="GET", **headers):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.fetch(f"http://127.0.0.1:{port}{path}", method=method, headers=headers,
                                      raise_error=False)

        try:
            await work(gateway, get)
        finally:
            client.close()
            server.stop()
            await server.close_all_connections()

    asyncio.run(main())


def test_the_list_and_its_revalidation():
    async def work(gateway, get):
        answer = await get("/v1/models")
        assert answer.code == 200 and answer.headers["Content-Type"] == "application/json"
        listed = json.loads(answer.body)
        assert [one["id"] for one in listed["data"]] == ["acme/chat", "plain-1.5"]
        etag = answer.headers["ETag"]
        again = await get("/v1/models", If_None_Match=etag)
        assert again.code == 304 and not again.body and again.headers["ETag"] == etag
        assert (await get("/v1/models", If_None_Match=f'W/{etag}, "x"')).code == 304
        head = await get("/v1/models", method="HEAD")
        assert head.code == 200 and head.headers["Content-Length"] == str(len(answer.body)) and not head.body
        gateway.snapshots.current = snapshot({"slug": "acme/chat", "context_length": 9})
        assert (await get("/v1/models", If_None_Match=etag)).code == 200

    served(work)


@pytest.mark.parametrize("path", ["/v1/models/acme/chat", "/v1/models/acme%2Fchat"])
def test_one_model(path):
    async def work(gateway, get):
        answer = await get(path)
        assert json.loads(answer.body)["id"] == "acme/chat"
        assert (await get(path, If_None_Match=answer.headers["ETag"])).code == 304

    served(work)


@pytest.mark.parametrize("slug", ["acme/hidden", "acme/nothing", "acme", "%00", "..%2F..%2Fetc", "%ff"])
def test_no_such_model(slug):
    async def work(gateway, get):
        answer = await get(f"/v1/models/{slug}")
        assert answer.code == (400 if slug == "%ff" else 404)
        error = json.loads(answer.body)["error"]
        assert error["type"] == ("invalid_request_error" if slug == "%ff" else "not_found_error")
        assert answer.headers["X-Request-Id"]

    served(work)
