"""Ledgers do not grow for ever: old entries that only say how much of a lease was used go, everything else stays.

Of each run of neighbours of kinds PRUNED older than KEEP_MS all but the last are taken away. Before that an entry of
kind `prune` says which: `runs`, a list of [first seq, last seq, hash of the last]. So a chain shows what it lost and
when, the entry after a gap must name that hash, and the states on both sides are whole: `explained` checks it.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from smartoken.domain.account import change
from smartoken.engine.ledger import Ledger
from smartoken.ports import Clock, Entry, Store

PRUNED = frozenset({"flush", "grow"})
KEEP_MS = 7 * 24 * 3600 * 1000       # as long as a reaped lease's tombstone: nobody settles by an older entry
PAGE = 1000
RUNS = 100                           # in one entry
ACCOUNTS = 50                        # looked at between two sleeps of whoever tidies

log = logging.getLogger(__name__)


class Pruner:
    """Of one process; any number of them may run: what two want to prune they record under the same op."""

    def __init__(self, store: Store, ledger: Ledger, clock: Clock):
        self._store, self._ledger, self._clock = store, ledger, clock
        self._after = ""

    async def some(self) -> int:
        """Prune the next few accounts in line, over and over; gives the number of entries taken away. StoreAway."""
        chains = await self._store.chains(after=self._after, limit=ACCOUNTS)
        self._after = chains[-1] if chains else ""
        return sum([await self.prune(acct) for acct in chains if not acct.startswith("~")])

    async def prune(self, acct: str) -> int:
        """All that may go of one account; gives the number of entries."""
        gone = after = 0
        while True:
            links = await self._store.entries(acct, after=after, limit=PAGE)
            old = [link for link in links if link.at_ms < self._clock.now_ms() - KEEP_MS]
            runs = runs_of(old)
            for at in range(0, len(runs), RUNS):
                gone += await self._take(acct, old, runs[at:at + RUNS])
            if len(old) < PAGE:
                return gone
            after = old[-1].seq

    async def _take(self, acct: str, links: Sequence[Entry], runs: list[list[Any]]) -> int:
        first, last = runs[0][0], runs[-1][1]
        told = await self._ledger.commit(acct, f"prune:{first}-{last}", "prune", change("prune", runs=runs))
        # As it was told first: whoever did may have died in the middle, and these runs be what was left of those.
        seqs = [link.seq for link in links if any(start <= link.seq <= end for start, end, _ in told.delta["runs"])]
        await self._store.remove_entries(acct, seqs)
        log.info("%s: %s entries of %s-%s were pruned", acct, len(seqs), first, last)
        return len(seqs)


def runs_of(links: Sequence[Entry]) -> list[list[Any]]:
    """[first seq, last seq, hash of the last] of each run that may go. A run's last entry stays, and so does the head."""
    runs: list[list[Any]] = []
    begun: list[Entry] = []
    for link, following in zip(links, [*links[1:], None], strict=False):
        if link.kind in PRUNED:
            begun.append(link)
        if begun and (following is None or following.kind not in PRUNED or following.seq != link.seq + 1):
            if len(begun) > 1:
                runs.append([begun[0].seq, begun[-2].seq, begun[-2].hash])
            begun = []
    return runs


def explained(before: Entry, after: Entry, runs: Iterable[Sequence[Any]]) -> bool:
    """Whether `runs` account for every entry missing between these two, and the later one names the last one's hash.

    One that is itself in a run was to go as well, had the pruner not died: it may be whatever it is.
    """
    known, at, hash = list(runs), before.seq + 1, ""
    doomed = any(run[0] <= after.seq <= run[1] for run in known)
    while at < after.seq:
        fitting = [run for run in known if run[0] <= at <= run[1] and (doomed or run[1] < after.seq)]
        if not fitting:
            return False
        _, end, hash = max(fitting, key=lambda run: run[1])
        at = end + 1
    return doomed or hash == after.prev_hash
