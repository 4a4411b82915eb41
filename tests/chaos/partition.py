"""T7: a machine cut off for twenty minutes while its leases are taken back settles to the pUSD when it returns.

The owner goes on granting from its lease until that runs out by its own clock; a neighbour's reaper takes the lease back
after its expiry and the neighbour spends what came home; then the owner is back and tells what it spent. Charged must be
what was used, and the account below zero by no more than the owner spent of what had been taken back from it.
"""

import asyncio
import logging
import random

from smartoken.domain.account import MAIN, charged_p, imbalance_u
from smartoken.domain.catalog import Account
from smartoken.domain.money import P_PER_U
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.engine.reaper import Reaper
from smartoken.errors import Refusal
from smartoken.testing.lossy import HeldClock, LossyStore
from smartoken.testing.memory_store import MemoryStore, tables
from tests.chaos.proof import Means, Proof

A = Account("a", "Ann")
AWAY_S, STEP_S = 20 * 60, 20


async def one(seed: int) -> tuple[int, int, int]:
    """(mistakes, µUSD below zero at worst, µUSD of the bound) of one partition."""
    luck, clock, database = random.Random(seed), HeldClock(), tables()
    links = [LossyStore(MemoryStore(database), seed + number, lost=0) for number in range(2)]
    ledgers = [Ledger(link, f"n{number}", clock) for number, link in enumerate(links)]
    leases = [Leases(ledger, clock, f"n{number}-b") for number, ledger in enumerate(ledgers)]
    reapers = [Reaper(links[number], ledgers[number], leases[number], f"n{number}-b", clock) for number in range(2)]
    await ledgers[1].topup("a", luck.choice([300, 3_000, 300_000]), "1")
    truth_p = 0
    running: list[tuple] = []

    async def spend(number: int) -> None:
        nonlocal truth_p
        try:
            hold = await leases[number].hold(A, "m", luck.randrange(1, 30) * P_PER_U)
        except Refusal as refusal:
            assert refusal.status in (402, 503), refusal.status
            return
        if luck.random() < 0.3:
            running.append((number, hold))     # a long stream: it settles later
            return
        cost_p = luck.randrange(hold.amount_p + 1)
        leases[number].settle(hold, cost_p)
        truth_p += cost_p

    def settle_some(share: float) -> None:
        nonlocal truth_p
        for number, hold in [one for one in running if luck.random() < share]:
            running.remove((number, hold))
            cost_p = luck.randrange(hold.amount_p + 1)
            leases[number].settle(hold, cost_p)
            truth_p += cost_p

    for reaper in reapers:
        await reaper.beat()
    for _ in range(6):
        await spend(0)
    await leases[0].flush(leases[0].cut())
    links[0].away = True
    for _ in range(AWAY_S // STEP_S):
        clock.wait(STEP_S)
        for _ in range(luck.randrange(3)):
            await spend(0)
        settle_some(0.05)
        await reapers[1].beat()
        await reapers[1].sweep()
        if luck.random() < 0.5:
            await spend(1)
        await leases[1].flush(leases[1].cut())
    links[0].away = False
    settle_some(1.0)
    for _ in range(2):
        for side in (0, 1):
            await leases[side].flush(leases[side].cut())
    for side in (0, 1):
        await leases[side].close_all()
    for reaper in reapers:
        await reaper.beat()
        await reaper.sweep()
    chain = await links[1].store.entries("a", limit=100_000)
    taken_u, lowest_u, wrong = 0, 0, 0
    for before, link in zip([None, *chain], chain, strict=False):
        wrong += imbalance_u(link.state) != 0
        if link.kind == "reap":
            taken_u += sum(before.state["leases"][link.delta["lease"]]["amt"].values())
        lowest_u = min(lowest_u, link.state["pockets"][MAIN]["u"])
        wrong += link.state["pockets"][MAIN]["u"] < -taken_u
    wrong += charged_p(chain[-1].state) != truth_p or bool(chain[-1].state["leases"])
    return wrong, -lowest_u, taken_u


async def _prove(means: Means) -> Proof:
    runs = 1000 if means.long else 40
    wrong = deepest_u = bound_u = reaped = 0
    logging.getLogger("smartoken").setLevel(logging.ERROR)
    abreast = asyncio.Semaphore(40)            # most of a run's time is waiting for a store that is away

    async def some(seed: int) -> tuple[int, int, int]:
        async with abreast:
            return await one(seed)

    for mistakes, below_u, taken_u in await asyncio.gather(*(some(means.seed * 100_003 + n) for n in range(runs))):
        wrong += mistakes
        deepest_u, bound_u, reaped = max(deepest_u, below_u), max(bound_u, taken_u), reaped + (taken_u > 0)
    return Proof("partitions", runs, wrong, {"minutes each": AWAY_S // 60, "with a lease taken back": reaped,
                                             "deepest below zero (µUSD)": deepest_u,
                                             "bound: taken back (µUSD)": bound_u})


def prove(means: Means) -> Proof:
    return asyncio.run(_prove(means))
