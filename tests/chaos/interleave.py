"""No order of the driver's single commands breaks a chain, a balance or a revision.

Each seed is one order: all tasks stop before and after every command that they send to the server, and only when all
of them stand still the seed says who goes on. Several ledgers commit to one account, and several writers count up one
document by its revision.
"""

import asyncio
import itertools
import random
from unittest import mock

from motor.motor_asyncio import AsyncIOMotorClient
from smartoken_plugins.mongo import answer
from smartoken_plugins.mongo.chains import Chains
from smartoken_plugins.mongo.documents import Documents
from smartoken_plugins.mongo.store import open_mongo

from smartoken.adapters.clock import SystemClock
from smartoken.domain.account import Declined, change, imbalance_u
from smartoken.engine.chain import hash_of
from smartoken.engine.ledger import Ledger
from tests.chaos.proof import Means, Proof

TASKS, STEPS = 3, 3
ABREAST = 6                    # seeds at once, on a database of their own: FerretDB looks through all of a collection
SEEDS = {"mongo": (12, 1_000), "indexed": (12, 1_000)}         # on each server, short and long


class Turnstile:
    """Lets one of `count` tasks through at a time, the seed's choice, once all of them wait."""

    def __init__(self, rng: random.Random, count: int):
        self._rng, self._alive = rng, count
        self._waiting: list[asyncio.Future] = []
        self.turns = 0

    async def turn(self) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._release()
        try:
            await mine
        finally:
            if mine in self._waiting:       # the adapter's patience was at its end
                self._waiting.remove(mine)

    def leave(self) -> None:
        self._alive -= 1
        self._release()

    def _release(self) -> None:
        if self._waiting and len(self._waiting) == self._alive and not any(one.done() for one in self._waiting):
            self.turns += 1
            self._waiting.pop(self._rng.randrange(len(self._waiting))).set_result(None)


class Gated:
    """The driver's database, collections and cursors, each command between two turns."""

    def __init__(self, thing, turnstile: Turnstile):
        self._thing, self._turnstile = thing, turnstile

    def __getitem__(self, name: str) -> "Gated":
        return Gated(self._thing[name], self._turnstile)

    def __getattr__(self, name: str):
        method = getattr(self._thing, name)
        if name in ("find", "aggregate", "sort", "limit"):
            return lambda *args, **more: Gated(method(*args, **more), self._turnstile)

        async def call(*args, **more):
            await self._turnstile.turn()
            try:
                return await method(*args, **more)
            finally:
                await self._turnstile.turn()
        return call


async def _pay(db, turnstile: Turnstile, task: int, seed: int, paid: list[int]) -> None:
    rng, acct = random.Random(f"{seed}.{task}"), f"a{seed}"
    ledger = Ledger(Chains(Gated(db, turnstile)), f"n{task}", SystemClock())
    for step in range(STEPS):
        op, amount_u = f"{task}.{step}", rng.randint(1, 1000)
        try:
            if rng.random() < 0.5:
                await ledger.topup(acct, amount_u, op)
                paid.append(amount_u)
            else:
                await ledger.commit(acct, f"adj:{op}", "adjust", change("adjust", u=-amount_u))
                paid.append(-amount_u)
        except Declined:
            pass
        if rng.random() < 0.3:
            await ledger.topup(acct, 7, f"same.{seed}")    # whoever says it, it counts once


async def _count(db, turnstile: Turnstile, seed: int) -> None:
    documents, id = Documents(Gated(db, turnstile)), f"d{seed}"
    for _ in range(STEPS):
        while True:
            doc = await documents.get("nodes", id)
            if doc is None:
                if await documents.insert("nodes", {"_id": id, "rev": 1, "count": 1}):
                    break
            elif await documents.replace("nodes", {**doc, "rev": doc["rev"] + 1, "count": doc["count"] + 1},
                                         doc["rev"]):
                break


async def _one(store, db, seed: int) -> tuple[int, int]:
    """(turns taken, what went wrong)."""
    turnstile = Turnstile(random.Random(seed), 2 * TASKS)
    paid: list[int] = []

    async def until_left(work) -> None:
        try:
            await work
        finally:
            turnstile.leave()

    await asyncio.gather(*(until_left(_pay(db, turnstile, task, seed, paid)) for task in range(TASKS)),
                         *(until_left(_count(db, turnstile, seed)) for _ in range(TASKS)))
    links = await store.entries(f"a{seed}", limit=1000)
    wrong = sum(imbalance_u(link.state) != 0 or link.hash != hash_of(link) or link.state["pockets"]["main"]["u"] < 0
                for link in links)
    wrong += [link.seq for link in links] != list(range(1, len(links) + 1))
    wrong += any(link.prev_hash != before.hash for before, link in itertools.pairwise(links))
    once = 7 * any(link.op == f"topup:same.{seed}" for link in links)
    wrong += (links[-1].state["pockets"]["main"]["u"] if links else 0) != sum(paid) + once
    doc = await store.get("nodes", f"d{seed}")
    wrong += (doc["rev"], doc["count"]) != (TASKS * STEPS, TASKS * STEPS)
    return turnstile.turns, wrong


async def _run(url: str, first: int, count: int) -> tuple[int, int]:
    """`count` orders on one server: (turns taken, orders that broke something)."""
    turns = wrong = 0
    for start in range(first, first + count, ABREAST):
        store = open_mongo(f"{url}/s{start}")
        await store.open()
        client = AsyncIOMotorClient(url, maxPoolSize=32)
        # Each has a turnstile of its own: they meet only in the server.
        for taken, faults in await asyncio.gather(*(
                _one(store, client[f"s{start}"], seed) for seed in range(start, min(start + ABREAST, first + count)))):
            turns, wrong = turns + taken, wrong + (faults > 0)
        await asyncio.to_thread(client.close)
        await store.close()
    return turns, wrong


def prove(means: Means) -> Proof:
    # A call waits at the turnstile while others go through: that is no slowness of the server.
    means.ends.enter_context(mock.patch.object(answer, "LIMIT_S", 300.0))
    orders = wrong = 0
    figures = {}
    for kind, counts in SEEDS.items():
        count = counts[means.long]
        figures[f"turns on {kind}"], faults = asyncio.run(
            _run(means.server(kind).url, means.seed * 1_000_000 + orders, count))
        orders, wrong = orders + count, wrong + faults
    return Proof("orders", orders, wrong, figures)
