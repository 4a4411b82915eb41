"""Chains: one inserted row per entry, unique by (chain, seq) and by (chain, op). Nothing here updates, and only pruning deletes."""

import time
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from bson import Int64
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError
from smartoken_plugins.mongo.answer import answer, index

from smartoken.plugin import APPENDED, OP_TAKEN, SEQ_TAKEN, Entry

SEEN = 10_000                  # chains whose newest entry is remembered
FRESH_S = 3600                 # a sweep may prune entries older than days, never one that follows a remembered one
PROBES = 16                    # entries that others appended meanwhile

_text = msgspec.json.Encoder()
_entry = msgspec.json.Decoder(Entry)


class Chains:
    """The chains part of the Store port. A row: chain, seq, op, kind, at_ms to look by, `body` the entry as JSON
    (a state's keys hold dots, which not every server takes as field names)."""

    def __init__(self, db: AsyncIOMotorDatabase):
        self._rows = db["ledger"]
        self._seen: OrderedDict[str, tuple[Entry, float]] = OrderedDict()     # newest entries, and when they were it

    async def prepare(self) -> None:
        # Both begin with the chain, as MongoDB wants for a collection sharded by it.
        await index(self._rows, "chain", "seq", unique=True)
        await index(self._rows, "chain", "op", unique=True)

    async def append(self, entry: Entry) -> str:
        row = {"_id": _id(entry.chain, entry.seq), "chain": entry.chain, "seq": Int64(entry.seq), "op": entry.op,
               "kind": entry.kind, "at_ms": Int64(entry.at_ms), "body": _text.encode(entry).decode()}
        try:
            await answer(self._rows.insert_one(row))
        except DuplicateKeyError:
            # The server names only the first index that refused, and the op decides when both did.
            taken = await answer(self._rows.find_one({"chain": entry.chain, "op": entry.op}, {"_id": 1}))
            return OP_TAKEN if taken else SEQ_TAKEN
        self._remember(entry)
        return APPENDED

    async def head(self, chain: str) -> Entry | None:
        """By looking for the entries after the last one seen, since not every server sorts by an index."""
        seen, at = self._seen.get(chain, (None, 0.0))
        if seen is not None and time.monotonic() - at < FRESH_S:
            for _ in range(PROBES):
                row = await answer(self._rows.find_one({"_id": _id(chain, seen.seq + 1)}))
                if row is None:
                    return seen
                seen = self._remember(_open(row))
        head = _open(await answer(self._rows.find_one({"chain": chain}, sort=[("seq", DESCENDING)])))
        return self._remember(head) if head else None

    def _remember(self, entry: Entry) -> Entry:
        known = self._seen.get(entry.chain)
        if known is None or known[0].seq <= entry.seq:
            self._seen[entry.chain] = entry, time.monotonic()
            self._seen.move_to_end(entry.chain)
            if len(self._seen) > SEEN:
                self._seen.popitem(last=False)
        return entry

    async def entry_by_op(self, chain: str, op: str) -> Entry | None:
        return _open(await answer(self._rows.find_one({"chain": chain, "op": op})))

    async def entries(self, chain: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        cursor = self._rows.find({"chain": chain, "seq": {"$gt": Int64(after)}}).sort("seq", ASCENDING).limit(limit)
        return [_open(row) for row in await answer(cursor.to_list(limit))]

    async def remove_entries(self, chain: str, seqs: Sequence[int]) -> None:
        await answer(self._rows.delete_many({"chain": chain, "_id": {"$in": [_id(chain, seq) for seq in seqs]}}))

    async def chains(self, *, after: str = "", limit: int = 1000) -> list[str]:
        steps = [{"$match": {"chain": {"$gt": after}}}, {"$sort": {"chain": 1}}, {"$group": {"_id": "$chain"}},
                 {"$sort": {"_id": 1}}, {"$limit": limit}]
        return [row["_id"] for row in await answer(self._rows.aggregate(steps).to_list(limit))]


def _id(chain: str, seq: int) -> str:
    return f"{chain}:{seq:012d}"


def _open(row: dict | None) -> Entry | None:
    return _entry.decode(row["body"]) if row else None
