"""Do the books agree with themselves and with what was used? Read-only; every difference becomes a Finding.

| rule | what must hold                                                                                          |
|------|---------------------------------------------------------------------------------------------------------|
| R1   | each chain is gapless but for recorded prunes, its hashes link, replaying its deltas gives its states   |
| R2   | I1 holds in every state                                                                                 |
| R3   | Σ cost_p of usage = posted + residue + flushed spend of open leases; each row's split sums to its cost  |
| R4   | tokens per channel and model are those of a provider's statement within 0.5 %, where one is given       |
| R5   | no lease is long expired, no job pending for more than a day, nothing lies for long in dead journals    |
| R6   | no more is owed on credit than the overdraft, no voucher is below zero; other balances below: shown     |
| R7   | share of usage that upstreams did not report, per channel (shown)                                       |
| R8   | leases taken back from dead owners, settled late or never; damaged journal files (shown)                |
| R9   | what attempts cost the operator that no client paid for, per channel (shown)                            |

What is known of R8's duplicates: nothing. A row that comes again under its rid leaves no trace, which is why it is
harmless. An account whose head cannot be read for what it is differs by that, and its money is not looked at.
"""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from smartoken.domain.account import State, charged_p, empty
from smartoken.engine.chaincheck import check_chain
from smartoken.engine.debt import check_debt
from smartoken.engine.finding import Page
from smartoken.engine.leftovers import check_left
from smartoken.engine.rowcheck import check_charged, check_rows, check_sum
from smartoken.engine.statement import Statement, compare
from smartoken.engine.uncollected import tell_uncollected
from smartoken.ports import Clock, Store

PAGE = 1000
LEASE_LATE_MS = 15 * 60 * 1000
JOB_LATE_MS = 24 * 3600 * 1000


async def reconcile(store: Store, clock: Clock, *, patience_s: float = 0, journals: Path | None = None,
                    statement: Statement | None = None) -> Page:
    """Check every account, the folder with this machine's `journals`, and a provider's `statement`. StoreAway;
    ConfigError when that folder is not ours to read, or when the statement is about a channel that nobody knows.

    While requests are being shipped, a row may be stored a moment before its lease is flushed: an account that differs
    in R3 is looked at again for `patience_s` before it counts as different.
    """
    page, seal = Page(), hashlib.sha256()
    if statement is not None:
        await compare(store, statement, page)
    accts = {acct async for acct in _chains(store)}
    accts |= {doc["_id"] async for doc in _accounts(store)}
    rows = await check_rows(store, page)
    for acct in sorted(accts | set(rows.sums_p)):
        page.accounts += 1
        walk = await check_chain(store, acct, page)
        seal.update(f"{acct} {walk.head.hash if walk.head else ''}\n".encode())
        await check_sum(store, acct, rows.sums_p.get(acct, 0), page)
        if not walk.sound:
            continue
        state = walk.head.state if walk.head else empty()
        if await check_charged(store, acct, state, page, patience_s) > 0 and walk.whole and rows.whole:
            await tell_uncollected(store, acct, page)
        _late(acct, state, clock.now_ms(), page)
        # Read after the chain, and so never older than what was lent by it.
        doc = await store.get("accounts", acct) or {}
        check_debt(acct, state, walk.debt, doc.get("overdraft_u", 0), page)
        page.charged_p += charged_p(state)
    rows.tell(page)
    if journals is not None:
        await check_left(journals, store, clock.now_ms(), page)
    page.findings.sort(key=lambda finding: (not finding.wrong, finding.rule))
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


def _late(acct: str, state: State, now_ms: int, page: Page) -> None:
    """R5 and R8."""
    for id, lease in state["leases"].items():
        if lease["exp_ms"] + LEASE_LATE_MS < now_ms:
            page.differs("R5", acct, f"lease {id} expired long ago and nobody closed it")
    for rid, job in state["pend"].items():
        if job["at_ms"] + JOB_LATE_MS < now_ms:
            page.differs("R5", acct, f"job {rid} is pending for more than a day")
    for id in state["tomb"]:
        page.tell("R8", acct, f"lease {id} was taken back; its owner may still settle late")
