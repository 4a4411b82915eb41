"""Every Store keeps the contract on two real MongoDB-wire servers, also when one reply in twenty is lost.

The callers do what callers must: after StoreAway they read again (tests/contracts/careful.py).
"""

import asyncio
import traceback
from collections.abc import Sequence
from functools import partial
from urllib.parse import urlsplit

from smartoken_plugins.mongo.store import open_mongo

from smartoken.testing.proxy import FaultProxy
from smartoken.testing.store_suite import CHECKS, check
from tests.chaos.proof import Means, Proof
from tests.contracts.careful import Careful

LOST = 0.05
SEEDS = {"mongo": (1, 5), "indexed": (1, 1)}                # on each server, short and long
SHORT = ("documents", "chains", "usage", "reopening")       # each lost reply costs the driver half a second


async def lossy_check(url: str, one, seed: int) -> int:
    """Run one check against a server through a proxy that loses replies; how many were lost."""
    parts = urlsplit(url)
    proxy = FaultProxy(parts.hostname, parts.port, seed=seed)
    await proxy.start()
    # Of a replica set the driver would learn the server's own address, and go past the proxy.
    through = f"mongodb://127.0.0.1:{proxy.port}{parts.path}?heartbeatFrequencyMS=500&directConnection=true"

    async def with_faults(store, other):
        """They begin after both were opened: a start is slow enough when they come one by one."""
        proxy.drop_reply = LOST
        await one(store, other)

    try:
        await check(with_faults, lambda: Careful(open_mongo(through)))
    finally:
        await proxy.stop()
    return proxy.dropped


async def lossy_contract(url: str, seed: int, checks: Sequence = CHECKS) -> list[int | BaseException]:
    """All checks at once, each on a database of its own, since it is the driver's recovery that takes the time.
    For each the number of lost replies, or how it failed."""
    return await asyncio.gather(*(lossy_check(f"{url}{one.__name__}", one, seed + number)
                                  for number, one in enumerate(checks)), return_exceptions=True)


def prove(means: Means) -> Proof:
    checks = CHECKS if means.long else [one for one in CHECKS if one.__name__ in SHORT]
    runs = wrong = 0
    figures = {}
    for kind, counts in SEEDS.items():
        server, lost = means.server(kind), 0
        for seed in range(means.seed, means.seed + counts[means.long]):
            runs += len(CHECKS) + len(checks)
            for one in CHECKS:
                asyncio.run(check(one, partial(open_mongo, f"{server.url}/c{seed}{one.__name__}")))
            for outcome in asyncio.run(lossy_contract(f"{server.url}/l{seed}", seed, checks)):
                if isinstance(outcome, BaseException):
                    wrong += 1
                    traceback.print_exception(outcome)
                else:
                    lost += outcome
        figures[f"replies of {kind} lost"] = lost
    return Proof("checks", runs, wrong, figures)
