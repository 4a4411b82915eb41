"""What revisions leave behind: rows that were superseded, and what is left of removed documents, KEEP_MS later.

Until then a slot must stay taken: whoever read a row and still means to write after it would find it free. A sweep looks
at documents that were written since the one before, the first one at those of a day, so what a crash left goes as well.
"""

import asyncio
import itertools
import logging
import random
import time

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING
from smartoken_plugins.mongo.answer import answer

from smartoken.plugin import COLLECTIONS, StoreAway

KEEP_MS = 600_000
FIRST_MS = 86_400_000          # so far back the first sweep looks
SKEW_MS = 60_000               # clocks of two nodes differ by no more
PAGE = 500

log = logging.getLogger("smartoken.mongo")


async def keep_swept(db: AsyncIOMotorDatabase) -> None:
    """Sweep every KEEP_MS until cancelled. Any number of processes may."""
    since_ms = _now_ms() - FIRST_MS
    while True:
        await asyncio.sleep(KEEP_MS / 1000 * random.uniform(0.8, 1.2))
        until_ms = _now_ms() - KEEP_MS
        try:
            for name in COLLECTIONS:
                await sweep(db[name], since_ms, until_ms)
            since_ms = until_ms - SKEW_MS
        except StoreAway as away:
            log.info("old revisions go later, the store is away: %s", away)


async def sweep(rows: AsyncIOMotorCollection, since_ms: int, until_ms: int) -> int:
    """Of documents with a row written from `since_ms` until before `until_ms`, remove what was superseded or removed
    before `until_ms`; how many rows went."""
    gone = 0
    while since_ms < until_ms:
        cursor = rows.find({"at_ms": {"$gte": since_ms, "$lt": until_ms}}, {"of": 1, "at_ms": 1})
        page = await answer(cursor.sort("at_ms", ASCENDING).limit(PAGE).to_list(PAGE))
        if page:
            gone += await _tidy(rows, sorted({row["of"] for row in page}), until_ms)
        if len(page) < PAGE:
            break
        since_ms = max(page[-1]["at_ms"], since_ms + 1)        # a page of one millisecond is passed over at last
    return gone


async def _tidy(rows: AsyncIOMotorCollection, ids: list[str], until_ms: int) -> int:
    cursor = rows.find({"of": {"$in": ids}}, {"of": 1, "n": 1, "live": 1, "at_ms": 1})
    found = sorted(await answer(cursor.to_list(None)), key=lambda row: (row["of"], row["n"]))
    old, dead = [], []
    for row, after in itertools.zip_longest(found, found[1:]):
        if after is not None and after["of"] == row["of"]:
            if after["at_ms"] < until_ms:
                old.append(row["_id"])
        elif not row["live"] and row["at_ms"] < until_ms:
            dead.append(row["_id"])
    # In this order: without the row that says so, an older one would bring the document back.
    for some in (old, dead):
        if some:
            await answer(rows.delete_many({"_id": {"$in": some}}))
    return len(old) + len(dead)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
