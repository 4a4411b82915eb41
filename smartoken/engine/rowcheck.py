"""The usage rows and the sum of them that the store keeps: R3, and what the rows tell of channels, R7 and R9."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from smartoken.domain.account import State, charged_p, empty
from smartoken.domain.money import show_p
from smartoken.domain.usage import NONE, REPORTED, UsageRecord
from smartoken.engine.finding import Page
from smartoken.ports import Store

PAGE = 1000
BEHIND_ALL = "~"               # rids are letters and digits


@dataclass
class Unpaid:
    """Attempts at one channel that no client paid for: `before` another one that gave the answer, and those of `free`
    calls, that cost their client nothing. `cost_p` of it all is known, for `known` of them."""

    before: int = 0
    free: int = 0
    known: int = 0
    cost_p: int = 0


@dataclass
class Rows:
    """What all rows told. `sums_p` is {account: Σ cost_p}; {channel: …}: `counted` are [not reported, all], `unpaid` what
    the operator bore; `whole`: every row could be read."""

    sums_p: dict[str, int] = field(default_factory=dict)
    counted: dict[str, list[int]] = field(default_factory=dict)
    unpaid: dict[str, Unpaid] = field(default_factory=dict)
    whole: bool = True

    def add(self, row: UsageRecord) -> None:
        self.sums_p[row.acct] = self.sums_p.get(row.acct, 0) + row.cost_p
        if row.channel and row.usage.source != NONE:
            share = self.counted.setdefault(row.channel, [0, 0])
            share[0] += row.usage.source != REPORTED
            share[1] += 1
        for attempt in row.attempts[:-1] if row.cost_p else row.attempts:      # the last one is what was paid for
            unpaid = self.unpaid.setdefault(attempt.channel, Unpaid())
            unpaid.before += bool(row.cost_p)
            unpaid.free += not row.cost_p
            unpaid.known += bool(attempt.cost_p)
            unpaid.cost_p += attempt.cost_p

    def tell(self, page: Page) -> None:
        """R7 and R9: figures, no differences. What an attempt cost is known when its upstream told a usage and the
        channel has costs; mostly it failed before that."""
        for channel, (guessed, all) in sorted(self.counted.items()):
            if guessed:
                page.tell("R7", channel, f"{guessed} of {all} requests were counted by us, not reported")
        for channel, unpaid in sorted(self.unpaid.items()):
            page.tell("R9", channel, f"{unpaid.before + unpaid.free} attempts were paid by no client: {unpaid.before} "
                                     f"before another one answered, {unpaid.free} of calls that cost nothing; they cost "
                                     f"{show_p(unpaid.cost_p)} by what is known of {unpaid.known}")


async def check_rows(store: Store, page: Page) -> Rows:
    """Look at every row. StoreAway."""
    rows = Rows()
    after, limit, newest = "", PAGE, await _newest(store)
    while after < newest:
        try:
            some = await store.usage(after=after, limit=limit)
        except msgspec.MsgspecError as error:
            if limit > 1:               # one of these: up to it one by one
                limit = 1
                continue
            page.differs("R3", after, f"the row after this one cannot be read: {error}; those behind it were not checked")
            rows.whole = False
            break
        if not some:
            break
        for row in some:
            page.rows += 1
            rows.add(row)
            if row.cost_p < 0 or sum(row.split.values()) != row.cost_p:
                page.differs("R3", row.rid, f"cost {row.cost_p} pUSD, but {sum(row.split.values())} were paid")
            rows.whole = row.rid > after
            if not rows.whole:          # a changed one must not lead in circles
                page.differs("R3", after, f"the row after this one names {row.rid}; those behind it were not checked")
                return rows
            after = row.rid
        await asyncio.sleep(0)
    return rows


async def _newest(store: Store, acct: str = "") -> str:
    """The last row to look at: on a busy gateway there is always one more."""
    try:
        return next((row.rid for row in await store.usage_page({"acct": acct} if acct else {}, limit=1)), "")
    except msgspec.MsgspecError:
        return BEHIND_ALL


async def rows_of(store: Store, acct: str) -> AsyncIterator[UsageRecord]:
    """An account's rows as far as the newest of now. StoreAway; msgspec.MsgspecError when one cannot be read."""
    after, newest = "", await _newest(store, acct)
    while after < newest and (rows := await store.usage(acct, after=after, limit=PAGE)):
        for row in rows:
            yield row
        if rows[-1].rid <= after:       # check_rows has told of it
            return
        after = rows[-1].rid


async def check_sum(store: Store, acct: str, sum_p: int, page: Page) -> None:
    """R3: the sum that the store keeps must be that of the rows, `sum_p` when they were looked at.

    While rows come in, one pass over them decides: they are only ever added and cost nothing less than 0, so what it
    finds lies between the sum before it and the sum after it.
    """
    if sum_p == await store.usage_cost_p(acct):
        return
    before_p = await store.usage_cost_p(acct)
    try:
        sum_p = 0
        async for row in rows_of(store, acct):
            sum_p += row.cost_p
            if row.acct != acct:
                page.differs("R3", row.rid, f"is kept as a row of {acct} and names {row.acct}")
    except msgspec.MsgspecError as error:
        page.differs("R3", acct, f"not all of its rows can be read: {error}")
        return
    after_p = await store.usage_cost_p(acct)
    if not before_p <= sum_p <= after_p:
        page.differs("R3", acct, f"rows cost {show_p(sum_p)}, the store's sum is {show_p(after_p)}")


async def check_charged(store: Store, acct: str, state: State, page: Page, patience_s: float) -> int:
    """R3; gives by how many pUSD more was used than charged. The rows are summed before the head is read again: what is
    charged may then only be ahead of them."""
    waited_s = 0.0
    while True:
        used_p = await store.usage_cost_p(acct)
        if used_p == charged_p(state) or waited_s >= patience_s:
            break
        await asyncio.sleep(0.5)
        waited_s += 0.5
        head = await store.head(acct)
        state = head.state if head else empty()
    if used_p != charged_p(state):
        page.differs("R3", acct, f"used {show_p(used_p)}, charged {show_p(charged_p(state))}")
    return used_p - charged_p(state)
