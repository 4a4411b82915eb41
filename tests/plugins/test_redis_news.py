"""A change that one process finds in the store is known to the others at once, by Redis; without it, by polling."""

import asyncio
from types import SimpleNamespace
from urllib.parse import urlsplit

from smartoken_plugins import redis as plugin
from smartoken_plugins.redis.news import CatalogNews

from smartoken.engine.snapshot import SnapshotKeeper
from smartoken.testing.proxy import FaultProxy
from tests.engine.catalog_kit import GIFTS, channel, kit, model, until

NEVER_S = 3600             # a poll that no test lives to see


def keeper(it, folder, poll_s):
    return SnapshotKeeper(it.store, GIFTS, it.sealer, folder, poll_s=poll_s)


def test_a_hint_brings_the_change(tmp_path, redis_url):
    async def main():
        async with kit(tmp_path) as it:
            finder, deaf = keeper(it, tmp_path / "1", 0.02), keeper(it, tmp_path / "2", NEVER_S)
            news = [CatalogNews(redis_url, one) for one in (finder, deaf)]
            for one in (finder, deaf):
                await one.open()
            for one in news:
                one.open()
            await until(lambda: all(one.listening for one in news), "the subscription")
            await it.catalog.put("channels", channel())
            await it.catalog.put("models", model("acme/new"))
            await until(lambda: "acme/new" in deaf.current.models, "the hint")
            assert news[0].told >= 1 and news[1].heard >= 1
            for one in (*news, finder, deaf):
                await one.close()

    asyncio.run(main())


def test_redis_comes_and_goes(tmp_path, redis_url):
    async def main():
        parts = urlsplit(redis_url)
        proxy = FaultProxy(parts.hostname, parts.port, mode="refuse")
        await proxy.start()
        async with kit(tmp_path) as it:
            polling, deaf = keeper(it, tmp_path / "1", 0.02), keeper(it, tmp_path / "2", NEVER_S)
            gateways = [SimpleNamespace(snapshots=one, conf=SimpleNamespace(limiter=SimpleNamespace(
                url=f"redis://127.0.0.1:{proxy.port}/0?{parts.query}"))) for one in (polling, deaf)]
            for one, gateway in zip((polling, deaf), gateways, strict=True):
                await one.open()
                await plugin.smartoken_open(gateway)
            await it.catalog.put("channels", channel())
            await it.catalog.put("models", model("acme/one"))
            await until(lambda: "acme/one" in polling.current.models, "the poll")
            assert "acme/one" not in deaf.current.models
            proxy.mode = "pass"
            await until(lambda: "acme/one" in deaf.current.models, "the question asked after each subscription")
            for one, gateway in zip((polling, deaf), gateways, strict=True):
                await plugin.smartoken_close(gateway)
                await one.close()
        await proxy.stop()

    asyncio.run(main())
