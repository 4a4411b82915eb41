"""Every Store keeps the contract on a real MongoDB-wire server, also when one reply in twenty is lost.

The callers do what callers must: after StoreAway they read again (tests/contracts/careful.py).
"""

import asyncio
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

from smartoken.testing.proxy import FaultProxy
from smartoken.testing.store_suite import CHECKS, check
from smartoken_plugins.mongo.store import open_mongo
from tests.chaos.proof import Means, Proof
from tests.contracts.careful import Careful

LOST = 0.05


async def lossy_check(url: str, one, seed: int) -> int:
    """Run one check against a server through a proxy that loses replies; how many were lost."""
    parts = urlsplit(url)
    proxy = FaultProxy(parts.hostname, parts.port, seed=seed)
    await proxy.start()
    through = f"mongodb://127.0.0.1:{proxy.port}{parts.path}?heartbeatFrequencyMS=500"

    async def with_faults(store, other):
        """They begin after both were opened: a start is slow enough when they come one by one."""
        proxy.drop_reply = LOST
        await one(store, other)

    try:
        await check(with_faults, lambda: Careful(open_mongo(through)))
    finally:
        await proxy.stop()
    return proxy.dropped


async def lossy_contract(url: str, seed: int, checks: Sequence = CHECKS) -> int:
    """All checks at once, each on a database of its own, since it is the driver's recovery that takes the time."""
    return sum(await asyncio.gather(*(lossy_check(f"{url}{one.__name__}", one, seed + number)
                                      for number, one in enumerate(checks))))


def prove(means: Means) -> Proof:
    server = means.server("mongo")
    seeds = range(means.seed, means.seed + (5 if means.long else 1))
    checks = CHECKS if means.long else CHECKS[:2]
    wrong = lost = 0
    for seed in seeds:
        for one in CHECKS:
            asyncio.run(check(one, lambda: open_mongo(f"{server.url}/c{uuid.uuid4().hex[:12]}")))
        try:
            lost += asyncio.run(lossy_contract(f"{server.url}/l{seed}", seed, checks))
        except AssertionError:
            wrong += 1
    return Proof("checks", len(seeds) * (len(CHECKS) + len(checks)), wrong, {"replies lost": lost})
