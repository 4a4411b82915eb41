"""Sums of usage, made from the rows once and kept: a page reads a few small documents, however many rows there are.

Time is parted into spans (SPANS). A span that is over has one document for each *shelf*: the sums of its rows by some of
SUM_FIELDS. The small ones are made from rows, the large ones from the small; all when somebody asks, and those that
everybody asks for also beforehand (`keep`). What is not over yet is summed from its rows each time.

A row that comes late, for a span that is over, takes away all documents that lack it, from the smallest to the largest.
Who makes a document looks again at what it was made from once the document is there. So whichever way the two meet, no
document stays that lacks a row.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase
from msgspec import structs
from pymongo.errors import DuplicateKeyError
from smartoken_plugins.mongo.answer import answer

from smartoken.plugin import SUM_FIELDS, StoreAway, UsageRecord, UsageSum, regroup, sum_of

log = logging.getLogger("smartoken.mongo")

COLLECTION = "sums"            # {_id: see _id, mark: of this making, body: UsageSums as JSON arrays}
LEAF_MS = 600_000
SPANS = (1, 6, 36, 144, 576, 2304, 9216)       # in leaves: 10 minutes, 1 and 6 hours, 1, 4, 16 and 64 days
DAY_MS = 86_400_000
GRACE_MS = 300_000             # a span is over so long after its end: most rows are there then
SKEW_MS = 60_000               # clocks of two nodes differ by no more
FIRST_DAYS, FIRST_S = 400, 20  # what `keep` looks through once, so soon after the start: a page shows at most a year
KEEP_DAYS = 2                  # and after that: older spans were made in their time
BODY_MAX = 8 << 20             # a document may have 16 MiB; sums that are larger are put together anew from smaller ones
TOGETHER = 20_000              # sums of single rows in memory, before they are put together
REMEMBERED = 50                # ranges of spans put together, of at most so many sums

Rows = Callable[[Mapping[str, str], int, int], AsyncIterator[list[UsageRecord]]]


class Shelf(NamedTuple):
    """Sums by `fields` of the rows that fit `where`. Its smallest span is SPANS[low]; up to SPANS[high] a span whose
    parts are not there is made from rows, larger ones always from parts."""

    name: str
    fields: tuple[str, ...]
    where: Mapping[str, str]
    low: int
    high: int


GENERAL = tuple(Shelf(name, fields, {}, 0, 3) for name, fields in (
    ("day", ("day",)), ("model", ("day", "model")), ("channel", ("day", "channel")),
    ("pair", ("day", "model", "channel")), ("acct", ("acct",))))
OWNED = ("acct", "key")        # each account and key that was looked at has a shelf of its own


def shelf_for(needed: set[str], where: Mapping[str, str]) -> Shelf | None:
    """The smallest shelf that can answer; None when no single one can."""
    for owner in OWNED:
        if owner in where:
            return Shelf(f"{owner}={where[owner]}", SUM_FIELDS, {owner: where[owner]}, 2, 5)
    return next((shelf for shelf in GENERAL if needed <= set(shelf.fields)), None)


class Span(NamedTuple):
    """The `n`-th one of SPANS[level] leaves since 1970."""

    level: int
    n: int

    @property
    def begin_ms(self) -> int:
        return self.n * SPANS[self.level] * LEAF_MS

    @property
    def end_ms(self) -> int:
        return (self.n + 1) * SPANS[self.level] * LEAF_MS

    def parts(self) -> list["Span"]:
        """The spans of the next smaller kind that it consists of."""
        count = SPANS[self.level] // SPANS[self.level - 1]
        return [Span(self.level - 1, self.n * count + at) for at in range(count)]


def cover(begin_ms: int, end_ms: int, low: int) -> Iterator[Span]:
    """The largest spans that lie between two multiples of SPANS[low] leaves."""
    at, end = begin_ms // LEAF_MS, end_ms // LEAF_MS
    while at < end:
        level = max(level for level in range(low, len(SPANS)) if at % SPANS[level] == 0 and at + SPANS[level] <= end)
        yield Span(level, at // SPANS[level])
        at += SPANS[level]


class Sums:
    """`rows(where, begin_ms, end_ms)` gives batches of rows by their `at_ms`, `count` how many there are, `eras` the
    (begin, end) of the times that have rows at all."""

    def __init__(self, db: AsyncIOMotorDatabase, rows: Rows, count: Callable, eras: Callable):
        self._kept = db[COLLECTION]
        self._rows, self._count, self._eras = rows, count, eras
        self._making = asyncio.Lock()              # many ask for the same at once
        self._together: OrderedDict[tuple, tuple[dict[str, str], list[UsageSum]]] = OrderedDict()

    async def between(self, shelf: Shelf, begin_ms: int, end_ms: int) -> list[UsageSum]:
        """Sums of a shelf's rows of some days, not yet one for each combination of its fields."""
        size = SPANS[shelf.low] * LEAF_MS
        eras = await self._eras(begin_ms, end_ms)
        if not eras:
            return []
        over = max(begin_ms, min(end_ms, (_now_ms() - GRACE_MS) // size * size))
        spans = [span for span in cover(max(begin_ms, eras[0][0]), min(over, -(-eras[-1][1] // size) * size), shelf.low)
                 if _among(eras, span)]
        found, new = await asyncio.gather(self._of(shelf, spans), self._of_rows(shelf, over, end_ms, shelf.fields))
        return found + new

    async def keep(self) -> None:
        """Make what everybody asks for before anybody does, until cancelled. Workers of one store share the work by
        chance."""
        days, wait_s = FIRST_DAYS, FIRST_S
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))
            until = _now_ms() // DAY_MS + 1
            try:
                for shelf in GENERAL:
                    await self.between(shelf, (until - days) * DAY_MS, until * DAY_MS)
                days, wait_s = KEEP_DAYS, LEAF_MS / 1000
            except StoreAway as away:
                log.info("sums are made later, the store is away: %s", away)

    async def take_away(self, records: Sequence[UsageRecord]) -> None:
        """Rows were stored; of those that came late no document may stay that lacks them."""
        over_ms = _now_ms() - GRACE_MS + SKEW_MS
        late = [record for record in records if record.at_ms // LEAF_MS * LEAF_MS + LEAF_MS <= over_ms]
        for level in range(len(SPANS)) if late else ():
            ids = {_id(name, Span(level, record.at_ms // (SPANS[level] * LEAF_MS))) for record in late
                   for name in (*(shelf.name for shelf in GENERAL), f"acct={record.acct}", f"key={record.key}")}
            await answer(self._kept.delete_many({"_id": {"$in": sorted(ids)}}))

    async def _of(self, shelf: Shelf, spans: Sequence[Span]) -> list[UsageSum]:
        """The sums of some spans put together. As long as the same documents are there, they are not read again."""
        key = shelf.name, tuple(spans)
        marks = await self._marks(shelf, spans)
        if key in self._together and self._together[key][0] == marks:
            self._together.move_to_end(key)
            return self._together[key][1]
        found = await asyncio.to_thread(regroup, await self._each_of(shelf, spans), shelf.fields)
        if len(marks) == len(spans) and len(found) <= TOGETHER:
            self._together[key] = marks, found
            if len(self._together) > REMEMBERED:
                self._together.popitem(last=False)
        return found

    async def _each_of(self, shelf: Shelf, spans: Sequence[Span]) -> list[UsageSum]:
        kept = await self._read(shelf, spans)
        if len(kept) < len(spans):
            async with self._making:
                kept |= await self._read(shelf, missing := [span for span in spans if span not in kept])
                for span in missing:
                    if span not in kept:
                        kept[span] = await self._make(shelf, span)
        return [one for found in kept.values() for one in found]

    async def _read(self, shelf: Shelf, spans: Sequence[Span]) -> dict[Span, list[UsageSum]]:
        """Those of the spans that have a document."""
        by_id = {_id(shelf.name, span): span for span in spans}
        if not by_id:
            return {}
        rows = await answer(self._kept.find({"_id": {"$in": list(by_id)}}).to_list(None))
        return await asyncio.to_thread(lambda: {by_id[row["_id"]]: _rows.decode(row["body"]) for row in rows})

    async def _make(self, shelf: Shelf, span: Span) -> list[UsageSum]:
        """Make a span's document, from its parts if any of them is there."""
        if not await self._eras(span.begin_ms, span.end_ms):
            return []
        if span.level > shelf.low:
            parts = span.parts()
            kept = await self._read(shelf, parts)
            if kept or span.level > shelf.high:
                for part in parts:
                    if part not in kept:
                        await self._make(shelf, part)
                return await self._make_from_parts(shelf, span, parts)
        return await self._make_from_rows(shelf, span)

    async def _make_from_parts(self, shelf: Shelf, span: Span, parts: Sequence[Span]) -> list[UsageSum]:
        """Those that could not be kept are made once more, and what consists of them is not kept either."""
        before = await self._marks(shelf, parts)
        kept = await self._read(shelf, parts)
        eras = await self._eras(span.begin_ms, span.end_ms)
        lacking = [part for part in parts if part not in kept and _among(eras, part)]
        for part in lacking:
            kept[part] = await self._make(shelf, part)
        found = await asyncio.to_thread(regroup, [one for sums in kept.values() for one in sums], shelf.fields)
        if not lacking:
            await self._write(shelf, span, found)
            if await self._marks(shelf, parts) != before:
                await self._drop(shelf, span)
        return found

    async def _marks(self, shelf: Shelf, spans: Sequence[Span]) -> dict[str, str]:
        """Which documents of these are there: each that is made has a mark of its own."""
        ids = [_id(shelf.name, span) for span in spans]
        rows = await answer(self._kept.find({"_id": {"$in": ids}}, {"mark": 1}).to_list(None))
        return {row["_id"]: row["mark"] for row in rows}

    async def _make_from_rows(self, shelf: Shelf, span: Span) -> list[UsageSum]:
        """Rows are read once for all shelves that need the same."""
        every = await self._of_rows(shelf, span.begin_ms, span.end_ms, SUM_FIELDS)
        calls = sum(one.calls for one in every)
        made = GENERAL if shelf in GENERAL else (shelf,)
        found = {one.name: regroup(every, one.fields) for one in made}
        for one in made:
            await self._write(one, span, found[one.name])
        if await self._count(shelf.where, span.begin_ms, span.end_ms) != calls:
            for one in made:
                await self._drop(one, span)
        return found[shelf.name]

    async def _of_rows(self, shelf: Shelf, begin_ms: int, end_ms: int, fields: Sequence[str]) -> list[UsageSum]:
        found: list[UsageSum] = []
        most = TOGETHER
        if begin_ms < end_ms:
            async for batch in self._rows(shelf.where, begin_ms, end_ms):
                found += map(sum_of, batch)
                if len(found) > most:
                    found = regroup(found, fields)
                    most = len(found) + TOGETHER
        return regroup(found, fields)

    async def _write(self, shelf: Shelf, span: Span, found: list[UsageSum]) -> None:
        body = _pack(found)
        if len(body) <= BODY_MAX:
            with contextlib.suppress(DuplicateKeyError):       # another process was quicker
                await answer(self._kept.insert_one({"_id": _id(shelf.name, span), "mark": secrets.token_hex(6),
                                                    "body": body}))

    async def _drop(self, shelf: Shelf, span: Span) -> None:
        await answer(self._kept.delete_one({"_id": _id(shelf.name, span)}))


def _among(eras: Sequence[tuple[int, int]], span: Span) -> bool:
    return any(begin < span.end_ms and span.begin_ms < end for begin, end in eras)


def _id(name: str, span: Span) -> str:
    return f"{span.level}:{span.n}:{name}"


class _Row(UsageSum, array_like=True):
    """A UsageSum as JSON without the names of its fields. Whole numbers of any size stay whole."""


_rows = msgspec.json.Decoder(list[_Row])
_text = msgspec.json.Encoder()


def _pack(found: Iterable[UsageSum]) -> str:
    return _text.encode([_Row(*structs.astuple(one)) for one in found]).decode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
