"""Usage records, one collection for each month (UTC) of `at_ms`: an old month can be dumped and dropped as a whole.

A record's `rid` is unique within its month, and since `at_ms` belongs to the record, within all.
"""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from bson import Int64
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING
from pymongo.errors import BulkWriteError
from smartoken_plugins.mongo.answer import AWAY, answer, index

from smartoken.plugin import StoreAway, UsageRecord

PREFIX = "usage_"
DUPLICATE = 11000
INT64 = 2**63

_text = msgspec.json.Encoder()
_record = msgspec.json.Decoder(UsageRecord)


class UsageRows:
    """The usage part of the Store port. A row: `_id` the rid, acct, at_ms, cost_p, `body` the record as JSON."""

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
        return sum([await self._put_month(some) for _, some in sorted(months.items())])

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

    async def cost_p(self, acct: str) -> int:
        # How often each cost occurs: a server's own sum leaves the integers when it passes int64.
        steps = [{"$match": {"acct": acct}}, {"$group": {"_id": "$cost_p", "n": {"$sum": 1}}}]
        total = 0
        for name in await self._months(0, 2**62):
            total += sum(row["_id"] * row["n"] for row in await answer(self._db[name].aggregate(steps).to_list(None)))
        return total


def _row(record: UsageRecord) -> dict:
    return {"_id": record.rid, "acct": record.acct, "at_ms": Int64(record.at_ms), "cost_p": Int64(record.cost_p),
            "body": _text.encode(record).decode()}


def _name(at_ms: int) -> str:
    return PREFIX + time.strftime("%Y%m", time.gmtime(at_ms // 1000))
