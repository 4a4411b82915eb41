"""commit: once or not at all, whatever collides, is repeated or is lost on the way."""

import asyncio

import pytest

from smartoken.domain.account import Declined, change, empty, imbalance_u
from smartoken.engine.ledger import Ledger
from smartoken.errors import StoreAway
from smartoken.testing.lossy import HeldClock, LossyStore, sqlite_in


def run(tmp_path, main):
    async def body():
        async with sqlite_in(tmp_path) as store:
            await main(store)

    asyncio.run(body())


async def insist(make):
    """Repeat a commit under its own op until the store answers."""
    while True:
        try:
            return await make()
        except StoreAway:
            continue


def test_topup_is_once_per_op(tmp_path):
    async def main(store):
        ledger, other = Ledger(store, "n1", HeldClock()), Ledger(store, "n2", HeldClock())
        first = await ledger.topup("a", 500, "stripe:1", "card")
        assert await other.topup("a", 500, "stripe:1") == first
        assert await ledger.topup("a", 999, "stripe:1") == first
        await other.adjust("a", -100, "k1", "oops")
        balance = await ledger.balance("a")
        assert (balance.available_u, balance.leased_u, balance.held_u, balance.seq) == (400, 0, 0, 2)
        assert (await ledger.balance("nobody")).balance_u == 0
        with pytest.raises(Declined):
            await ledger.topup("a", -5, "x")

    run(tmp_path, main)


def test_a_stale_head_never_declines(tmp_path):
    async def main(store):
        ledger, other = Ledger(store, "n1", HeldClock()), Ledger(store, "n2", HeldClock())
        await ledger.topup("a", 10, "1")
        await other.topup("a", 90, "2")
        await ledger.adjust("a", -100, "3")
        assert (await other.balance("a")).available_u == 0

    run(tmp_path, main)


def test_an_op_that_was_done_answers_though_the_state_has_moved_on(tmp_path):
    async def main(store):
        ledger = Ledger(store, "n1", HeldClock())
        await ledger.topup("a", 10, "1")
        pend = lambda: ledger.commit("a", "pend:r", "pend", change("pend", rid="r", amt={"main": 5}, at_ms=1))
        void = lambda: ledger.commit("a", "void:r", "void", change("void", rid="r", at_ms=1))
        first, second = await pend(), await void()
        assert await void() == second and await pend() == first
        assert (await ledger.balance("a")).available_u == 10

    run(tmp_path, main)


@pytest.mark.parametrize("seed", range(12))
def test_lost_replies_and_races(tmp_path, seed):
    """Four processes, every fifth call lost: each op counted once, the chain gapless, I1 at every entry."""
    async def main(store):
        lossy = LossyStore(store, seed)
        ledgers = [Ledger(lossy, f"n{n}", HeldClock()) for n in range(4)]
        await asyncio.gather(*(insist(lambda n=n: ledgers[n % 4].topup("a", 1 + n // 2, f"{n // 2}"))
                               for n in range(40)))
        links = await store.entries("a")
        assert lossy.losses > 0
        assert [link.seq for link in links] == list(range(1, 21))
        assert {link.op for link in links} == {f"topup:{n}" for n in range(20)}
        assert links[-1].state["pockets"]["main"]["u"] == sum(range(1, 21))
        for before, link in zip([None, *links], links, strict=False):
            assert imbalance_u(link.state) == 0
            assert link.prev_hash == (before.hash if before else "")

    run(tmp_path, main)


def test_store_away_comes_out_and_harms_nothing(tmp_path):
    async def main(store):
        lossy = LossyStore(store, 1, lost=0, away=True)
        ledger = Ledger(lossy, "n1", HeldClock())
        with pytest.raises(StoreAway):
            await ledger.topup("a", 5, "1")
        lossy.away = False
        await ledger.topup("a", 5, "1")
        assert (await ledger.balance("a")).available_u == 5

    run(tmp_path, main)


def test_change_sees_an_empty_state_first(tmp_path):
    async def main(store):
        seen = []
        def look(state):
            seen.append(state)
            return change("topup", u=1)(state)
        await Ledger(store, "n1", HeldClock()).commit("a", "x", "topup", look)
        assert seen == [empty()]

    run(tmp_path, main)
