"""Do the books agree with themselves and with what was used? Read-only; every difference becomes a Finding.

| rule | what must hold                                                                                      |
|------|-----------------------------------------------------------------------------------------------------|
| R1   | each chain is gapless, its hashes link, and replaying its deltas gives its states                     |
| R2   | I1 holds in every state                                                                               |
| R3   | Σ cost_p of usage = posted + residue + flushed spend of open leases; each row's split sums to its cost |
| R5   | no lease is long expired, no job pending for more than a day                                          |
| R6   | balances below zero: shown; a voucher below zero is a difference                                      |
| R7   | share of usage that upstreams did not report, per channel (shown)                                     |
| R8   | leases taken back from dead owners and not yet settled by them (shown)                                |
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from smartoken.domain.account import MAIN, Declined, State, apply, charged_p, empty, imbalance_u
from smartoken.domain.money import show_p, show_u
from smartoken.domain.usage import NONE, REPORTED, UsageRecord
from smartoken.engine.chain import hash_of
from smartoken.engine.prune import PRUNED, explained
from smartoken.ports import Clock, Entry, Store

PAGE = 1000
LEASE_LATE_MS = 15 * 60 * 1000
JOB_LATE_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """`wrong` is a difference; otherwise it is only something to know."""

    rule: str
    where: str
    text: str
    wrong: bool = True


@dataclass
class Page:
    """The outcome. `seal` is a hash over the heads of all chains: two pages with one seal speak of the same books."""

    accounts: int = 0
    entries: int = 0
    rows: int = 0
    charged_p: int = 0
    findings: list[Finding] = field(default_factory=list)
    seal: str = ""

    @property
    def differences(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.wrong]


async def reconcile(store: Store, clock: Clock, *, patience_s: float = 0) -> Page:
    """Check every account. While requests are being shipped, a row may be stored a moment before its lease is flushed:
    an account that differs in R3 is looked at again for `patience_s` before it counts as different."""
    page, seal = Page(), hashlib.sha256()
    accts = {acct async for acct in _chains(store)}
    owing = {doc["_id"]: doc.get("overdraft_u", 0) async for doc in _accounts(store)}
    shares: dict[str, list[int]] = {}
    sums_p = await _rows(store, page, shares)
    for acct in sorted(accts | set(owing) | set(sums_p)):
        page.accounts += 1
        head = await _chain(store, acct, page)
        state = head.state if head else empty()
        seal.update(f"{acct} {head.hash if head else ''}\n".encode())
        await _column(store, acct, sums_p.get(acct, 0), page)
        await _usage(store, acct, state, page, patience_s)
        _late(acct, state, clock.now_ms(), page)
        _below_zero(acct, state, owing.get(acct, 0), page)
        page.charged_p += charged_p(state)
    for channel, (guessed, rows) in sorted(shares.items()):
        if guessed:
            text = f"{guessed} of {rows} requests were counted by us, not reported"
            page.findings.append(Finding("R7", channel, text, wrong=False))
    page.seal = seal.hexdigest()
    return page


async def _chains(store: Store) -> AsyncIterator[str]:
    after = ""
    while names := await store.chains(after=after, limit=PAGE):
        after = names[-1]
        for name in names:
            if not name.startswith("~"):
                yield name


async def _accounts(store: Store) -> AsyncIterator[dict]:
    after = ""
    while docs := await store.find("accounts", after=after, limit=PAGE):
        after = docs[-1]["_id"]
        for doc in docs:
            yield doc


async def _chain(store: Store, acct: str, page: Page) -> Entry | None:
    """R1 and R2 along the chain; gives its head."""
    head: Entry | None = None
    state: State = empty()
    gaps: list[tuple[Entry, Entry]] = []
    runs: list[list] = []
    after = 0
    while links := await store.entries(acct, after=after, limit=PAGE):
        # Not by what the entries say of themselves: a changed one must not lead in circles.
        after = max(after + len(links), links[-1].seq)
        for link in links:
            where = f"{acct}:{link.seq}"
            page.entries += 1
            seq, prev_hash = (head.seq + 1, head.hash) if head else (1, "")
            gap = head is not None and link.seq > seq
            if gap:                     # a later entry may say that it was pruned
                gaps.append((head, link))
            elif link.seq != seq:
                page.findings.append(Finding("R1", where, f"follows {seq - 1}: entries are missing"))
            if (link.prev_hash != prev_hash and not gap) or hash_of(link) != link.hash:
                page.findings.append(Finding("R1", where, "its hash does not fit: it or the one before changed"))
            try:
                if link.kind == "prune":
                    runs += link.delta["runs"]
                same = gap or apply(state, link.kind, link.delta) == link.state
            except (Declined, AssertionError, KeyError, TypeError, AttributeError):
                same = False  # whatever a changed entry makes of the arithmetic is a difference
            if not same:
                page.findings.append(Finding("R1", where, f"{link.kind} does not lead from the last state to this"))
            try:
                wrong_u = imbalance_u(link.state)
            except (KeyError, TypeError, AttributeError):
                wrong_u = 1
            if wrong_u:
                page.findings.append(Finding("R2", where, f"the books are out of balance by {wrong_u} µUSD"))
            head, state = link, link.state
    for before, link in gaps:
        try:
            known = link.kind in PRUNED and explained(before, link, runs)
        except (TypeError, ValueError, IndexError):
            known = False
        if not known:
            page.findings.append(Finding("R1", f"{acct}:{link.seq}", f"follows {before.seq}: entries are missing"))
    return head


async def _rows(store: Store, page: Page, shares: dict[str, list[int]]) -> dict[str, int]:
    """Look at every row; gives {account: Σ cost_p}, and counts into {channel: [not reported, all]}."""
    sums: dict[str, int] = {}
    after = ""
    while rows := await store.usage(after=after, limit=PAGE):
        after = rows[-1].rid
        for row in rows:
            page.rows += 1
            sums[row.acct] = sums.get(row.acct, 0) + row.cost_p
            _row(row, page)
            if row.channel and row.usage.source != NONE:
                share = shares.setdefault(row.channel, [0, 0])
                share[0] += row.usage.source != REPORTED
                share[1] += 1
        await asyncio.sleep(0)
    return sums


async def _column(store: Store, acct: str, sum_p: int, page: Page) -> None:
    """The sum that the store keeps must be that of the rows. Rows that came in meanwhile are looked at once more."""
    if sum_p == await store.usage_cost_p(acct):
        return
    while True:
        before_p = await store.usage_cost_p(acct)
        sum_p, after = 0, ""
        while rows := await store.usage(acct, after=after, limit=PAGE):
            after = rows[-1].rid
            sum_p += sum(row.cost_p for row in rows)
        if before_p == await store.usage_cost_p(acct):
            break
    if sum_p != before_p:
        page.findings.append(Finding("R3", acct, f"rows cost {show_p(sum_p)}, the store's sum is {show_p(before_p)}"))


def _row(row: UsageRecord, page: Page) -> None:
    if row.cost_p < 0 or sum(row.split.values()) != row.cost_p:
        page.findings.append(Finding("R3", row.rid, f"cost {row.cost_p} pUSD, but {sum(row.split.values())} were paid"))


async def _usage(store: Store, acct: str, state: State, page: Page, patience_s: float) -> None:
    """R3. The rows are summed before the head is read again: what is charged may then only be ahead of them."""
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
        page.findings.append(Finding("R3", acct, f"used {show_p(used_p)}, charged {show_p(charged_p(state))}"))


def _late(acct: str, state: State, now_ms: int, page: Page) -> None:
    """R5 and R8."""
    for id, lease in state["leases"].items():
        if lease["exp_ms"] + LEASE_LATE_MS < now_ms:
            page.findings.append(Finding("R5", acct, f"lease {id} expired long ago and nobody closed it"))
    for rid, job in state["pend"].items():
        if job["at_ms"] + JOB_LATE_MS < now_ms:
            page.findings.append(Finding("R5", acct, f"job {rid} is pending for more than a day"))
    for id in state["tomb"]:
        page.findings.append(Finding("R8", acct, f"lease {id} was taken back; its owner may still settle late",
                                     wrong=False))


def _below_zero(acct: str, state: State, overdraft_u: int, page: Page) -> None:
    """R6. Requests may overrun their holds by a stated bound, and people may adjust below zero: both only shown."""
    main_u = state["pockets"][MAIN]["u"]
    if main_u < 0:
        text = f"balance {show_u(main_u)}, may owe {show_u(overdraft_u)}"
        page.findings.append(Finding("R6", acct, text, wrong=False))
    for name, pocket in state["pockets"].items():
        if name != MAIN and pocket["u"] < 0:
            page.findings.append(Finding("R6", acct, f"voucher {name} is below zero"))
