"""Time and store under a test's hand: a clock that waits to be told, and a store that loses replies for real."""

import asyncio
import random
from contextlib import asynccontextmanager

from smartoken.adapters.sqlite import open_sqlite
from smartoken.errors import StoreAway


class HeldClock:
    """A Clock that moves only when told."""

    def __init__(self, ms: int = 1_700_000_000_000):
        self.ms = ms

    def now_ms(self) -> int:
        return self.ms

    def mono_us(self) -> int:
        return self.ms * 1000

    def wait(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class LossyStore:
    """A store behind a bad network: some calls really happen and then their reply is lost, some never arrive. It goes
    away with the reply of the next call named `away_after`."""

    def __init__(self, store, seed: int, lost: float = 0.2, away: bool = False):
        self.store, self.random, self.lost, self.away = store, random.Random(seed), lost, away
        self.losses = 0
        self.away_after = ""

    def __getattr__(self, name):
        method = getattr(self.store, name)
        if name in ("open", "close"):
            return method

        async def call(*args, **more):
            if self.away:
                raise StoreAway("away")
            luck = self.random.random()
            if luck < self.lost / 3:
                self.losses += 1
                raise StoreAway("never arrived")
            result = await method(*args, **more)
            await asyncio.sleep(0)
            if name == self.away_after:
                self.away, self.away_after = True, ""
                raise StoreAway("reply lost")
            if luck < self.lost:
                self.losses += 1
                raise StoreAway("reply lost")
            return result

        return call


@asynccontextmanager
async def sqlite_in(folder):
    """An open SQLite store in a folder."""
    store = open_sqlite(f"sqlite:///{folder}/store.db")
    await store.open()
    try:
        yield store
    finally:
        await store.close()
