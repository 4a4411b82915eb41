"""Leases on a real store: what a hold is granted from, what is refused and why, and what comes back."""

import asyncio
import random

import pytest

from smartoken.domain.account import MAIN, change, charged_p, imbalance_u
from smartoken.domain.catalog import Account
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.errors import Refusal, StoreAway
from smartoken.testing.lossy import HeldClock, LossyStore, sqlite_in

P = 1_000_000
A = Account("a", "Ann")


class House:
    """Some processes on one store, each with its ledger and its leases."""

    def __init__(self, store, processes=1):
        self.store, self.clock = store, HeldClock()
        self.ledgers = [Ledger(store, f"n{n}", self.clock) for n in range(processes)]
        self.leases = [Leases(ledger, self.clock, f"n{n}-b") for n, ledger in enumerate(self.ledgers)]

    async def topup(self, amount_u, acct="a"):
        await self.ledgers[0].topup(acct, amount_u, f"t{random.random()}")

    async def voucher(self, name, amount_u, models, prio=0, lasts_s=0):
        exp_ms = self.clock.ms + lasts_s * 1000 if lasts_s else 0
        delta = {"pocket": name, "u": amount_u, "models": models, "prio": prio, "exp_ms": exp_ms}
        await self.ledgers[0].commit("a", f"voucher:{name}", "redeem", change("redeem", **delta))

    async def quiet(self):
        """Wait for what was started beside the request path."""
        for leases in self.leases:
            while leases._tasks or leases._fills:
                fills = (filling.task for filling in leases._fills.values())
                await asyncio.gather(*leases._tasks, *fills, return_exceptions=True)

    async def ship(self, leases):
        await leases.flush(leases.cut())


def run(tmp_path, main, processes=1):
    async def body():
        async with sqlite_in(tmp_path) as store:
            house = House(store, processes)
            await main(house, house.leases[0])
            for leases in house.leases:
                assert leases.held == 0
                await leases.close_all()
            for chain in await store.chains():
                head = await store.head(chain)
                assert imbalance_u(head.state) == 0 and head.state["leases"] == {}

    asyncio.run(body())


def test_place_settle_and_close(tmp_path):
    async def main(house, leases):
        assert leases.place(A, "m", 5 * P) is None
        await house.topup(1_000_000)
        hold = await leases.hold(A, "m", 5 * P)
        assert leases.settle(hold, 3 * P + 7) == {MAIN: 3 * P + 7}
        with pytest.raises(RuntimeError):
            leases.settle(hold, 0)
        second = leases.place(A, "m", 5 * P)
        assert second is not None, "a warm lease needs no ledger"
        assert leases.settle(second, 0) == {}
        await house.ship(leases)
        balance = await house.ledgers[0].balance("a")
        assert balance.charged_p == 3 * P + 7 and balance.leased_u > 0
        await leases.close_all()
        state = (await house.store.head("a")).state
        assert state["leases"] == {} and state["residue_p"] == {MAIN: 7} and state["pockets"][MAIN]["u"] == 999_997

    run(tmp_path, main)


def test_empty_and_in_flight_are_told_apart(tmp_path):
    async def main(house, leases):
        with pytest.raises(Refusal) as refusal:
            await leases.ready(A, "m", P)
        assert (refusal.value.status, refusal.value.code) == (402, "insufficient_balance")
        await house.topup(10)
        hold = await leases.hold(A, "m", 8 * P)
        with pytest.raises(Refusal) as refusal:
            await leases.ready(A, "m", 5 * P)
        assert (refusal.value.code, refusal.value.retry_after_s) == ("in_flight_budget_exhausted", 2)
        with pytest.raises(Refusal) as refusal:
            await leases.ready(A, "m", 11 * P)
        assert refusal.value.code == "insufficient_balance"
        leases.settle(hold, 8 * P)
        with pytest.raises(Refusal) as refusal:
            await leases.ready(A, "m", 5 * P)
        assert refusal.value.code == "insufficient_balance", "what was spent here is known here"

    run(tmp_path, main)


def test_the_last_cents_can_be_spent_from_any_process(tmp_path):
    async def main(house, leases):
        await house.topup(9)
        for number in range(9):
            mine = house.leases[number % 3]
            hold = await mine.hold(A, "m", P)
            mine.settle(hold, P)
        for mine in house.leases:
            with pytest.raises(Refusal):
                await mine.ready(A, "m", P)
            await house.ship(mine)
        assert (await house.ledgers[0].balance("a")).charged_p == 9 * P

    run(tmp_path, main, processes=3)


