"""Real parts for the catalog's tests: a SQLite file, a sealer, a catalog, and a store that fails on demand."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from smartoken.adapters.sqlite import open_sqlite
from smartoken.domain.documents import ChannelDoc, ModelDoc
from smartoken.engine.changes import Catalog
from smartoken.engine.compile import Gifts
from smartoken.engine.seal import Sealer, open_ring
from smartoken.errors import StoreAway
from smartoken.plugin.types import Bridge, Provider
from smartoken.strict import decode

DEADLINE_S = 20            # a test that waits gives up then; what it waits for comes within 3 s


class Unsteady:
    """A store that really does what it is asked, and then loses the reply, or does not answer at all."""

    def __init__(self, store):
        self._store = store
        self.away = False
        self.lost = 0              # so many of the next replies of writes are lost
        self.calls = []

    def __getattr__(self, name):
        method = getattr(self._store, name)

        async def call(*args, **named):
            if self.away:
                raise StoreAway("away")
            self.calls.append((name, *args[:2]))
            answer = await method(*args, **named)
            if self.lost and name in ("insert", "replace", "remove", "append"):
                self.lost -= 1
                raise StoreAway("reply lost")
            return answer

        return call


class Kit:
    def __init__(self, folder: Path, store: Unsteady, sealer: Sealer):
        self.folder, self.store, self.sealer = folder, store, sealer
        self.catalog = Catalog(store, sealer, node="test")


@asynccontextmanager
async def kit(folder: Path):
    store = open_sqlite(f"sqlite:///{folder}/store.db")
    await store.open()
    try:
        yield Kit(folder, Unsteady(store), open_ring(folder))
    finally:
        await store.close()


async def until(condition, what: str) -> None:
    """Wait for something that another process or task does."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"{what} did not come within {DEADLINE_S} s"
        await asyncio.sleep(0.02)


def model(slug: str = "acme/chat", **fields) -> ModelDoc:
    pricing = {"input_per_mtok": 100, "output_per_mtok": 200}
    return decode(ModelDoc, {"slug": slug, "pricing": pricing, **fields}, "test")


def channel(name: str = "acme", **fields) -> ChannelDoc:
    return decode(ChannelDoc, {"name": name, "provider": "acme", "credential": "sk-clear-canary", **fields}, "test")


def _never(*given):
    raise AssertionError("no bridge is crossed in these tests")


GIFTS = Gifts(
    providers={"acme": Provider("acme", "https://api.acme.test/v1", speaks={
                   "openai.chat": "/chat/completions", "openai.responses": "/responses",
                   "openai.images": "/images/generations"}),
               "open": Provider("open", "http://127.0.0.1:1", needs_credential=False,
                                speaks={"openai.chat": "/chat/completions"}),
               "lost": Provider("lost", lambda: 1 // 0, needs_credential=False, speaks={"openai.chat": "/c"})},
    bridges={("openai.responses", "openai.chat"): Bridge("openai.responses", "openai.chat", _never, _never, _never)})
