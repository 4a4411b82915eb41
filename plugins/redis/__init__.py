"""Limits over many processes by Redis, `redis://` and `rediss://`, and quicker news of the catalog. See README.md."""

from collections.abc import Callable
from typing import Any

from smartoken.plugin import hookimpl

_news: dict[int, Any] = {}             # id(gateway) -> its CatalogNews


@hookimpl
def smartoken_adapters() -> dict[str, dict[str, Callable[[str], Any]]]:
    return {"limiter": {"redis": _open, "rediss": _open}}


def _open(url: str) -> Any:
    # Here and not above: who limits in memory does not wait for a driver to be imported.
    from smartoken_plugins.redis.limiter import open_redis

    return open_redis(url)


@hookimpl
async def smartoken_open(gateway: Any) -> None:
    if gateway.conf.limiter.url.partition("://")[0] in ("redis", "rediss"):
        from smartoken_plugins.redis.news import CatalogNews

        news = _news[id(gateway)] = CatalogNews(gateway.conf.limiter.url, gateway.snapshots)
        news.open()


@hookimpl
async def smartoken_close(gateway: Any) -> None:
    news = _news.pop(id(gateway), None)
    if news is not None:
        await news.close()