def test_an_idle_lease_of_a_poor_account_comes_back_within_a_second(tmp_path):
    async def main(house, leases):
        await house.topup(10)
        leases.settle(await leases.hold(A, "m", 9 * P), 0)
        with pytest.raises(Refusal):
            await house.leases[1].ready(A, "m", 9 * P)
        house.clock.wait(1.1)
        await leases.tick()
        await house.quiet()
        house.leases[1].settle(await house.leases[1].hold(A, "m", 9 * P), 0)

    run(tmp_path, main, processes=2)


def test_a_rich_lease_is_given_back_when_the_account_becomes_poor(tmp_path):
    async def main(house, leases):
        await house.topup(1000)
        leases.settle(await leases.hold(A, "m", P), 0)
        leased_u = (await house.ledgers[0].balance("a")).leased_u
        other = house.leases[1]
        big = await other.hold(A, "m", (1000 - leased_u) * P)
        house.clock.wait(6)
        await leases.tick()
        await house.quiet()
        house.clock.wait(0.1)
        await leases.tick()
        await house.quiet()
        small = await other.hold(A, "m", leased_u * P)
        other.settle(big, 5)
        other.settle(small, 5)

    run(tmp_path, main, processes=2)


def test_overrun_falls_on_main_and_shows_at_the_next_flush(tmp_path):
    async def main(house, leases):
        await house.topup(10)
        hold = await leases.hold(A, "m", 10 * P)
        assert leases.settle(hold, 12 * P) == {MAIN: 12 * P}
        await house.ship(leases)
        assert (await house.ledgers[0].balance("a")).available_u == -2
        await house.topup(50)
        leases.settle(await leases.hold(A, "m", 20 * P), 20 * P)
        await house.ship(leases)
        await leases.close_all()
        assert (await house.ledgers[0].balance("a")).available_u == 60 - 32

    run(tmp_path, main)


def test_overdraft_is_a_bound(tmp_path):
    async def main(house, leases):
        trusted = Account("a", "Ann", overdraft_u=5)
        hold = await leases.hold(trusted, "m", 5 * P)
        with pytest.raises(Refusal):
            await leases.ready(trusted, "m", P)
        leases.settle(hold, 5 * P)
        await house.ship(leases)
        assert (await house.ledgers[0].balance("a")).available_u == -5

    run(tmp_path, main)


def test_extend(tmp_path):
    async def main(house, leases):
        await house.topup(10)
        hold = await leases.hold(A, "m", 4 * P)
        assert not leases.extend(hold, 4 * P), "a poor account's lease has just the hold"
        await house.quiet()
        other = await leases.hold(A, "m", 5 * P)
        leases.settle(other, 0)
        assert leases.extend(hold, 4 * P) and hold.amount_p == 8 * P
        assert leases.settle(hold, 7 * P) == {MAIN: 7 * P}
        assert not leases.extend(hold, 1)

    run(tmp_path, main)


def test_vouchers_burn_first_and_only_for_their_models(tmp_path):
    async def main(house, leases):
        await house.topup(100_000)
        leases.settle(await leases.hold(A, "m", P), P)
        await house.voucher("v", 10, ["m"])
        await house.ship(leases)
        other = await leases.hold(A, "other", 4 * P)
        assert leases.settle(other, 4 * P) == {MAIN: 4 * P}
        first = await leases.hold(A, "m", 7 * P)
        assert leases.settle(first, 6 * P) == {"v": 6 * P}
        second = await leases.hold(A, "m", 7 * P)
        assert second.parts == [("v", 4 * P), (MAIN, 3 * P)]
        assert leases.settle(second, 8 * P) == {"v": 4 * P, MAIN: 4 * P}
        await house.ship(leases)
        await leases.close_all()
        state = (await house.store.head("a")).state
        assert state["pockets"]["v"]["u"] == 0 and state["pockets"][MAIN]["u"] == 100_000 - 9

    run(tmp_path, main)


def test_a_voucher_is_leased_a_part_at_a_time_like_any_money(tmp_path):
    """Calls that it pays for need no more of the ledger than others, and what nobody uses here is there for others."""
    async def main(house, leases):
        await house.topup(1_000_000)
        await house.voucher("v", 1_000_000, ["m"])
        for _ in range(300):
            leases.settle(await leases.hold(A, "m", 10 * P), 10 * P)
            await house.quiet()
        appended = (await house.store.head("a")).seq - 2
        assert appended < 15, appended
        assert (await house.store.head("a")).state["pockets"]["v"]["u"] > 700_000
        await house.ship(leases)

    run(tmp_path, main)


