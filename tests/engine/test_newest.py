"""A chain with gaps is read from its end without leaving anything out, and with few readings."""

import asyncio
import random

import pytest

from smartoken.domain.account import change
from smartoken.engine.ledger import Ledger
from smartoken.engine.newest import newest
from smartoken.testing.lossy import HeldClock, sqlite_in

LONG = 600


class Counted:
    """A store that counts how often entries are read."""

    def __init__(self, store):
        self._store, self.readings = store, 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def entries(self, *words, **named):
        self.readings += 1
        return await self._store.entries(*words, **named)


async def walked(store, limit) -> list[int]:
    """Every seq, page by page, as a person would read them."""
    found, before = [], 0
    while page := await newest(store, "a", before, limit):
        seqs = [entry.seq for entry in page]
        assert seqs == sorted(seqs, reverse=True) and len(seqs) <= limit
        found += seqs
        before = seqs[-1]
        if len(seqs) < limit:
            assert not await newest(store, "a", before, limit), "a short page is the last"
    return found


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_left_out_at_gaps(tmp_path, seed):
    chance = random.Random(seed)

    async def main():
        async with sqlite_in(tmp_path) as plain:
            store, ledger = Counted(plain), Ledger(plain, "n", HeldClock())
            assert await newest(store, "a") == []
            for number in range(LONG):
                await ledger.commit("a", f"op-{number}", "topup", change("topup", u=1))
            assert await walked(store, 50) == list(range(LONG, 0, -1))
            assert store.readings <= LONG // 50 + 2, "without gaps a page is one reading"
            kept = set(range(1, LONG + 1))
            for _ in range(4 + 3 * seed):
                first = chance.randrange(1, LONG - 1)
                kept -= set(range(first, min(LONG, first + chance.randrange(1, 180))))
            await plain.remove_entries("a", sorted(set(range(1, LONG + 1)) - kept))
            for limit in (1, 7, 50):
                store.readings = 0
                assert await walked(store, limit) == sorted(kept, reverse=True)
                assert store.readings <= 12 * (len(kept) // limit + 2), "halves of 600 are ten"
    asyncio.run(main())
