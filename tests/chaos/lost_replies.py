"""Money moves once and only once when the store loses one reply in twenty after it did what was asked.

Several processes' ledgers (a client and a connection pool each) top up, adjust, lease, flush and close on the same
accounts, each repeating under its op whatever came without an answer. Afterwards every chain is read without faults:
hashes link, I1 holds in every entry, every op is there once, and the sums are those of what was asked.
"""

import asyncio
import random

from smartoken_plugins.mongo.store import open_mongo

from smartoken.adapters.clock import SystemClock
from smartoken.domain.account import Declined, change, charged_p, imbalance_u
from smartoken.engine.chain import hash_of
from smartoken.engine.ledger import Ledger
from smartoken.errors import StoreAway
from smartoken.testing.proxy import FaultProxy
from tests.chaos.proof import Means, Proof

LOST = 0.05
WRITERS, ACCOUNTS = 4, 3


async def insist(call, *args):
    """The same op again, until there is an answer. Declined comes out."""
    while True:
        try:
            return await call(*args)
        except StoreAway:
            await asyncio.sleep(random.uniform(0, 0.01))


class Asked:
    """What one writer asked for and was told of: the truth that the books must match."""

    def __init__(self):
        self.ops: list[tuple[str, str]] = []
        self.in_u = dict.fromkeys(range(ACCOUNTS), 0)
        self.spent_p = dict.fromkeys(range(ACCOUNTS), 0)
        self.declined = 0


async def _write(ledger: Ledger, writer: int, rng: random.Random, rounds: int) -> Asked:
    asked = Asked()
    for number in range(rounds):
        acct, name = rng.randrange(ACCOUNTS), f"{writer}.{number}"
        amount_u = rng.randint(1, 10**9)
        await insist(ledger.topup, f"a{acct}", amount_u, name)
        asked.ops.append((f"a{acct}", f"topup:{name}"))
        asked.in_u[acct] += amount_u
        taken_u = rng.randint(1, amount_u)
        # Taking back at most what we paid in is never declined, whatever the others do.
        if rng.random() < 0.3:
            await insist(ledger.adjust, f"a{acct}", -taken_u, name)
            asked.ops.append((f"a{acct}", f"adj:{name}"))
            asked.in_u[acct] -= taken_u
            continue
        lease, amt = f"n.{name}", {"main": taken_u}
        spent_p = rng.randint(0, taken_u * 10**6)
        steps = [("lease", {"lease": lease, "node": "n", "amt": amt, "exp_ms": 2**50}),
                 ("flush", {"lease": lease, "spent_p": {"main": spent_p // 2}, "exp_ms": 2**50, "at_ms": 1}),
                 ("flush", {"lease": lease, "spent_p": {"main": spent_p}, "exp_ms": 2**50, "at_ms": 1}),
                 ("close", {"lease": lease, "spent_p": {"main": spent_p}, "at_ms": 1})]
        for step, (kind, delta) in enumerate(steps):
            op = f"{kind}:{lease}:{step}"
            await insist(ledger.commit, f"a{acct}", op, kind, change(kind, **delta))
            asked.ops.append((f"a{acct}", op))
        asked.spent_p[acct] += spent_p
        if rng.random() < 0.8:
            continue
        try:
            await insist(ledger.adjust, f"a{acct}", -10**15, f"never.{name}")
        except Declined:
            asked.declined += 1
    return asked


async def _audit(store, asked: list[Asked]) -> tuple[int, int]:
    """(entries, what is wrong with them)."""
    entries = wrong = 0
    ops: list[tuple[str, str]] = []
    for acct in range(ACCOUNTS):
        before = None
        for link in await store.entries(f"a{acct}", limit=100_000):
            entries += 1
            ops.append((link.chain, link.op))
            wrong += imbalance_u(link.state) != 0 or link.hash != hash_of(link)
            wrong += (link.seq, link.prev_hash) != ((before.seq + 1, before.hash) if before else (1, ""))
            wrong += link.state["pockets"]["main"]["u"] < 0
            before = link
        state = before.state
        wrong += state["credits_u"] + state["adjusted_u"] != sum(one.in_u[acct] for one in asked)
        wrong += charged_p(state) != sum(one.spent_p[acct] for one in asked)
        wrong += bool(state["leases"])
    wrong += sorted(ops) != sorted(op for one in asked for op in one.ops)
    return entries, wrong


async def _run(means: Means, port: int) -> Proof:
    proxy = FaultProxy("127.0.0.1", port, seed=means.seed)
    await proxy.start()
    stores = [open_mongo(f"mongodb://127.0.0.1:{proxy.port}/x") for _ in range(WRITERS)]
    for store in stores:
        await store.open()
    proxy.drop_reply = LOST
    rng = random.Random(means.seed)
    rounds = 150 if means.long else 8
    asked = await asyncio.gather(*(
        _write(Ledger(store, f"n{number}", SystemClock()), number, random.Random(rng.random()), rounds)
        for number, store in enumerate(stores)))
    proxy.drop_reply = 0.0
    entries, wrong = await _audit(stores[0], asked)
    for store in stores:
        await store.close()
    await proxy.stop()
    declined = sum(one.declined for one in asked)
    return Proof("entries", entries, wrong, {"replies lost": proxy.dropped, "declined as they must": declined})


def prove(means: Means) -> Proof:
    return asyncio.run(_run(means, means.server("mongo").port))
