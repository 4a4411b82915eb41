"""Leases keep the store off the request path: a process reserves a slice of a balance and grants holds from memory.

`place`, `extend` and `settle` are plain functions: nothing can come between check and take. Everything that talks to
the ledger is a coroutine beside them: filling (one at a time per account), flushing the cumulative spend, closing.
It is one file because all of it moves the same few tables.
A lease has one owner for ever; its name is told to the journal before the ledger hears of it, so that whoever replays
the journal can close it.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from smartoken.domain import account as books
from smartoken.domain.account import MAIN, Declined
from smartoken.domain.catalog import Account
from smartoken.domain.money import P_PER_U
from smartoken.engine import beside, holds
from smartoken.engine.funds import HOLDS, LONGEST_S, Span, fill, why_not
from smartoken.engine.holds import LOW, Hold, Lease
from smartoken.engine.ledger import Ledger
from smartoken.errors import Refusal, StoreAway, refuse
from smartoken.ports import Clock

LASTS_MS = 600_000             # a lease expires so long after its last flush
RENEW_US = 300_000_000         # and is renewed when this much is left
IDLE_US, IDLE_POOR_US = 30_000_000, 1_000_000
LOOK_US = 5_000_000            # an idle lease looks so often whether the account has become poor
INTENT_US = 10_000_000         # a lease that was asked for and never seen is given up when nobody asked again so long
AGE_US = 3_600_000_000         # closed and reopened, so that its spend gets posted
TICK_S = 0.25
SIDE_BY_SIDE = 16              # commits at a time; more would only queue in the store
STRIDE = 500                   # leases looked at between two turns of the event loop

log = logging.getLogger(__name__)


class Cut(NamedTuple):
    """A lease at one moment: its cumulative spend then, and whether it is to be closed with it."""

    lease: Lease
    spent: dict[str, int]
    close: bool


class Filling(NamedTuple):
    """A fill under way: for which model, at least how much, and in which turn it was begun."""

    task: asyncio.Task
    slug: str
    least_p: int
    turn: int


class Leases:
    """All leases of this process. `node_boot` must be new with every start; `intent(lease, acct)` is the journal's."""

    def __init__(self, ledger: Ledger, clock: Clock, node_boot: str,
                 intent: Callable[[str, str], None] = lambda lease, acct: None):
        self._ledger, self._clock, self._name, self._intent = ledger, clock, node_boot, intent
        self._granting: dict[str, Lease] = {}            # account: the lease that grants
        self._open: dict[str, Lease] = {}                # id: every lease the ledger may have open
        self._intents: dict[str, Lease] = {}             # account: asked for, no reply yet
        self._fills: dict[str, Filling] = {}
        self._waiting_p: dict[str, int] = {}             # account: ceilings of those who wait for a fill
        self._tasks: set[asyncio.Task] = set()
        self._side = asyncio.Semaphore(SIDE_BY_SIDE)
        self._away = False                               # the store did not answer the last fill
        self._numbers = itertools.count(1)
        self._turns = itertools.count(1)                 # orders those who wait and the fills they wait for

    # -- the request path: synchronous

    def place(self, account: Account, slug: str, ceiling_p: int, span: Callable[[], Span] | None = None,
              last: bool = False) -> Hold | None:
        """Set `ceiling_p` pUSD aside, or None: `await hold(...)` instead. A poor account with a `span` holds that in
        full; what there is of it, with `last`, once the ledger has no more."""
        lease = self._granting.get(account.id)
        if lease is None:
            return None
        now_us = self._clock.mono_us()
        if now_us >= lease.stop_us:
            return None
        spanned = lease.poor and span is not None
        if spanned:
            ceiling_p = self._affordable_p(lease, slug, span(), last)
            if ceiling_p < 0:
                return None
        if lease.plain:
            left_p = lease.free[MAIN] - ceiling_p
            if left_p < 0:
                return None
            lease.free[MAIN] = left_p
            parts = ((MAIN, ceiling_p),)
        else:
            lease.slug = slug
            order = lease.order(slug, self._clock.now_ms())
            parts = lease.parts(order, ceiling_p)
            if parts is None:
                return None
            for name, part_p in parts:
                lease.free[name] -= part_p
            left_p = lease.left_p(order)
        lease.holds += 1
        lease.used_us = now_us
        if left_p < lease.low_p and not lease.filling:
            self._refill(lease)
        return Hold(lease, slug, ceiling_p, parts, spanned)

    def _affordable_p(self, lease: Lease, slug: str, span: Span, last: bool) -> int:
        """How much of a span a poor account's lease can hold; -1 when the ledger should be asked for more first."""
        there_p = lease.left_p((MAIN,) if lease.plain else lease.order(slug, self._clock.now_ms()))
        if there_p >= span.full_p:
            return span.full_p
        return there_p if last and there_p >= span.least_p else -1

    def _left_p(self, lease: Lease) -> int:
        """What calls like the last one can still be granted."""
        return lease.left_p((MAIN,) if lease.plain else lease.order(lease.slug, self._clock.now_ms()))

    def extend(self, hold: Hold, more_p: int) -> bool:
        """Set `more_p` pUSD more aside for a running request; False when the lease has no room."""
        lease = hold.lease
        if hold.settled or not lease.state:
            return False
        order = (MAIN,) if lease.plain else lease.order(hold.slug, self._clock.now_ms())
        parts = lease.parts(order, more_p)
        if parts is None:
            if not lease.filling and lease is self._granting.get(lease.acct):
                self._refill(lease)
            return False
        for name, part_p in parts:
            lease.free[name] -= part_p
        hold.parts = (*hold.parts, *parts)
        hold.amount_p += more_p
        return True

    def settle(self, hold: Hold, cost_p: int) -> dict[str, int]:
        """Replace the hold by what it cost, exactly once (RuntimeError); gives which pockets paid: {pocket: pUSD}."""
        hold.lease.used_us = self._clock.mono_us()
        return holds.settle(hold, cost_p)

    # -- getting money

    async def hold(self, account: Account, slug: str, ceiling_p: int,
                   span: Callable[[], Span] | None = None) -> Hold:
        """place, waiting for a lease as often as it takes. Raises what `ready` raises."""
        hold, since = self.place(account, slug, ceiling_p, span), next(self._turns)
        while hold is None:
            await self.ready(account, slug, ceiling_p, span() if span else None, since)
            hold = self.place(account, slug, ceiling_p, span, last=True)
        return hold

    async def stretch(self, hold: Hold, account: Account, more_p: int, least_p: int) -> None:
        """extend by `more_p`, or by `least_p` where there is no more, waiting for the hold's own lease to grow as often
        as it takes (that one may grant nothing new any more), or until it is settled. Raises what `ready` raises."""
        span = Span(least_p, more_p)
        while not (hold.settled or self.extend(hold, more_p)):
            await self.ready(account, hold.slug, more_p, span, lease=hold.lease)
            if self.extend(hold, more_p) or self.extend(hold, least_p):
                return

    async def ready(self, account: Account, slug: str, ceiling_p: int, span: Span | None = None,
                    since: int = 2**62, lease: Lease | None = None) -> None:
        """Get a lease with room, one call per account at a time. Then `place` again: another may have been quicker.

        Refusal 402 (insufficient_balance, or in_flight_budget_exhausted with Retry-After), 403 when only vouchers for
        other models are left, 503 when the store is away. `since` is the turn in which the caller came: a refusal of
        no more than it needs, asked for after that, is its refusal too (else ten thousand would each ask the ledger).
        `lease`: that one is to have the room, although another may grant by now.
        """
        acct = account.id
        least_p = span.least_p if span else ceiling_p
        running = self._fills.get(acct)
        if self._away and self._fills:
            raise _away()              # somebody is finding out whether the store is back; nobody else waits for that
        self._waiting_p[acct] = self._waiting_p.get(acct, 0) + ceiling_p
        try:
            if running is not None:
                # Its refusal was about its own need, and perhaps from before we came; but a store that is away is away
                # for us too.
                await asyncio.wait({running.task})
                failed = None if running.task.cancelled() else running.task.exception()
                away = isinstance(failed, StoreAway)
                if (isinstance(failed, Declined) and running.slug == slug and running.turn > since
                        and running.least_p <= least_p):
                    raise Declined(failed.code, str(failed))
            else:
                task = asyncio.create_task(self._fill(account, slug, ceiling_p, span, lease))
                self._fills[acct] = Filling(task, slug, least_p, next(self._turns))
                task.add_done_callback(lambda done: self._filled(acct, done))
                # Shielded: who asked may go away; what was asked of the ledger must be known to the end.
                try:
                    await asyncio.shield(task)
                    away = False
                except StoreAway:
                    away = True
        except Declined:
            head = self._ledger.remembered(acct)
            raise why_not(head.state if head else books.empty(), slug, least_p, self._clock.now_ms(),
                          account.overdraft_u, self._open) from None
        finally:
            left_p = self._waiting_p.pop(acct, ceiling_p) - ceiling_p
            if left_p > 0:
                self._waiting_p[acct] = left_p
        if away:
            raise _away()

    def _filled(self, acct: str, task: asyncio.Task) -> None:
        self._fills.pop(acct, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; if all of them left, it was said to nobody and that is right

    async def _fill(self, account: Account, slug: str, one_p: int, span: Span | None, given: Lease | None = None) -> None:
        """Open a lease or grow the one there is (or the `given` one), so that a hold of `one_p` fits."""
        acct, now_us, now_ms = account.id, self._clock.mono_us(), self._clock.now_ms()
        lease = given or self._granting.get(acct)
        fresh = lease is None
        if lease is None:
            lease = self._intents.get(acct)
            if lease is None:
                lease = Lease(f"{self._name}-{next(self._numbers)}", acct, account.overdraft_u, now_us)
                self._intent(lease.id, acct)
                self._intents[acct] = self._open[lease.id] = lease
        lease.floor_u = account.overdraft_u
        op = f"lease:{lease.id}" if fresh else f"grow:{lease.id}:{lease.grows}"

        def change(state):
            amt, lease.poor = fill(lease, state, slug, now_ms, one_p, self._waiting_p.get(acct, 0), span)
            delta = {"lease": lease.id, "amt": amt, "exp_ms": now_ms + LASTS_MS, "floor_u": lease.floor_u}
            if fresh:
                delta["node"] = self._ledger.node
            return books.change("lease" if fresh else "grow", **delta)(state)

        try:
            entry = await self._ledger.commit(acct, op, "lease" if fresh else "grow", change)
        except StoreAway:
            self._away = True
            raise
        except Declined as declined:
            if fresh:
                # The newest state declined it and its op is nowhere: this lease never came to be.
                del self._intents[acct], self._open[lease.id]
            elif declined.code == "gone":
                # The reaper closed it while we were cut off. It takes no more holds; its spend is settled late.
                self._retire(lease)
                if given is None:
                    return await self._fill(account, slug, one_p, span)
            raise
        if fresh:
            del self._intents[acct]
            self._granting[acct] = lease
        else:
            lease.grows += 1
        lease.used_us = now_us
        if not lease.adopt(entry.state, entry.seq, now_ms, now_us):
            self._retire(lease)
        lease.filled(sum(entry.delta["amt"].values()))
        self._away = False

    def _forsake(self, lease: Lease) -> None:
        """Give up a lease of which nobody knows whether the ledger has it. Whoever wants money meanwhile waits for that;
        should it come to be all the same, late, the reaper closes it, for then nobody `knows` it."""
        lease.used_us = self._clock.mono_us()
        task = beside.start(self._forsake_now(lease))
        self._fills[lease.acct] = Filling(task, "", 0, next(self._turns))
        task.add_done_callback(lambda done: self._filled(lease.acct, done))

    async def _forsake_now(self, lease: Lease) -> None:
        at_ms = self._clock.now_ms()
        with contextlib.suppress(Declined):      # the ledger never had it
            await self._ledger.commit(lease.acct, f"close:{lease.id}", "close",
                                      books.change("close", lease=lease.id, spent_p={}, at_ms=at_ms))
        self._away = False
        if self._intents.get(lease.acct) is lease:
            del self._intents[lease.acct], self._open[lease.id]

    def _retire(self, lease: Lease) -> None:
        """No more holds from it; it is closed when the last one has settled and been shipped."""
        lease.closing = True
        if self._granting.get(lease.acct) is lease:
            del self._granting[lease.acct]

    def _refill(self, lease: Lease) -> None:
        lease.filling = True
        account = Account(lease.acct, "", overdraft_u=lease.floor_u)
        self._start(self._refill_now(lease, account))

    async def _refill_now(self, lease: Lease, account: Account) -> None:
        try:
            if lease.acct not in self._fills and self._granting.get(lease.acct) is lease:
                need_p = self._left_p(lease) + max(P_PER_U, lease.filled_p // HOLDS)
                await self.ready(account, lease.slug, need_p)
        except Exception as error:
            # Only ahead of need: whoever needs it in earnest will ask, and be told why not.
            lease.low_p, lease.filled_rate_u = 0, lease.rate_u
            log.debug("lease %s was not refilled: %s", lease.id, error)
        finally:
            lease.filling = False

    # -- telling the ledger

    def spent(self) -> dict[str, tuple[str, dict[str, int]]]:
        """{lease: (account, cumulative spend)} of all that the ledger may have open: the head of a journal segment."""
        return {id: (lease.acct, dict(lease.spent)) for id, lease in self._open.items()}

    def cut(self, *, everything: bool = False) -> list[Cut]:
        """What must be told to the ledger, as of now: changed spend, renewals, closings. Then `flush` it.

        Taken in the same breath as a journal rotation, so that it covers exactly the records before it.
        """
        now_us = self._clock.mono_us()
        cuts = []
        for lease in list(self._open.values()):
            if lease.acct in self._intents and self._intents[lease.acct] is lease:
                continue
            if everything or now_us - lease.born_us > AGE_US or self._idle(lease, now_us):
                self._retire(lease)
            close = lease.closing and not lease.holds
            if close or lease.spent != lease.flushed or self._ages(lease, now_us):
                cuts.append(Cut(lease, dict(lease.spent), close))
        return cuts

    def _idle(self, lease: Lease, now_us: int) -> bool:
        return not lease.holds and not lease.filling and lease.acct not in self._fills and (
            now_us - lease.used_us >= (IDLE_POOR_US if lease.poor else IDLE_US))

    def _ages(self, lease: Lease, now_us: int) -> bool:
        return lease.stop_us - now_us < RENEW_US

    async def flush(self, cuts: Iterable[Cut]) -> None:
        """Tell the ledger. StoreAway: some were not told; the same cuts (or newer ones) may be told again."""
        outcomes = await asyncio.gather(*(self._tell(cut) for cut in cuts), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _tell(self, cut: Cut) -> None:
        lease = cut.lease
        async with lease.telling, self._side:
            while lease.id in self._open:
                now_ms, now_us = self._clock.now_ms(), self._clock.mono_us()
                delta = {"lease": lease.id, "spent_p": dict(cut.spent), "at_ms": now_ms}
                kind, op = "close", f"close:{lease.id}"
                if not cut.close:
                    delta["exp_ms"] = now_ms + LASTS_MS
                    kind, op = "flush", f"flush:{lease.id}:{lease.flushes}"
                try:
                    entry = await self._ledger.commit(lease.acct, op, kind, books.change(kind, **delta))
                except Declined as declined:
                    log.error("lease %s of %s is gone from the ledger, uncollected %s pUSD: %s", lease.id, lease.acct,
                              {name: p - lease.flushed.get(name, 0) for name, p in cut.spent.items()}, declined)
                    self._retire(lease)
                    self._open.pop(lease.id, None)
                    return
                if cut.close:
                    self._open.pop(lease.id, None)
                    return
                lease.flushes += 1
                self._away = False
                if not lease.poor:         # a refill that failed while the store was away is due again
                    lease.low_p = max(lease.low_p, lease.filled_p * LOW // 100)
                # The answer to a repeated op may be an older flush than the one we asked for: then once more.
                lease.flushed = dict(entry.delta["spent_p"])
                if not lease.adopt(entry.state, entry.seq, now_ms, now_us):
                    self._retire(lease)
                if all(lease.flushed.get(name, 0) >= p for name, p in cut.spent.items()):
                    return

    # -- time passing

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """Measure rates, renew, and close what is idle and has nothing that must be shipped before."""
        now_us = self._clock.mono_us()
        quiet = []
        for number, lease in enumerate(list(self._open.values())):
            if number % STRIDE == STRIDE - 1:
                await asyncio.sleep(0)
            spent_p = sum(lease.spent.values())
            per_s = int((spent_p - lease.rated_p) / TICK_S / P_PER_U)
            lease.rate_u, lease.rated_p = (lease.rate_u * 7 + per_s) // 8, spent_p
            if (lease.rate_u * 2 > lease.filled_rate_u * 3 and not lease.poor
                    and self._left_p(lease) < lease.rate_u * LONGEST_S * P_PER_U * LOW // 100):
                lease.low_p = 2**62    # it was filled for a much slower account: with the next hold it asks for more
            if self._intents.get(lease.acct) is lease:
                if now_us - lease.used_us > INTENT_US and lease.acct not in self._fills:
                    self._forsake(lease)
                continue
            if lease.spent != lease.flushed:
                continue
            idle = self._idle(lease, now_us)
            if idle or (lease.closing and not lease.holds):
                self._retire(lease)
                quiet.append(Cut(lease, dict(lease.spent), True))
            elif (not lease.holds and not lease.poor and now_us - lease.used_us >= IDLE_POOR_US
                  and now_us - lease.looked_us >= LOOK_US):
                lease.looked_us = now_us
                self._start(self._look(lease))
        if quiet:
            self._start(self._flush_quietly(quiet))

    async def _look(self, lease: Lease) -> None:
        """Has the account become poor while this lease lay idle? Then give it back soon: others may need it."""
        try:
            head = await self._ledger.head(lease.acct)
        except StoreAway:
            return  # then it is no time to give anything back
        free_u = sum(pocket["u"] for pocket in head.state["pockets"].values()) if head else 0
        lease.poor = free_u < 8 * sum(lease.amt.values())

    async def _flush_quietly(self, cuts: list[Cut]) -> None:
        try:
            await self.flush(cuts)
        except StoreAway as away:
            log.warning("idle leases stay open: %s", away)  # `closing` stands: a later tick tries again

    def _start(self, work) -> None:
        task = beside.start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the end

    def knows(self, id: str) -> bool:
        """False for a lease of this process's name that it never got: the reaper may close it."""
        return not id.startswith(f"{self._name}-") or id in self._open

    @property
    def held(self) -> int:
        """Holds not yet settled."""
        return sum(lease.holds for lease in self._open.values())

    async def close_all(self) -> None:
        """Give everything back: after the last request has settled and been shipped. StoreAway: the journal will."""
        while pending := [*self._tasks, *(filling.task for filling in self._fills.values())]:
            await asyncio.gather(*pending, return_exceptions=True)
        for lease in list(self._intents.values()):
            await self._forsake_now(lease)
        await self.flush(self.cut(everything=True))


def _away() -> Refusal:
    return refuse("upstream", "The account's balance cannot be read at the moment.", code="store_away", retry_after_s=2)