def test_only_vouchers_left_and_none_covers(tmp_path):
    async def main(house, leases):
        await house.voucher("v", 10, ["m"], lasts_s=60)
        with pytest.raises(Refusal) as refusal:
            await leases.ready(A, "other", P)
        assert (refusal.value.status, refusal.value.code) == (403, "voucher_not_applicable")
        hold = await leases.hold(A, "m", 10 * P)
        house.clock.wait(61)
        assert leases.settle(hold, 4 * P) == {"v": 4 * P}, "a hold taken in time is honoured"
        assert leases.place(A, "m", P) is None, "but it takes no new one"
        with pytest.raises(Refusal) as refusal:
            await leases.ready(A, "m", P)
        assert refusal.value.status == 402
        await house.ship(leases)
        await leases.close_all()
        assert (await house.store.head("a")).state["broken_u"] == 6

    run(tmp_path, main)


def test_a_stampede_makes_few_appends(tmp_path):
    async def main(house, leases):
        await house.topup(1_000_000)
        holds = await asyncio.gather(*(leases.hold(A, "m", 100 * P) for _ in range(200)))
        appends = (await house.store.head("a")).seq - 1
        for hold in holds:
            leases.settle(hold, 60 * P)
        await house.quiet()
        await house.ship(leases)
        assert appends <= 6
        assert (await house.ledgers[0].balance("a")).charged_p == 200 * 60 * P

    run(tmp_path, main)


def test_store_away(tmp_path):
    async def main(house, leases):
        lossy = LossyStore(house.store, 1, lost=0)
        ledger = Ledger(lossy, "n9", house.clock)
        mine = Leases(ledger, house.clock, "n9-b")
        await house.topup(1_000_000)
        warm = await mine.hold(A, "m", P)
        lossy.away = True
        mine.settle(warm, P)
        hold = await mine.hold(A, "m", P)
        mine.settle(hold, P)
        with pytest.raises(Refusal) as refusal:
            await asyncio.gather(*(mine.ready(Account("b", "Bob"), "m", P) for _ in range(50)))
        assert refusal.value.status == 503 and refusal.value.retry_after_s
        with pytest.raises(StoreAway):
            await house.ship(mine)
        house.clock.wait(571)
        assert mine.place(A, "m", P) is None, "30 s before it expires a lease stops granting"
        with pytest.raises(Refusal) as refusal:
            await mine.ready(A, "m", P)
        assert refusal.value.status == 503
        lossy.away = False
        mine.settle(await mine.hold(A, "m", P), P)
        await mine.close_all()
        assert (await house.ledgers[0].balance("a")).charged_p == 3 * P

    run(tmp_path, main)


@pytest.mark.parametrize("came", [True, False])
def test_a_lease_that_was_asked_for_and_never_seen_is_given_up(tmp_path, came):
    """The store took it (or not) and went away; nobody of this account comes to this process again."""
    async def main(house, leases):
        lossy = LossyStore(house.store, 1, lost=0)
        mine = Leases(Ledger(lossy, "n9", house.clock), house.clock, "n9-b")
        await house.topup(100)
        lossy.away_after, lossy.away = ("append", False) if came else ("", True)
        with pytest.raises(Refusal) as refusal:
            await mine.hold(A, "m", 90 * P)
        assert refusal.value.status == 503

        async def wait(seconds):
            house.clock.wait(seconds)
            await mine.tick()
            await asyncio.gather(*(filling.task for filling in mine._fills.values()), return_exceptions=True)

        await wait(11)
        assert mine.spent(), "with the store away nobody knows whether it is there"
        lossy.away = False
        await wait(5)
        assert mine.spent(), "not looked for at every tick"
        leased_u = (await house.ledgers[0].balance("a")).leased_u
        assert (leased_u > 0) is came
        await wait(6)
        assert mine.spent() == {} and not mine.knows("n9-b-1")
        hold = await leases.hold(A, "m", 90 * P)
        leases.settle(hold, 0)
        await mine.close_all()

    run(tmp_path, main)


def test_a_flush_whose_reply_was_lost_does_not_swallow_the_next(tmp_path):
    """The op of the lost flush is asked for again with more spend: the answer is the older entry, so once more."""
    async def main(house, leases):
        lossy = LossyStore(house.store, 1, lost=0)
        mine = Leases(Ledger(lossy, "n9", house.clock), house.clock, "n9-b")
        await house.topup(1_000_000)
        mine.settle(await mine.hold(A, "m", 5 * P), 2 * P)
        lossy.lost = 1
        while (await house.store.head("a")).kind != "flush":
            with pytest.raises(StoreAway):
                await house.ship(mine)
        lossy.lost = 0
        mine.settle(await mine.hold(A, "m", 5 * P), 3 * P)
        await house.ship(mine)
        assert (await house.ledgers[0].balance("a")).charged_p == 5 * P
        await mine.close_all()

    run(tmp_path, main)


