"""Usage records, one collection for each month (UTC) of `at_ms`: an old month can be dumped and dropped as a whole.

A record's `rid` is unique within its month, and since `at_ms` belongs to the record, within all.
"""

import asyncio
import calendar
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import msgspec
from bson import Int64
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError
from smartoken_plugins.mongo.answer import AWAY, answer, index
from smartoken_plugins.mongo.sums import DAY_MS, Sums, shelf_for

from smartoken.plugin import SUM_FIELDS, USAGE_FIELDS, StoreAway, UsageRecord, UsageSum, regroup

PREFIX = "usage_"
# Rows are looked up by one field and the time of a window, and summed by their time; (acct, at_ms, cost_p) covers
# cost_p(), (acct, _id) serves read().
INDEXES = (("at_ms",), *((field, "at_ms") for field in ("key", "model", "channel", "status")), ("acct", "_id"),
           ("acct", "at_ms", "cost_p"))
NARROW = ("key", "acct", "status", "model", "channel")         # by how few rows they leave, as a rule
WINDOW_MS = 900_000
SLOP_MS = 60_000               # an id begins with the time at which it was made: `at_ms`, but for less than this
BATCH = 1000
DUPLICATE = 11000
INT64 = 2**63

_text = msgspec.json.Encoder()
_record = msgspec.json.Decoder(UsageRecord)
_TIMED = re.compile(r"[0-9a-f]{11}")


