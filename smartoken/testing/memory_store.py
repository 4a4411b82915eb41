"""A Store in this process's memory, for tests that need thousands of them and every possible order of events.

`turns` is a seeded random.Random: each call then gives way to others a few times before it acts and after, so that one
seed is one interleaving. Several MemoryStores on one `tables` are several processes on one database.
"""

import asyncio
import json
import random
from typing import Any

import msgspec

from smartoken.domain.usage import SUM_FIELDS, regroup, sum_of
from smartoken.ports import APPENDED, COLLECTIONS, OP_TAKEN, SEQ_TAKEN


def tables() -> dict[str, Any]:
    """An empty database."""
    return {"docs": {name: {} for name in COLLECTIONS}, "chains": {}, "usage": {}}


class MemoryStore:
    """See ports.Store."""

    def __init__(self, tables: dict[str, Any], turns: random.Random | None = None):
        self._docs, self._chains, self._usage = tables["docs"], tables["chains"], tables["usage"]
        self._turns = turns

    async def _turn(self) -> None:
        if self._turns is not None:
            for _ in range(self._turns.randrange(4)):
                await asyncio.sleep(0)

    async def _do(self, act):
        await self._turn()
        result = act()
        await self._turn()
        return result

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> None: ...

    async def get(self, collection, id):
        return await self._do(lambda: json.loads(self._docs[collection].get(id, "null")))

    async def find(self, collection, where=None, *, after="", limit=1000):
        for field, value in (where or {}).items():
            if not field.isidentifier() or type(value) not in (str, int):
                raise ValueError(f"cannot look for {field!r} = {value!r}")

        def act():
            docs = (json.loads(text) for id, text in sorted(self._docs[collection].items()) if id > after)
            return [doc for doc in docs if all(doc.get(f) == v for f, v in (where or {}).items())][:limit]

        return await self._do(act)

    async def insert(self, collection, doc):
        text = json.dumps(doc)
        return await self._do(lambda: self._docs[collection].setdefault(doc["_id"], text) is text)

    async def replace(self, collection, doc, rev):
        text = json.dumps(doc)

        def act():
            if not self._has(collection, doc["_id"], rev):
                return False
            self._docs[collection][doc["_id"]] = text
            return True

        return await self._do(act)

    async def remove(self, collection, id, rev):
        return await self._do(lambda: self._has(collection, id, rev) and bool(self._docs[collection].pop(id)))

    def _has(self, collection, id, rev) -> bool:
        text = self._docs[collection].get(id)
        return text is not None and json.loads(text)["rev"] == rev

    async def append(self, entry):
        entry = msgspec.json.decode(msgspec.json.encode(entry), type=type(entry))

        def act():
            chain = self._chains.setdefault(entry.chain, {})
            if any(link.op == entry.op for link in chain.values()):
                return OP_TAKEN
            return APPENDED if chain.setdefault(entry.seq, entry) is entry else SEQ_TAKEN

        return await self._do(act)

    async def head(self, chain):
        return await self._do(lambda: max(self._links(chain), key=lambda link: link.seq, default=None))

    async def entry_by_op(self, chain, op):
        return await self._do(lambda: next((link for link in self._links(chain) if link.op == op), None))

    async def entries(self, chain, *, after=0, limit=1000):
        return await self._do(lambda: sorted((link for link in self._links(chain) if link.seq > after),
                                             key=lambda link: link.seq)[:limit])

    async def remove_entries(self, chain, seqs):
        await self._do(lambda: [self._chains.get(chain, {}).pop(seq, None) for seq in seqs] and None)

    def _links(self, chain):
        return self._chains.get(chain, {}).values()

    async def chains(self, *, after="", limit=1000):
        return await self._do(lambda: sorted(name for name in self._chains if name > after)[:limit])

    async def put_usage(self, records):
        if any(abs(record.cost_p) >= 2**63 for record in records):
            raise OverflowError("a cost must fit an int64")

        def act():
            fresh = {record.rid: record for record in reversed(records) if record.rid not in self._usage}
            self._usage.update(fresh)
            return len(fresh)

        return await self._do(act)

    async def usage(self, acct="", *, since_ms=0, until_ms=2**62, after="", limit=1000):
        return await self._do(lambda: [row for rid, row in sorted(self._usage.items()) if rid > after and
                                       acct in ("", row.acct) and since_ms <= row.at_ms < until_ms][:limit])

    async def usage_page(self, where=None, *, before="", since_ms=0, until_ms=2**62, limit=50):
        def fits(row):
            return (since_ms <= row.at_ms < until_ms and (not before or row.rid < before)
                    and all(getattr(row, name) == str(value) for name, value in (where or {}).items()))
        return await self._do(lambda: [row for _, row in sorted(self._usage.items(), reverse=True)
                                       if fits(row)][:limit])

    async def usage_sums(self, by, where=None, *, since_day=0, until_day=2**31, limit=1000):
        if not {*by, *(where or {})} <= set(SUM_FIELDS):
            raise ValueError(f"cannot sum by {by} where {where}; known: {SUM_FIELDS}")
        return await self._do(lambda: regroup(map(sum_of, self._usage.values()), by, where or {}, since_day,
                                              until_day)[:limit])

    async def usage_cost_p(self, acct):
        return await self._do(lambda: sum(row.cost_p for row in self._usage.values() if row.acct == acct))
