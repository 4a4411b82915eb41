"""What the commands that read or change the books share: the store that conf names, opened and closed again."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from smartoken.conf import Conf, load
from smartoken.engine.auth import check_pepper
from smartoken.engine.changes import Catalog, Conflict
from smartoken.engine.seal import Sealer, open_pepper, open_ring
from smartoken.errors import ConfigError, StoreAway
from smartoken.ports import Store
from smartoken.strict import nearest

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Books:
    """Conf, its store (open), and the catalog's writer on it."""

    conf: Conf
    store: Store
    catalog: Catalog
    sealer: Sealer

    async def pepper(self) -> bytes:
        """The pepper of this data folder; ConfigError when the store's keys were made under another."""
        pepper = open_pepper(self.conf.data_folder, self.conf.secrets.pepper)
        await check_pepper(self.store, pepper)
        return pepper


def with_books(work: Callable[[Books], Awaitable[Result]]) -> Result:
    """Run one command's work on the books. A race with another writer becomes a ConfigError that says so."""
    async def run() -> Result:
        async with opened(load()) as books:
            return await work(books)
    try:
        return asyncio.run(run())
    except Conflict as error:
        raise ConfigError(f"{error}; nothing else was written after that, so run the command again") from None


@contextmanager
def once(op: str) -> Iterator[None]:
    """Around work under an op that we may have thought up: should nobody know what became of it, or what it gave have
    come to nothing, its user is told it."""
    remedy = f"give the same command again with --op {op}: what was done already is not done twice"
    try:
        yield
    except StoreAway as away:
        raise ConfigError(f"{away.sentence()}. Then {remedy}") from None
    except (KeyboardInterrupt, OSError) as error:
        raise ConfigError(f"{'broken off' if isinstance(error, KeyboardInterrupt) else error}; {remedy}") from None


@asynccontextmanager
async def opened(conf: Conf) -> AsyncIterator[Books]:
    """The books that a configuration names."""
    store = open_store(conf)
    await store.open()
    try:
        sealer = open_ring(conf.data_folder, conf.secrets.key_ring)
        yield Books(conf, store, Catalog(store, sealer, node="cli"), sealer)
    finally:
        await store.close()


async def known_models(books: Books, slugs: Iterable[str]) -> list[str]:
    """The slugs, each of a model in the catalog; ConfigError names the first that is not."""
    there = {doc["_id"] for doc in await books.catalog.all("models")}
    for slug in slugs:
        if slug not in there:
            raise ConfigError(f"--model: there is no model '{slug}'{nearest(slug, there)}")
    return list(slugs)


def open_store(conf: Conf) -> Store:
    """The store of `store.url`, not opened yet; plugins are only loaded for a scheme that is not built in."""
    from smartoken.plugin import builtin, loader

    scheme = conf.store.url.partition("://")[0]
    factory = builtin.smartoken_adapters()["store"].get(scheme)
    if factory:
        return factory(conf.store.url)
    return loader.load(conf).registry.adapter("store", conf.store.url, conf.file)


def show_json(value: Any) -> None:
    """One JSON document on stdout, for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on stdout; what people named things is shown as it is, brackets too."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*titles)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def date(ms: int) -> str:
    """Milliseconds since 1970 as a date in UTC, for people; '' for 0."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if ms else ""
