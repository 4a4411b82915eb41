"""The one way money moves: compare-and-append to an account's chain. No request path code comes here; leases do.

An entry is inserted under (account, seq) and (account, op). Whoever loses a race for a seq reads the head again and
tries once more; whoever gets no reply looks for its op before it does anything else. So a change happens once or not at
all, whatever is lost on the way, on any store that can insert against a unique key.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from smartoken.domain.account import Declined, State, change, charged_p, empty
from smartoken.domain.money import show_u
from smartoken.engine.chain import follow
from smartoken.errors import StoreAway
from smartoken.ports import APPENDED, OP_TAKEN, Clock, Entry, Store

TRIES = 30                     # races lost in a row before we say that the store is away
LOST = 3                       # replies lost in a row before we do
HEADS = 20_000                 # accounts whose head is remembered
FRESH_US = 3600 * 1_000_000    # an older head might be one that a sweep has since pruned, its seq free again

Change = Callable[[State], tuple[State, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's money now, as the ledger has it. All `_u` in µUSD; `charged_p` is all it ever spent, in pUSD.

    `available_u` can be given to new leases, all pockets together; `leased_u` is set aside for processes and not yet
    known to be spent; `held_u` waits for long jobs. `balance_u` is their sum: what the account has left.
    """

    available_u: int
    leased_u: int
    held_u: int
    charged_p: int
    pockets: dict[str, dict[str, Any]] = field(default_factory=dict)
    seq: int = 0

    @property
    def balance_u(self) -> int:
        return self.available_u + self.leased_u + self.held_u


def balance_of(entry: Entry | None) -> Balance:
    """The Balance that an entry's state amounts to; None is an account that never had money."""
    state = entry.state if entry else empty()
    spent_p = sum(sum(lease["spent_p"].values()) for lease in state["leases"].values())
    leased_u = sum(sum(lease["amt"].values()) for lease in state["leases"].values()) - -(-spent_p // 1_000_000)
    return Balance(sum(pocket["u"] for pocket in state["pockets"].values()), leased_u,
                   sum(sum(job["amt"].values()) for job in state["pend"].values()), charged_p(state),
                   state["pockets"], entry.seq if entry else 0)


class Ledger:
    """The chains of all accounts. Safe to use from any number of processes on one store; one object per process."""

    def __init__(self, store: Store, node: str, clock: Clock):
        self.store, self.node, self.clock = store, node, clock
        self._heads: OrderedDict[str, tuple[Entry, int]] = OrderedDict()
        # Commits of one process to one account queue here instead of colliding in the store.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def commit(self, acct: str, op: str, kind: str, change: Change) -> Entry:
        """Append the change under `op`, or give the entry that is already there under it.

        `change(state)` gives (state, delta) and may be called several times; its Declined comes out only when the
        newest state declines it. StoreAway: it may or may not have happened; commit the same op again to know.
        """
        lock = self._locks.get(acct)
        if lock is None:
            self._locks[acct] = lock = asyncio.Lock()
        async with lock:
            return await self._commit(acct, op, kind, change)

    async def _commit(self, acct: str, op: str, kind: str, change: Change) -> Entry:
        head, fresh = self.remembered(acct), False
        doubtful, lost = False, 0
        for attempt in range(TRIES):
            try:
                if head is None and not fresh:
                    head, fresh = await self.head(acct), True
                if doubtful:
                    there = await self.store.entry_by_op(acct, op)
                    if there is not None:
                        return there
                    doubtful = False
                try:
                    state, delta = change(head.state if head else empty())
                except Declined:
                    # Perhaps because it was done before, or because our head is old.
                    there = await self.store.entry_by_op(acct, op)
                    if there is not None:
                        return there
                    if fresh:
                        raise
                    head = None
                    continue
                entry = follow(head, chain=acct, op=op, kind=kind, at_ms=self.clock.now_ms(), node=self.node,
                               delta=delta, state=state)
                outcome = await self.store.append(entry)
            except StoreAway:
                lost += 1
                if lost >= LOST:
                    self.forget(acct)
                    raise
                head, fresh, doubtful = None, False, True
                await asyncio.sleep(random.uniform(0.001, 0.02) * lost)
                continue
            if outcome == APPENDED:
                self._remember(entry)
                return entry
            # OP_TAKEN: done before. SEQ_TAKEN: somebody was quicker. Either way our head is old.
            head, fresh, doubtful, lost = None, False, outcome == OP_TAKEN, 0
            if attempt:
                await asyncio.sleep(random.uniform(0, 0.002) * attempt)
        raise StoreAway(f"{op}: {TRIES} attempts to append to {acct} all lost the race")

    # -- heads

    def remembered(self, acct: str) -> Entry | None:
        """The last head this process saw, if it is fresh enough to append to. It may be stale: an insert will tell."""
        known = self._heads.get(acct)
        return known[0] if known and self.clock.mono_us() - known[1] < FRESH_US else None

    def forget(self, acct: str) -> None:
        self._heads.pop(acct, None)

    def _remember(self, entry: Entry) -> None:
        known = self._heads.get(entry.chain)
        if known is None or known[0].seq <= entry.seq:
            self._heads[entry.chain] = entry, self.clock.mono_us()
            self._heads.move_to_end(entry.chain)
            if len(self._heads) > HEADS:
                self._heads.popitem(last=False)

    async def head(self, acct: str) -> Entry | None:
        """The newest entry, from the store. StoreAway."""
        entry = await self.store.head(acct)
        if entry is not None:
            self._remember(entry)
        return entry

    # -- for people

    async def balance(self, acct: str) -> Balance:
        """From the store, now. StoreAway."""
        return balance_of(await self.head(acct))

    async def topup(self, acct: str, amount_u: int, op: str, note: str = "", actor: str = "") -> Entry:
        """Credit µUSD, once per `op` (the cause, e.g. a payment's event id): the entry there is under it. Whoever asks
        should see that it is the `same` amount. Declined on anything but an amount."""
        return await self.commit(acct, f"topup:{op}", "topup", change("topup", u=amount_u, note=note, actor=actor))

    async def adjust(self, acct: str, amount_u: int, op: str, note: str = "", *, actor: str = "",
                     below_zero: bool = False) -> Entry:
        """Add or take µUSD by a person's decision, once per `op`, as `topup`; only with `below_zero` past an empty
        balance. Declined: funds, amount."""
        delta = {"u": amount_u, "note": note, "actor": actor, "below_zero": below_zero}
        return await self.commit(acct, f"adj:{op}", "adjust", change("adjust", **delta))


def same(entry: Entry, amount_u: int) -> Entry:
    """The entry, if it is about that amount; Declined('reused') when its op stands for another."""
    if entry.delta["u"] != amount_u:
        raise Declined("reused", f"{show_u(entry.delta['u'])} were booked under this name before; another amount needs "
                                 "another name")
    return entry
