"""What reconcile says of accounts that owe, of leases settled late and of what nobody was ever charged for."""

import asyncio

from smartoken.domain.account import change
from smartoken.domain.usage import UsageRecord
from smartoken.engine.ledger import Ledger
from smartoken.engine.reconcile import reconcile
from smartoken.testing.lossy import HeldClock, sqlite_in

P = 1_000_000


class Books:
    """An account `a` with an overdraft, and changes to its ledger in few words."""

    def __init__(self, store, clock):
        self.store, self.clock, self.ledger, self.number = store, clock, Ledger(store, "n1", clock), 0

    async def overdraft(self, overdraft_u):
        old = await self.store.get("accounts", "a")
        doc = {"_id": "a", "rev": old["rev"] + 1 if old else 1, "overdraft_u": overdraft_u}
        assert await (self.store.replace("accounts", doc, old["rev"]) if old else self.store.insert("accounts", doc))

    async def do(self, kind, **delta):
        self.number += 1
        if kind in ("flush", "close", "reap", "post"):
            delta["at_ms"] = self.clock.ms
        if kind in ("lease", "flush"):
            delta["exp_ms"] = self.clock.ms + 600_000
        await self.ledger.commit("a", f"{kind}:{self.number}", kind, change(kind, **delta))

    async def lease(self, name, amount_u, floor_u=0):
        await self.do("lease", lease=name, node="n1", amt={"main": amount_u}, floor_u=floor_u)

    async def used(self, rid, cost_p, lease=""):
        await self.store.put_usage([UsageRecord(rid=rid, acct="a", key="k", model="m", at_ms=1, cost_p=cost_p, lease=lease,
                                                split={"main": cost_p})])

    async def said(self, rule):
        page = await reconcile(self.store, self.clock)
        return [finding for finding in page.findings if finding.rule == rule]


def run(tmp_path, work):
    async def main():
        async with sqlite_in(tmp_path) as store:
            await work(Books(store, HeldClock()))

    asyncio.run(main())


def test_more_on_credit_than_the_overdraft_is_a_difference(tmp_path):
    async def work(books):
        await books.overdraft(100)
        await books.lease("l1", 80, floor_u=100)
        [owes] = await books.said("R6")
        assert not owes.wrong and "may owe 0.0001 USD" in owes.text
        await books.overdraft(50)
        [owes] = await books.said("R6")
        assert owes.wrong and "0.00008 USD" in owes.text
        await books.do("topup", u=40)
        [owes] = await books.said("R6")
        assert not owes.wrong, "it owes 40 now"
        await books.do("topup", u=40)
        assert await books.said("R6") == []
        await books.overdraft("50")
        assert [finding.wrong for finding in await books.said("R6")] == [True], "that is no amount"

    run(tmp_path, work)


def test_what_people_took_and_what_requests_overran_is_only_told(tmp_path):
    async def work(books):
        await books.overdraft(10)
        await books.do("topup", u=100)
        await books.lease("l1", 100)
        await books.do("flush", lease="l1", spent_p={"main": 130 * P})
        await books.used("r1", 130 * P, "l1")
        await books.do("adjust", u=-1000, below_zero=True)
        [owes] = await books.said("R6")
        assert not owes.wrong and "balance -0.00103 USD" in owes.text and "0.00103 USD of it by adjust" in owes.text
        await books.do("topup", u=1030)
        assert await books.said("R6") == []
        await books.lease("l2", 20, floor_u=20)
        assert [finding.wrong for finding in await books.said("R6")] == [True], "what was paid back excuses nothing"

    run(tmp_path, work)


def test_late_settles_are_summed_up(tmp_path):
    async def work(books):
        await books.do("topup", u=1000)
        for name in ("l1", "l2"):
            await books.lease(name, 100)
        await books.do("flush", lease="l1", spent_p={"main": 7 * P})
        books.clock.wait(3600)
        for name in ("l1", "l2"):
            await books.do("reap", lease=name)
        assert len(await books.said("R8")) == 2, "taken back, and so far that is all"
        await books.do("flush", lease="l1", spent_p={"main": 9 * P})
        await books.do("close", lease="l1", spent_p={"main": 12 * P})
        await books.do("close", lease="l2", spent_p={"main": 5 * P})
        await books.used("r1", 12 * P, "l1")
        await books.used("r2", 5 * P, "l2")
        [late] = await books.said("R8")
        assert not late.wrong and late.text.startswith("3 times") and "0.00001 USD in all" in late.text
        assert await books.said("R3") == []

    run(tmp_path, work)


def test_what_was_never_collected_is_named(tmp_path):
    async def work(books):
        await books.do("topup", u=1000)
        await books.lease("l1", 100)
        await books.do("pend", rid="j1", amt={"main": 50}, at_ms=books.clock.ms)
        await books.do("post", rid="j1", split={"main": 50 * P})
        await books.do("close", lease="l1", spent_p={"main": 9 * P})
        await books.used("r1", 9 * P, "l1")
        await books.used("j1", 50 * P)
        assert await books.said("R8") == await books.said("R3") == []
        await books.used("r2", 3 * P, "l1")
        await books.used("r3", 4 * P, "gone")
        assert [finding.wrong for finding in await books.said("R3")] == [True]
        assert {finding.text for finding in await books.said("R8")} == {
            "0.000003 USD of l1 were never collected", "0.000004 USD of gone were never collected"}
        for number in range(30):
            await books.used(f"s{number}", P, f"more{number}")
        told = await books.said("R8")
        assert len(told) == 21 and told[-1].text == "0.000012 USD of 12 more were never collected"

    run(tmp_path, work)