class UsageRows:
    """The usage part of the Store port. A row: `_id` the rid, what it is looked up by, `body` the record as JSON."""

    def __init__(self, db: AsyncIOMotorDatabase):
        self._db = db
        self._known: set[str] = set()              # months whose indexes are there
        self._lock = asyncio.Lock()
        self._sums = Sums(db, self._rows, self._count, self._eras)
        self._keeping: asyncio.Task | None = None

    async def prepare(self) -> None:
        await self._month(_now_ms())
        self._keeping = asyncio.create_task(self._sums.keep())

    async def close(self) -> None:
        """End what goes on by itself."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))

    async def _month(self, at_ms: int):
        name = month_of(at_ms)
        if name not in self._known:
            async with self._lock:
                for fields in INDEXES:
                    await index(self._db[name], *fields)
                self._known.add(name)
        return self._db[name]

    async def _months(self, since_ms: int, until_ms: int) -> list[str]:
        """The months that are there and may hold such rows, oldest first."""
        first, last = month_of(max(since_ms, 0)), month_of(min(max(until_ms, 0), 32_503_680_000_000))
        names = await answer(self._db.list_collection_names())
        return sorted(name for name in names if name.startswith(PREFIX) and first <= name <= last)

    async def put(self, records: Sequence[UsageRecord]) -> int:
        for record in records:
            if not -INT64 <= record.cost_p < INT64:
                raise OverflowError(f"{record.rid}: cost_p {record.cost_p} is no int64")
        months: dict[str, list[UsageRecord]] = {}
        for record in records:
            months.setdefault(month_of(record.at_ms), []).append(record)
        stored = sum([await self._put_month(some) for _, some in sorted(months.items())])
        await self._sums.take_away(records)
        return stored

    async def _put_month(self, records: list[UsageRecord]) -> int:
        rows = await self._month(records[0].at_ms)
        try:
            done = await answer(rows.insert_many([row_of(record) for record in records], ordered=False))
            return len(done.inserted_ids)
        except BulkWriteError as error:
            wrong = [one for one in error.details["writeErrors"] if one["code"] != DUPLICATE]
            if error.details.get("writeConcernErrors") or any(one["code"] in AWAY for one in wrong):
                raise StoreAway(f"MongoDB: {error}") from error
            if wrong:
                raise
            return error.details["nInserted"]

    async def read(self, acct: str = "", *, since_ms: int = 0, until_ms: int = 2**62, after: str = "",
                   limit: int = 1000) -> list[UsageRecord]:
        test = {"_id": {"$gt": after}, "at_ms": {"$gte": Int64(since_ms), "$lt": Int64(until_ms)}}
        if acct:
            test["acct"] = acct
        found: list[UsageRecord] = []
        full = False
        for name in await self._months(since_ms, until_ms):
            cursor = self._db[name].find(test, {"body": 1}).sort("_id", ASCENDING).limit(limit)
            found += [_record.decode(row["body"]) for row in await answer(cursor.to_list(limit))]
            # One month more: two clocks may put neighbours among the rids on either side of midnight.
            if full:
                break
            full = len(found) >= limit
        return sorted(found, key=lambda record: record.rid)[:limit]

    async def page(self, where: Mapping[str, str] | None = None, *, before: str = "", since_ms: int = 0,
                   until_ms: int = 2**62, limit: int = 50) -> list[UsageRecord]:
        where = {name: str(value) for name, value in (where or {}).items()}
        if not set(where) <= set(USAGE_FIELDS):
            raise ValueError(f"cannot look for {sorted(where)}; known: {USAGE_FIELDS}")
        if rid := where.pop("rid", ""):
            found = await self._one(rid)
            return [record for record in found if since_ms <= record.at_ms < until_ms and (not before or rid < before)
                    and all(getattr(record, name) == value for name, value in where.items())]
        eras = await self._eras(since_ms, until_ms)
        found: list[UsageRecord] = []
        for low_ms, high_ms in windows(before, since_ms, until_ms, eras):
            some = await self._newest(where, before, low_ms, high_ms, limit)
            found = sorted([*found, *some], key=lambda record: record.rid, reverse=True)[:limit]
            # Whatever is older has smaller ids than these.
            if len(found) == limit and all((_time_of(one.rid) or 0) >= low_ms + SLOP_MS for one in (found[0], found[-1])):
                break
        return found

    async def _newest(self, where: Mapping[str, str], before: str, low_ms: int, high_ms: int,
                      limit: int) -> list[UsageRecord]:
        """Two tests in a row: a server joins them and plans by itself, or goes by the index of the first."""
        narrow = sorted(where, key=lambda name: NARROW.index(name) if where[name] != "ok" else len(NARROW))[:1]
        rest = {name: where[name] for name in where if name not in narrow} | ({"_id": {"$lt": before}} if before else {})
        steps = [{"$match": {**{name: where[name] for name in narrow},
                             "at_ms": {"$gte": Int64(low_ms), "$lt": Int64(high_ms)}}},
                 *([{"$match": rest}] if rest else []), {"$sort": {"_id": DESCENDING}}, {"$limit": limit},
                 {"$project": {"body": 1}}]
        rows = await asyncio.gather(*(answer(self._db[name].aggregate(steps).to_list(limit))
                                      for name in await self._months(low_ms, high_ms - 1)))
        return [_record.decode(row["body"]) for some in rows for row in some]

    async def _one(self, rid: str) -> list[UsageRecord]:
        """By nothing but its `_id`, which is indexed everywhere."""
        at_ms = _time_of(rid)
        times = (0, 2**62) if at_ms is None else (at_ms - SLOP_MS, at_ms + SLOP_MS)
        months = await self._months(*times)
        rows = [await answer(self._db[name].find_one({"_id": rid}, {"body": 1})) for name in months]
        return [_record.decode(row["body"]) for row in rows if row]

    async def sums(self, by: Sequence[str], where: Mapping[str, str] | None = None, *, since_day: int = 0,
                   until_day: int = 2**31, limit: int = 1000) -> list[UsageSum]:
        where = {name: str(value) for name, value in (where or {}).items()}
        if not {*by, *where} <= set(SUM_FIELDS):
            raise ValueError(f"cannot sum by {sorted({*by, *where})}; known: {SUM_FIELDS}")
        times = since_day * DAY_MS, until_day * DAY_MS
        shelf = shelf_for({*by, *where}, where)
        if shelf is not None:
            found = await self._sums.between(shelf, *times)
        else:                  # nobody keeps all combinations: account by account
            accounts = regroup(await self._sums.between(shelf_for({"acct"}, {}), *times), ("acct",))
            found = [one for account in accounts
                     for one in await self._sums.between(shelf_for(set(), {"acct": account.acct}), *times)]
        return (await asyncio.to_thread(regroup, found, by, where))[:limit]

    async def _eras(self, since_ms: int, until_ms: int) -> list[tuple[int, int]]:
        """The beginning and end of the months that are there and overlap, oldest first."""
        found = []
        for name in await self._months(since_ms, until_ms - 1):
            year, month = int(name[-6:-2]), int(name[-2:])
            begin_ms = calendar.timegm((year, month, 1, 0, 0, 0)) * 1000
            found.append((begin_ms, begin_ms + calendar.monthrange(year, month)[1] * DAY_MS))
        return found

    async def _rows(self, where: Mapping[str, str], begin_ms: int, end_ms: int) -> AsyncIterator[list[UsageRecord]]:
        test = {**where, "at_ms": {"$gte": Int64(begin_ms), "$lt": Int64(end_ms)}}
        for name in await self._months(begin_ms, end_ms - 1):
            cursor = self._db[name].find(test, {"body": 1}, batch_size=BATCH)
            while rows := await answer(cursor.to_list(BATCH)):
                yield [_record.decode(row["body"]) for row in rows]

    async def _count(self, where: Mapping[str, str], begin_ms: int, end_ms: int) -> int:
        test = {**where, "at_ms": {"$gte": Int64(begin_ms), "$lt": Int64(end_ms)}}
        return sum([await answer(self._db[name].count_documents(test))
                    for name in await self._months(begin_ms, end_ms - 1)])

    async def cost_p(self, acct: str) -> int:
        # How often each cost occurs: a server's own sum leaves the integers when it passes int64.
        steps = [{"$match": {"acct": acct}}, {"$group": {"_id": "$cost_p", "n": {"$sum": 1}}}]
        total = 0
        for name in await self._months(0, 2**62):
            total += sum(row["_id"] * row["n"] for row in await answer(self._db[name].aggregate(steps).to_list(None)))
        return total


def row_of(record: UsageRecord) -> dict:
    return {"_id": record.rid, "acct": record.acct, "key": record.key, "model": record.model,
            "channel": record.channel, "status": record.status, "at_ms": Int64(record.at_ms),
            "cost_p": Int64(record.cost_p), "body": _text.encode(record).decode()}


def windows(before: str, since_ms: int, until_ms: int, eras: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(begin, end) of ever longer times, newest first: a page reads about as much as it shows, on servers too that do
    not stop at a limit, and a server need not guess how to go about it. Together they are all of since_ms … until_ms that
    has rows and may have ids below `before`."""
    if not eras:
        return
    first_ms, end_ms = max(since_ms, eras[0][0]), min(until_ms, eras[-1][1])
    at_ms = min(end_ms, _now_ms() + SLOP_MS)
    if end_ms > at_ms:         # of a clock that is ahead
        yield max(at_ms, first_ms), end_ms
    before_ms = _time_of(before)
    if before_ms is not None:
        at_ms = min(at_ms, before_ms + SLOP_MS)
    length_ms = WINDOW_MS
    while at_ms > first_ms:
        yield (low_ms := max(first_ms, at_ms - length_ms)), at_ms
        at_ms, length_ms = low_ms, length_ms * 4


def _time_of(rid: str) -> int | None:
    """The milliseconds that an id of ours begins with; see domain/trace.py."""
    return int(rid[:11], 16) if _TIMED.match(rid) else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def month_of(at_ms: int) -> str:
    return PREFIX + time.strftime("%Y%m", time.gmtime(at_ms // 1000))
