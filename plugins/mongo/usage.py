"""Usage records, one collection for each month (UTC) of `at_ms`: an old month can be dumped and dropped as a whole.

A record's `rid` is unique within its month, and since `at_ms` belongs to the record, within all. Sums by day are made
from the rows: for a day that is over once and for all (collection SUMS), for the last two days whenever they are asked.
"""

import asyncio
import calendar
import contextlib
import time
from collections.abc import Mapping, Sequence

import msgspec
from bson import Int64
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError, DuplicateKeyError
from smartoken_plugins.mongo.answer import AWAY, answer, index

from smartoken.plugin import SUM_FIELDS, USAGE_FIELDS, StoreAway, UsageRecord, UsageSum, regroup, sum_of

PREFIX = "usage_"
SUMS = "sums"                  # of finished days; {_id: the day, body: UsageSums by all of SUM_FIELDS, as JSON}
OPEN_DAYS = 2                  # a journal may bring a row so late
DAY_MS = 86_400_000
DUPLICATE = 11000
INT64 = 2**63

_text = msgspec.json.Encoder()
_record = msgspec.json.Decoder(UsageRecord)
_sums = msgspec.json.Decoder(list[UsageSum])


class UsageRows:
    """The usage part of the Store port. A row: `_id` the rid, what it is looked up by, `body` the record as JSON."""

    def __init__(self, db: AsyncIOMotorDatabase):
        self._db = db
        self._known: set[str] = set()              # months whose indexes are there
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        await self._month(time.time_ns() // 1_000_000)

    async def _month(self, at_ms: int):
        name = _name(at_ms)
        if name not in self._known:
            async with self._lock:
                await index(self._db[name], "acct", "_id")
                await index(self._db[name], "acct", "cost_p")      # covers cost_p()
                for field in ("key", "model", "channel", "status", "at_ms"):
                    await index(self._db[name], field, "_id")
                self._known.add(name)
        return self._db[name]

    async def _months(self, since_ms: int, until_ms: int) -> list[str]:
        """The months that are there and may hold such rows, oldest first."""
        first, last = _name(max(since_ms, 0)), _name(min(max(until_ms, 0), 32_503_680_000_000))
        names = await answer(self._db.list_collection_names())
        return sorted(name for name in names if name.startswith(PREFIX) and first <= name <= last)

    async def put(self, records: Sequence[UsageRecord]) -> int:
        for record in records:
            if not -INT64 <= record.cost_p < INT64:
                raise OverflowError(f"{record.rid}: cost_p {record.cost_p} is no int64")
        months: dict[str, list[UsageRecord]] = {}
        for record in records:
            months.setdefault(_name(record.at_ms), []).append(record)
        stored = sum([await self._put_month(some) for _, some in sorted(months.items())])
        late = {day for record in records if _over(day := record.at_ms // DAY_MS)}
        if late:               # their days were thought finished: they are summed anew when asked for
            await answer(self._db[SUMS].delete_many({"_id": {"$in": sorted(late)}}))
        return stored

    async def _put_month(self, records: list[UsageRecord]) -> int:
        rows = await self._month(records[0].at_ms)
        try:
            done = await answer(rows.insert_many([_row(record) for record in records], ordered=False))
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
        if not set(where or {}) <= set(USAGE_FIELDS):
            raise ValueError(f"cannot look for {sorted(where or {})}; known: {USAGE_FIELDS}")
        test: dict = {"_id" if name == "rid" else name: str(value) for name, value in (where or {}).items()}
        test["at_ms"] = {"$gte": Int64(since_ms), "$lt": Int64(until_ms)}
        if before:
            test = {"$and": [test, {"_id": {"$lt": before}}]}
        found: list[UsageRecord] = []
        full = False
        for name in reversed(await self._months(since_ms, until_ms)):
            cursor = self._db[name].find(test, {"body": 1}).sort("_id", DESCENDING).limit(limit)
            found += [_record.decode(row["body"]) for row in await answer(cursor.to_list(limit))]
            if full:           # one month more, as in read()
                break
            full = len(found) >= limit
        return sorted(found, key=lambda record: record.rid, reverse=True)[:limit]

    async def sums(self, by: Sequence[str], where: Mapping[str, str] | None = None, *, since_day: int = 0,
                   until_day: int = 2**31, limit: int = 1000) -> list[UsageSum]:
        if not {*by, *(where or {})} <= set(SUM_FIELDS):
            raise ValueError(f"cannot sum by {sorted({*by, *(where or {})})}; known: {SUM_FIELDS}")
        found: list[UsageSum] = []
        for day in await self._days(since_day, until_day):
            found += await self._sums_of(day)
        return regroup(found, by, where or {}, since_day, until_day)[:limit]

    async def _days(self, since_day: int, until_day: int) -> list[int]:
        """The days of the months that are there, within bounds."""
        days: list[int] = []
        for name in await self._months(since_day * DAY_MS, until_day * DAY_MS):
            year, month = int(name[-6:-2]), int(name[-2:])
            first = calendar.timegm((year, month, 1, 0, 0, 0)) * 1000 // DAY_MS
            days += range(max(first, since_day), min(first + calendar.monthrange(year, month)[1], until_day))
        return days

    async def _sums_of(self, day: int) -> list[UsageSum]:
        over = _over(day)
        if over and (kept := await answer(self._db[SUMS].find_one({"_id": day}))) is not None:
            return _sums.decode(kept["body"])
        test = {"at_ms": {"$gte": Int64(day * DAY_MS), "$lt": Int64((day + 1) * DAY_MS)}}
        rows = self._db[_name(day * DAY_MS)].find(test, {"body": 1})
        found = regroup([sum_of(_record.decode(row["body"])) for row in await answer(rows.to_list(None))], SUM_FIELDS)
        if over:
            with contextlib.suppress(DuplicateKeyError):       # another process was quicker, with the same sums
                await answer(self._db[SUMS].insert_one({"_id": day, "body": _text.encode(found).decode()}))
        return found

    async def cost_p(self, acct: str) -> int:
        # How often each cost occurs: a server's own sum leaves the integers when it passes int64.
        steps = [{"$match": {"acct": acct}}, {"$group": {"_id": "$cost_p", "n": {"$sum": 1}}}]
        total = 0
        for name in await self._months(0, 2**62):
            total += sum(row["_id"] * row["n"] for row in await answer(self._db[name].aggregate(steps).to_list(None)))
        return total


def _row(record: UsageRecord) -> dict:
    return {"_id": record.rid, "acct": record.acct, "key": record.key, "model": record.model,
            "channel": record.channel, "status": record.status, "at_ms": Int64(record.at_ms),
            "cost_p": Int64(record.cost_p), "body": _text.encode(record).decode()}


def _over(day: int) -> bool:
    return day < time.time_ns() // 1_000_000 // DAY_MS - OPEN_DAYS


def _name(at_ms: int) -> str:
    return PREFIX + time.strftime("%Y%m", time.gmtime(at_ms // 1000))
