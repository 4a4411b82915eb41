"""T14: no order of events at any await of commit, lease, ship and reap breaks an entry, a balance or a sum.

Three processes with leases, reapers and a store that loses replies, on one account; each seed is one order in which all
coroutines go on (tests/engine/test_interleavings.py).
"""

import asyncio

from tests.chaos.proof import Means, Proof
from tests.engine.test_interleavings import one_order


def prove(means: Means) -> Proof:
    seeds = 10_000 if means.long else 100
    wrong = 0
    for seed in range(means.seed, means.seed + seeds):
        try:
            asyncio.run(one_order(seed))
        except AssertionError as error:
            wrong += 1
            print(f"seed {seed}: {error}")
    return Proof("orders of events", seeds, wrong)
