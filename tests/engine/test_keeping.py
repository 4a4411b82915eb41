"""Which links are followed: a channel's own host, or public ones by https; nothing inside, not even by a redirect."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import ClientError, web

from smartoken.engine.keeping import LinkDead, Sessions, _fetch
from smartoken.testing.picture import png
from smartoken.upstream.guard import Blocked


@asynccontextmanager
async def served(routes):
    app = web.Application()
    for path, answer in routes.items():
        app.router.add_get(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def to(where):
    async def answer(request):
        raise web.HTTPFound(where() if callable(where) else where)
    return answer


async def picture(request):
    return web.Response(body=png(8, 8), content_type="application/octet-stream")


def status(code):
    async def answer(request):
        return web.Response(status=code)
    return answer


async def fetched(link, base_url):
    sessions = Sessions()
    try:
        return b"".join([piece async for piece in _fetch(sessions, link, SimpleNamespace(base_url=base_url))])
    finally:
        await sessions.close()


def test_a_link_on_the_channels_own_host_is_followed():
    async def main():
        async with served({"/p": picture, "/r": to("/p")}) as url:
            assert await fetched(f"{url}/p", f"{url}/v1") == png(8, 8)
            assert await fetched(f"{url}/r", f"{url}/v1") == png(8, 8)
    asyncio.run(main())


@pytest.mark.parametrize("link", [
    "http://127.0.0.1:1/x", "https://127.0.0.1/x", "https://169.254.169.254/latest/meta-data", "https://[::1]/x",
    "https://localhost/x", "file:///etc/passwd", "ftp://example.com/x", "https://user:pass@example.com/x",
    "http://100.100.100.200/latest/meta-data/ram/security-credentials/", "https://0x7f000001/x"])
def test_nothing_inside_is_followed(link):
    with pytest.raises(Blocked):
        asyncio.run(fetched(link, "https://api.example.com/v1"))


@pytest.mark.parametrize("where", ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:1/x",
                                   "https://10.0.0.1/x"])
def test_not_even_by_a_redirect_from_the_channels_own_host(where):
    async def main():
        async with served({"/r": to(where)}) as url:
            with pytest.raises(Blocked):
                await fetched(f"{url}/r", f"{url}/v1")
    asyncio.run(main())


def test_another_port_of_the_same_host_is_another_place():
    async def main():
        async with served({"/p": picture}) as inside, served({"/p": picture}) as url:
            with pytest.raises(Blocked):
                await fetched(f"{inside}/p", f"{url}/v1")
    asyncio.run(main())


@pytest.mark.parametrize(("code", "error"), [(403, LinkDead), (404, LinkDead), (410, LinkDead), (500, ClientError),
                                             (429, ClientError)])
def test_what_an_answer_means(code, error):
    async def main():
        async with served({"/x": status(code)}) as url:
            with pytest.raises(error):
                await fetched(f"{url}/x", f"{url}/v1")
    asyncio.run(main())


def test_links_that_lead_in_a_circle_end():
    async def main():
        async with served({"/a": to("/b"), "/b": to("/a")}) as url:
            with pytest.raises(LinkDead):
                await fetched(f"{url}/a", f"{url}/v1")
    asyncio.run(main())
