"""T23: reconcile finds every corruption: of a usage row, of an entry, of a balance, of what the store sums up.

Sound books are made once; each time one random field of one random row or entry is changed, missing or of a wrong type,
or one is taken out, behind the store's back (tests/engine/test_reconcile.py), and reconcile must say so, not die of it.
Sound books must stay without a finding.
"""

import asyncio
import random

from smartoken.engine.reconcile import reconcile
from smartoken.testing.lossy import HeldClock, sqlite_in
from tests.chaos.proof import Means, Proof
from tests.engine.test_reconcile import corrupt, fill


async def _prove(means: Means) -> Proof:
    mutations, clock, missed = 1000 if means.long else 60, HeldClock(), 0
    kinds: dict[str, int] = {}
    file = means.folder / "store.db"
    async with sqlite_in(means.folder) as store:
        await fill(store, clock)
        missed += len((await reconcile(store, clock)).differences)
    sound = file.read_bytes()
    for number in range(mutations):
        file.write_bytes(sound)
        what = corrupt(file, random.Random(means.seed * 1_000_003 + number))
        kinds[what[0]] = kinds.get(what[0], 0) + 1
        async with sqlite_in(means.folder) as store:
            if not (await reconcile(store, clock)).differences:
                missed += 1
                print(f"not found: {what}")
    return Proof("corruptions", mutations, missed, kinds)


def prove(means: Means) -> Proof:
    return asyncio.run(_prove(means))
