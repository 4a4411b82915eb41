"""What nobody else will tidy: leases whose owner is gone, and vouchers that have expired.

A process shows that it lives by a heartbeat in the collection `nodes`. A lease is taken back when it expired more than
GRACE ago and its owner's heart has stopped, or when its owner lives but never got it (a reply was lost). What was
flushed is charged; an owner that comes back after all settles the difference to the lease's tombstone.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from smartoken.domain.account import MAIN, Declined, change
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.errors import StoreAway
from smartoken.ports import Clock, Store

EVERY_S = 30
SHARE = 20                     # of the time goes to sweeps at most 1/SHARE, however many accounts there are
GRACE_MS = 5 * 60 * 1000
PAGE = 500

log = logging.getLogger(__name__)


class Reaper:
    """Of one process; any number of them may run. `name` is the node_boot of its leases, `also` what
    else is to be tidied each time."""

    def __init__(self, store: Store, ledger: Ledger, leases: Leases, name: str, clock: Clock,
                 also: Sequence[Callable[[], Awaitable[Any]]] = ()):
        self._store, self._ledger, self._leases, self._name, self._clock = store, ledger, leases, name, clock
        self._also = also

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            begun_us = self._clock.mono_us()
            await self.sweep_all()
            took_s = (self._clock.mono_us() - begun_us) / 1_000_000
            await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2) + SHARE * took_s)

    async def beats(self) -> None:
        """Beat until cancelled; beside `run`, since a sweep may take longer than others wait for a beat."""
        while True:
            try:
                await self.beat()
            except StoreAway as away:
                log.warning("no beat: %s", away)
            await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2))

    async def sweep_all(self) -> None:
        """Everything that is to be tidied; what the store does not let be done keeps nothing else from it."""
        for tidy in (self.sweep, *self._also):
            try:
                await tidy()
            except StoreAway as away:
                log.warning("no sweep: %s", away)

    async def beat(self) -> None:
        """Say that this process lives."""
        node, at_ms = self._ledger.node, self._clock.now_ms()
        there = await self._store.get("nodes", node)
        if there is None:
            await self._store.insert("nodes", {"_id": node, "rev": 1, "name": self._name, "at_ms": at_ms})
        else:
            rev = there["rev"]
            doc = {**there, "rev": rev + 1, "name": self._name, "at_ms": at_ms}
            await self._store.replace("nodes", doc, rev)

    async def sweep(self) -> list[str]:
        """Take back what nobody owns and expire vouchers; gives the leases that were closed."""
        alive = await self._alive()
        reaped: list[str] = []
        after = ""
        while chains := await self._store.chains(after=after, limit=PAGE):
            after = chains[-1]
            for acct in chains:
                if not acct.startswith("~"):
                    reaped += await self._sweep_account(acct, alive)
        return reaped

    async def _alive(self) -> set[str]:
        """Names of the processes whose heart beats."""
        names, after = set(), ""
        while nodes := await self._store.find("nodes", after=after, limit=PAGE):
            after = nodes[-1]["_id"]
            names |= {node["name"] for node in nodes if node["at_ms"] + GRACE_MS > self._clock.now_ms()}
        return names

    async def _sweep_account(self, acct: str, alive: set[str]) -> list[str]:
        entry = await self._store.head(acct)
        if entry is None:
            return []
        now_ms = self._clock.now_ms()
        reaped = []
        for id, lease in entry.state["leases"].items():
            # A lease's name is its owner's, a dash and a number.
            owned = id.rpartition("-")[0] in alive and self._leases.knows(id)
            if lease["exp_ms"] + GRACE_MS <= now_ms and not owned and await self._try(
                    acct, f"reap:{id}", "reap", lease=id, at_ms=now_ms):
                log.warning("lease %s of %s was taken back, its owner %s is gone", id, acct, lease["node"])
                reaped.append(id)
        for name, pocket in entry.state["pockets"].items():
            if name != MAIN and 0 < pocket["exp_ms"] <= now_ms:
                await self._try(acct, f"expire:{name}", "expire", pocket=name, at_ms=now_ms)
        return reaped

    async def _try(self, acct: str, op: str, kind: str, **delta) -> bool:
        try:
            entry = await self._ledger.commit(acct, op, kind, change(kind, **delta))
        except Declined:
            return False  # somebody else was quicker, or its owner renewed it after all
        return entry.node == self._ledger.node
