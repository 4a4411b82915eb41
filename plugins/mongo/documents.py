"""Catalog documents as rows that are only ever inserted: each revision is a row of its own, and the newest counts.

MongoDB could replace a document whose revision matches, but servers that speak its protocol over another database
(FerretDB) read, compare and write in three steps, and two writers would both win. An insert against `_id` is atomic
everywhere, so a revision is claimed by inserting `<id>#<n>`, and a removed document is a row that says so.

Old rows must outlive whoever read them and still means to write: a slot that is free again could be claimed from a
stale reading. They go when the document is written KEEP_MS later.
"""

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

from smartoken.plugin import COLLECTIONS

KEEP_MS = 600_000
INDEXED = {"keys": ("acct", "kid"), "accounts": ("name",), "prices": ("slug",), "vouchers": ("id", "batch"),
           "claims": ("voucher", "state"), "idempotency": ("hour",)}

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_text = msgspec.json.Encoder()


class Documents:
    """The documents part of the Store port. A row: `of` the id, `n` which of its rows, `live`, `at_ms`, `body` the
    document as JSON (field names may hold dots), `is` its plain strings and integers, to be found by."""

    def __init__(self, db: AsyncIOMotorDatabase):
        self._db = db

    def _rows(self, collection: str) -> AsyncIOMotorCollection:
        if collection not in COLLECTIONS:
            raise ValueError(f"no collection {collection!r}; ports.COLLECTIONS lists them")
        return self._db[collection]

    async def prepare(self) -> None:
        for name in COLLECTIONS:
            await index(self._db[name], "of", "-n")
            for field in INDEXED.get(name, ()):
                await index(self._db[name], f"is.{field}", "of")

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
        while len(found) < limit:
            # Candidates may be superseded, and then the newest row of their document decides.
            cursor = rows.find({**test, "of": {"$gt": after}}, {"of": 1}).sort("of", ASCENDING).limit(limit)
            some = await answer(cursor.to_list(limit))
            ids = sorted({row["of"] for row in some})
            newest = await self._newest_of(rows, ids)
            for id in ids:
                row = newest.get(id)
                if row and row["live"] and all(row["is"].get(field) == value for field, value in (where or {}).items()):
                    found.append(msgspec.json.decode(row["body"]))
            if len(some) < limit:
                break
            after = ids[-1]
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
        row = await self._newest(collection, doc["_id"])
        if row and row["live"]:
            return False
        return await self._claim(collection, doc["_id"], row["n"] + 1 if row else 1, doc)

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
        old = {"of": id, "n": {"$lt": row["n"]}, "at_ms": {"$lt": _now_ms() - KEEP_MS}}
        await answer(self._rows(collection).delete_many(old))
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

    async def _newest_of(self, rows: AsyncIOMotorCollection, ids: list[str]) -> dict[str, dict]:
        newest: dict[str, dict] = {}
        for start in range(0, len(ids), 200):
            cursor = rows.find({"of": {"$in": ids[start:start + 200]}})
            for row in await answer(cursor.to_list(None)):
                if row["of"] not in newest or newest[row["of"]]["n"] < row["n"]:
                    newest[row["of"]] = row
        return newest


def _plain(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `find` can ask for, integers as int64."""
    return {field: Int64(value) if type(value) is int else value for field, value in doc.items()
            if type(value) in (str, int) and _FIELD.fullmatch(field)}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
