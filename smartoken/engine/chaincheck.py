"""An account's chain from its first entry to its head: R1 and R2, and what else only a walk along it can tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from smartoken.domain.account import Declined, apply, empty, imbalance_u
from smartoken.engine.chain import hash_of
from smartoken.engine.debt import Debt
from smartoken.engine.finding import Page
from smartoken.engine.prune import PRUNED, explained
from smartoken.engine.stateform import malformed
from smartoken.ports import Entry, Store

PAGE = 1000
# Whatever a changed entry makes of the arithmetic is a difference.
NONSENSE = (Declined, AssertionError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass
class Walk:
    """What a chain told. `head` is its last entry that could be read; `sound`: that is its head, and of a state's form;
    `whole`: nothing was found along it."""

    head: Entry | None = None
    sound: bool = True
    whole: bool = True
    debt: Debt = field(default_factory=Debt)


async def check_chain(store: Store, acct: str, page: Page) -> Walk:
    """R1 and R2 along the chain. StoreAway."""
    walk, found = Walk(), len(page.findings)
    state: Any = empty()
    gaps: list[tuple[Entry, Entry]] = []
    runs: list[list] = []
    after, limit = 0, PAGE
    while True:
        try:
            links = await store.entries(acct, after=after, limit=limit)
        except msgspec.MsgspecError as error:
            if limit > 1:               # one of these: up to it one by one
                limit = 1
                continue
            page.differs("R1", acct, f"the entry after {after} cannot be read: {error}; nothing behind it was checked")
            walk.sound = False
            break
        if not links:
            break
        # Not by what the entries say of themselves: a changed one must not lead in circles.
        after = max(after + len(links), links[-1].seq)
        for link in links:
            where = f"{acct}:{link.seq}"
            page.entries += 1
            known = len(page.findings)
            seq, prev_hash = (walk.head.seq + 1, walk.head.hash) if walk.head else (1, "")
            gap = walk.head is not None and link.seq > seq
            if gap:                     # a later entry may say that it was pruned
                gaps.append((walk.head, link))
            elif link.seq != seq:
                page.differs("R1", where, f"follows {seq - 1}: entries are missing")
            if (link.prev_hash != prev_hash and not gap) or hash_of(link) != link.hash:
                page.differs("R1", where, "its hash does not fit: it or the one before changed")
            if not _leads(state, link, gap, runs):
                page.differs("R1", where, f"{link.kind} does not lead from the last state to this")
            wrong = malformed(link.state)
            if wrong:
                page.differs("R1", where, f"its state cannot be read: {wrong}")
            elif wrong_u := imbalance_u(link.state):
                page.differs("R2", where, f"the books are out of balance by {wrong_u} µUSD")
            if walk.sound and len(page.findings) == known:
                walk.debt.follow(state, link)
            walk.head, walk.sound, state = link, not wrong, link.state
    for before, link in gaps:
        if not _pruned(before, link, runs):
            page.differs("R1", f"{acct}:{link.seq}", f"follows {before.seq}: entries are missing")
    walk.whole = len(page.findings) == found
    return walk


def _leads(state: Mapping[str, Any], link: Entry, gap: bool, runs: list[list]) -> bool:
    """Whether an entry's change leads from a state to its own, as far as it follows on that (there may be a `gap`);
    notes in `runs` what it says was pruned."""
    try:
        if link.kind == "prune":
            runs += link.delta["runs"]
        return gap or apply(state, link.kind, link.delta) == link.state
    except NONSENSE:
        return False


def _pruned(before: Entry, link: Entry, runs: list[list]) -> bool:
    try:
        return link.kind in PRUNED and explained(before, link, runs)
    except NONSENSE:
        return False
