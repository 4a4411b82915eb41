"""Pruned books are sound books: nothing of worth goes, what went is told, and what went untold is found."""

import asyncio
import random
import sqlite3
from itertools import pairwise

import pytest

from smartoken.domain.catalog import Account
from smartoken.domain.usage import UsageRecord
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.engine.prune import KEEP_MS, PRUNED, Pruner
from smartoken.engine.reconcile import reconcile
from smartoken.errors import StoreAway
from smartoken.testing.lossy import HeldClock, sqlite_in

P = 1_000_000
DAY_S = 24 * 3600


class Torn:
    """A store on which removing breaks off in the middle, now and then."""

    def __init__(self, store, chance):
        self._store, self._chance = store, chance

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def remove_entries(self, chain, seqs):
        if self._chance.random() < 0.5:
            await self._store.remove_entries(chain, [seq for seq in seqs if self._chance.random() < 0.5])
            raise StoreAway("gone in the middle")
        await self._store.remove_entries(chain, seqs)


async def use(store, ledger, leases, clock, number):
    """One request, shipped and flushed; now and then money comes in between."""
    hold = await leases.hold(Account("a", "a"), "m", 9 * P)
    cost_p = 5 * P + number
    await store.put_usage([UsageRecord(rid=f"{number:06}", acct="a", key="k", model="m", at_ms=clock.ms, cost_p=cost_p,
                                       split=leases.settle(hold, cost_p), lease=hold.lease.id)])
    await leases.flush(leases.cut(everything=number % 11 == 10))
    if number % 7 == 6:
        await ledger.topup("a", 100, f"more-{number}")


async def everything(store):
    return await store.entries("a", limit=100_000)


@pytest.mark.parametrize("seed", range(4))
def test_a_month_of_books_interrupted_at_random(tmp_path, seed):
    chance = random.Random(seed)

    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            ledger = Ledger(store, "n1", clock)
            leases = Leases(ledger, clock, "n1-b")
            await ledger.topup("a", 50_000_000, "first")
            for day in range(30):
                for number in range(12):
                    await use(store, ledger, leases, clock, day * 12 + number)
                    clock.wait(chance.uniform(60, DAY_S / 12))
                pruner = Pruner(Torn(store, chance), Ledger(store, f"n{day % 2}", clock), clock)
                try:
                    await pruner.some()
                except StoreAway:
                    page = await reconcile(store, clock)            # R5: the lease at work is old, by this clock
                    assert {one.rule for one in page.differences} <= {"R5"}, (day, page.differences[:3])
            await leases.close_all()
            there = await everything(store)
            before = await ledger.balance("a")
            page = await reconcile(store, clock)
            assert page.differences == [], page.differences[:3]
            await Pruner(store, ledger, clock).prune("a")
            left = await everything(store)
            assert (await reconcile(store, clock)).differences == []
            assert await Pruner(store, ledger, clock).prune("a") == 0, "there is no end to it"
            old = [link for link in left if link.at_ms < clock.ms - KEEP_MS and link.kind in PRUNED]
            assert len(left) < left[-1].seq - 50 and all(
                after.kind not in PRUNED or after.seq != link.seq + 1
                for link, after in pairwise(left) if link in old and after in old)
            assert {link.op for link in there if link.kind not in PRUNED} <= {link.op for link in left}
            now = await ledger.balance("a")
            assert (now.balance_u, now.charged_p) == (before.balance_u, before.charged_p)

    asyncio.run(main())


@pytest.mark.parametrize("harm", ["DELETE FROM entries WHERE chain = 'a' AND seq = {seq}",
                                  "UPDATE entries SET body = replace(body, '\"at_ms\":', '\"at_ms\":1') WHERE seq = {seq}"])
def test_what_nobody_told_is_found(tmp_path, harm):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            ledger = Ledger(store, "n1", clock)
            leases = Leases(ledger, clock, "n1-b")
            await ledger.topup("a", 50_000_000, "first")
            for number in range(60):
                await use(store, ledger, leases, clock, number)
            clock.wait(8 * DAY_S)
            await use(store, ledger, leases, clock, 60)
            assert await Pruner(store, ledger, clock).prune("a") > 20
            await leases.close_all()
            assert (await reconcile(store, clock)).differences == []
            left = await everything(store)
            return [link.seq for link in left[:-1]]

    for_each = asyncio.run(main())
    file = next(tmp_path.glob("*.db"))
    whole = file.read_bytes()

    async def found():
        async with sqlite_in(tmp_path) as store:
            return (await reconcile(store, HeldClock())).differences

    for seq in for_each[::5]:
        file.write_bytes(whole)
        for more in tmp_path.glob("*.db-*"):
            more.unlink()
        with sqlite3.connect(file) as connection:
            assert connection.execute(harm.format(seq=seq)).rowcount == 1
        connection.close()
        assert [one for one in asyncio.run(found()) if one.rule == "R1"], f"{seq} was harmed and nobody noticed"
