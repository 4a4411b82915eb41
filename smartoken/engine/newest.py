"""A chain read from its end: the store reads upwards only, and of a pruned chain (engine/prune.py) nobody knows where its
entries are."""

from smartoken.ports import Entry, Store

AT_ONCE = 4                            # times what is wanted is read at most, to look whether it is all there


async def newest(store: Store, chain: str, before: int = 0, limit: int = 50) -> list[Entry]:
    """At most `limit` entries, newest first; those older than seq `before` (0: from the end). Fewer only where there are
    no more. StoreAway.

    Where to begin is looked for by halves: `after` is too `high` when too few entries follow, too `low` when so many do
    that one reading does not reach `before`. Without gaps the first guess is right.
    """
    if not before:
        head = await store.head(chain)
        before = head.seq + 1 if head else 1
    low, high, after = -1, before - 1, max(0, before - 1 - limit)
    found: list[Entry] = []
    while low < after < high:
        read = await store.entries(chain, after=after, limit=AT_ONCE * limit)
        found = [entry for entry in read if entry.seq < before]
        if len(found) == AT_ONCE * limit and found[-1].seq < before - 1:
            low = after
        elif len(found) < limit and after > 0:
            high = after
        else:
            break
        after = (low + high) // 2
    return found[:-limit - 1:-1]