def test_renewal(tmp_path):
    async def main(house, leases):
        await house.topup(1_000_000)
        long = await leases.hold(A, "m", P)
        for _ in range(8):
            house.clock.wait(299)
            await house.ship(leases)
        short = leases.place(A, "m", P)
        assert short is not None
        leases.settle(long, P)
        leases.settle(short, P)

    run(tmp_path, main)


def test_a_stream_on_a_lease_that_is_being_given_back_gets_more(tmp_path):
    """After an hour a lease grants nothing new; whoever still holds from it is paid for from the same money."""
    async def main(house, leases):
        await house.topup(100)
        long = await leases.hold(A, "m", 5 * P)
        house.clock.wait(1)
        leases._retire(long.lease)
        short = await leases.hold(A, "m", 5 * P)
        assert short.lease is not long.lease
        assert not leases.extend(long, 40 * P)
        await leases.stretch(long, A, 40 * P, P)
        assert long.amount_p == 45 * P
        with pytest.raises(Refusal) as refusal:
            await leases.stretch(long, A, 90 * P, 80 * P)
        assert refusal.value.status == 402
        leases.settle(long, 45 * P)
        await leases.stretch(long, A, P, P)
        leases.settle(short, 5 * P)
        await house.ship(leases)

    run(tmp_path, main)


def test_an_owner_that_comes_back_after_the_reaper(tmp_path):
    async def main(house, leases):
        await house.topup(1_000_000)
        hold = await leases.hold(A, "m", 5 * P)
        id = hold.lease.id
        house.clock.wait(1000)
        reap = change("reap", lease=id, at_ms=house.clock.ms)
        await house.ledgers[0].commit("a", f"reap:{id}", "reap", reap)
        leases.settle(hold, 4 * P)
        leases.settle(await leases.hold(A, "m", 5 * P), 2 * P)
        await house.ship(leases)
        await house.ship(leases)
        await leases.close_all()
        state = (await house.store.head("a")).state
        assert charged_p(state) == 6 * P and state["tomb"] == {} and state["pockets"][MAIN]["u"] == 1_000_000 - 6

    run(tmp_path, main)


@pytest.mark.parametrize("seed", range(10))
def test_three_processes_under_lost_replies_charge_the_truth(tmp_path, seed):
    """Random requests, flushes, idle times; a fifth of all calls fail. At the end: the truth, nobody overdrawn."""
    async def main(store):
        lossy, clock, luck = LossyStore(store, seed), HeldClock(), random.Random(seed)
        ledgers = [Ledger(lossy, f"n{n}", clock) for n in range(3)]
        houses = [Leases(ledger, clock, f"n{n}-b") for n, ledger in enumerate(ledgers)]
        await Ledger(store, "bank", clock).topup("a", 3000, "1")
        await Ledger(store, "bank", clock).commit(
            "a", "voucher:v", "redeem", change("redeem", pocket="v", u=500, models=["m"]))
        truth = {}

        async def request(leases):
            ceiling_p = luck.randrange(1, 90 * P)
            try:
                hold = await leases.hold(A, luck.choice("mx"), ceiling_p)
            except Refusal as refusal:
                assert refusal.status in (402, 403, 503)
                return
            await asyncio.sleep(0)
            for name, part in leases.settle(hold, luck.randrange(0, ceiling_p + 1)).items():
                truth[name] = truth.get(name, 0) + part

        async def cycle(leases):
            for _ in range(8):
                clock.wait(luck.random())
                await leases.tick()
                try:
                    await leases.flush(leases.cut())
                except StoreAway:
                    continue

        await asyncio.gather(*(request(luck.choice(houses)) for _ in range(60)), *(cycle(leases) for leases in houses))
        await asyncio.gather(*(request(luck.choice(houses)) for _ in range(60)), *(cycle(leases) for leases in houses))
        for leases in houses:
            while leases.spent():
                try:
                    await leases.close_all()
                except StoreAway:
                    continue
        state = (await store.head("a")).state
        assert state["leases"] == {} and lossy.losses > 0
        assert charged_p(state) == sum(truth.values()) > 0
        assert state["pockets"][MAIN]["u"] >= 0 and state["pockets"]["v"]["u"] >= 0
        assert all(imbalance_u(link.state) == 0 for link in await store.entries("a"))

    async def body():
        async with sqlite_in(tmp_path) as store:
            await main(store)

    asyncio.run(body())
