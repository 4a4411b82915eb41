"""Catalog documents as rows that are only ever inserted: each revision is a row of its own, and the newest counts.

MongoDB could replace a document whose revision matches, but servers that speak its protocol over another database
(FerretDB) read, compare and write in three steps, and two writers would both win. An insert against `_id` is atomic
everywhere, so a revision is claimed by inserting `<id>#<n>`, and a removed document is a row that says so.

A superseded row loses what it is found by at once, and goes later; so does what is left of a removed document (sweep.py).
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from bson import Int64
from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError
from smartoken_plugins.mongo.answer import answer, index
from smartoken_plugins.mongo.sweep import keep_swept

from smartoken.plugin import COLLECTIONS

INDEXED = {"keys": ("acct", "kid"), "accounts": ("name",), "prices": ("slug",), "jobs": ("open",), "sessions": ("admin",),
           "vouchers": ("id", "batch"), "claims": ("voucher", "state"), "idempotency": ("hour",)}

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_text = msgspec.json.Encoder()


class Documents:
    """The documents part of the Store port. A row: `of` the id, `n` which of its rows, `live`, `at_ms`, `body` the
    document as JSON (field names may hold dots), `is` its plain strings and integers, to be found by."""

    def __init__(self, db: AsyncIOMotorDatabase):
        self._db = db
        self._sweeping: asyncio.Task | None = None

    def _rows(self, collection: str) -> AsyncIOMotorCollection:
        if collection not in COLLECTIONS:
            raise ValueError(f"no collection {collection!r}; ports.COLLECTIONS lists them")
        return self._db[collection]

    async def prepare(self) -> None:
        for name in COLLECTIONS:
            await index(self._db[name], "of", "-n")
            await index(self._db[name], "at_ms")
            for field in INDEXED.get(name, ()):
                await index(self._db[name], f"is.{field}", "of", "-n")
        self._sweeping = asyncio.create_task(keep_swept(self._db))

    async def close(self) -> None:
        """End what goes on by itself."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))

    async def get(self, collection: str, id: str) -> dict | None:
        row = await self._newest(collection, id)
        return msgspec.json.decode(row["body"]) if row and row["live"] else None

    async def find(self, collection: str, where: Mapping[str, str | int] | None = None, *, after: str = "",
                   limit: int = 1000) -> list[dict]:
        rows, test = self._rows(collection), {}
        for field, value in (where or {}).items():
            if not _FIELD.fullmatch(field) or type(value) not in (str, int):
                raise ValueError(f"cannot look for {field!r} = {value!r}: a plain field name and a str or an int only")
            test[f"is.{field}"] = value
        if not test:
            return await self._all(rows, after, limit)
        found: list[dict] = []
        order = [("of", ASCENDING), ("n", DESCENDING)]
        while len(found) < limit:
            # Of a document that was just written an older row may fit as well, or instead: the newest one decides.
            cursor = rows.find({**test, "of": {"$gt": after}}, {"of": 1, "n": 1, "live": 1, "body": 1}).sort(order)
            some = await answer(cursor.limit(limit).to_list(limit))
            newest = await self._newest_of(rows, sorted({row["of"] for row in some}))
            found += [msgspec.json.decode(row["body"]) for row in some if row["live"] and row["n"] == newest.get(row["of"])]
            if len(some) < limit:
                break
            after = some[-1]["of"]
        return found[:limit]

    async def _all(self, rows: AsyncIOMotorCollection, after: str, limit: int) -> list[dict]:
        """Documents by id: of each the first row that comes is the newest, and the index has them in this order."""
        found: list[dict] = []
        while len(found) < limit:
            cursor = rows.find({"of": {"$gt": after}} if after else {}, {"of": 1, "live": 1, "body": 1}).sort(
                [("of", ASCENDING), ("n", DESCENDING)]).limit(limit)
            some = await answer(cursor.to_list(limit))
            newest: dict[str, dict] = {}
            for row in some:
                newest.setdefault(row["of"], row)
            found += [msgspec.json.decode(row["body"]) for row in newest.values() if row["live"]]
            if len(some) < limit:
                break
            after = some[-1]["of"]
        return found[:limit]

    async def insert(self, collection: str, doc: dict) -> bool:
        while True:
            row = await self._newest(collection, doc["_id"])
            if row and row["live"]:
                return False
            n = row["n"] + 1 if row else 1
            if not await self._claim(collection, doc["_id"], n, doc):
                return False
            if row is None or await answer(self._rows(collection).find_one({"_id": row["_id"]}, {"_id": 1})):
                return True
            # A sweep took what we followed: another, who found nothing at all, may have begun at 1. So may we.
            await answer(self._rows(collection).delete_one({"_id": f"{doc['_id']}#{n}"}))

    async def replace(self, collection: str, doc: dict, rev: int) -> bool:
        return await self._follow(collection, doc["_id"], rev, doc)

    async def remove(self, collection: str, id: str, rev: int) -> bool:
        return await self._follow(collection, id, rev, None)

    async def _follow(self, collection: str, id: str, rev: int, doc: dict | None) -> bool:
        row = await self._newest(collection, id)
        if row is None or not row["live"] or row["is"].get("rev") != rev:
            return False
        if not await self._claim(collection, id, row["n"] + 1, doc):
            return False
        if collection in INDEXED:      # else `find` would have to look at it for as long as it is there
            await answer(self._rows(collection).update_one({"_id": row["_id"]}, {"$set": {"is": {}}}))
        return True

    async def _claim(self, collection: str, id: str, n: int, doc: dict | None) -> bool:
        row = {"_id": f"{id}#{n}", "of": id, "n": Int64(n), "at_ms": Int64(_now_ms()), "live": doc is not None,
               "body": _text.encode(doc).decode() if doc else "", "is": _plain(doc or {})}
        try:
            await answer(self._rows(collection).insert_one(row))
        except DuplicateKeyError:
            return False
        return True

    async def _newest(self, collection: str, id: str) -> dict | None:
        return await answer(self._rows(collection).find_one({"of": id}, sort=[("n", DESCENDING)]))

    async def _newest_of(self, rows: AsyncIOMotorCollection, ids: list[str]) -> dict[str, int]:
        """The number of the newest row of each document."""
        newest: dict[str, int] = {}
        for start in range(0, len(ids), 200):
            cursor = rows.find({"of": {"$in": ids[start:start + 200]}}, {"of": 1, "n": 1})
            for row in await answer(cursor.to_list(None)):
                newest[row["of"]] = max(row["n"], newest.get(row["of"], 0))
        return newest


def _plain(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `find` can ask for, integers as int64."""
    return {field: Int64(value) if type(value) is int else value for field, value in doc.items()
            if type(value) in (str, int) and _FIELD.fullmatch(field)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
