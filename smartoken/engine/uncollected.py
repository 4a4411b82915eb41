"""Which rows of an account nobody was charged for: R8, for an account whose rows cost more than it was charged (R3).

A lease's rows are held against what its chain says was spent of it, a job's against its `post`. A lease is uncollected
when the reaper closed it and its owner did not come back within a week, or its journal is lost.
"""

from smartoken.domain.money import show_p
from smartoken.engine.finding import Page
from smartoken.engine.rowcheck import rows_of
from smartoken.ports import Store

SHOWN = 20
PAGE = 1000


async def tell_uncollected(store: Store, acct: str, page: Page) -> None:
    """Only tells: that it differs is said by R3. Of an account whose chain is sound. StoreAway; msgspec.MsgspecError
    when a row cannot be read."""
    missing_p: dict[str, int] = {}
    async for row in rows_of(store, acct):
        name = row.lease or row.rid
        missing_p[name] = missing_p.get(name, 0) + row.cost_p
    charged_p: dict[str, int] = {}
    after = 0
    while links := await store.entries(acct, after=after, limit=PAGE):
        after = links[-1].seq
        for link in links:
            spent = link.delta.get("spent_p") or link.delta.get("split") or {}
            name = link.delta.get("lease") or link.delta.get("rid", "")
            # What is told of a lease is all that was spent of it until then.
            charged_p[name] = max(charged_p.get(name, 0), sum(spent.values()))
    missing = sorted((name, amount_p - charged_p.get(name, 0)) for name, amount_p in missing_p.items()
                     if amount_p > charged_p.get(name, 0))
    for name, amount_p in missing[:SHOWN]:
        page.tell("R8", acct, f"{show_p(amount_p)} of {name} were never collected")
    if len(missing) > SHOWN:
        rest_p = sum(amount_p for _, amount_p in missing[SHOWN:])
        page.tell("R8", acct, f"{show_p(rest_p)} of {len(missing) - SHOWN} more were never collected")
