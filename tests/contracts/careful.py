"""What every caller of a Store does after StoreAway, as a Store: read again, and repeat only what did not happen."""

import asyncio
import random

from smartoken.errors import StoreAway
from smartoken.ports import APPENDED, OP_TAKEN

TRIES = 60


class Careful:
    """A Store over one that loses replies. `lost` counts the StoreAways it met."""

    def __init__(self, store):
        self._store, self.lost = store, 0
        self._appended = set()

    async def _insist(self, call, *args, **more):
        """The answer of a call that may be repeated as it is."""
        for attempt in range(TRIES):
            try:
                return await call(*args, **more)
            except StoreAway:
                self.lost += 1
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(random.uniform(0, 0.02))

    def __getattr__(self, name):
        """open, close, ping and everything that only reads."""
        method = getattr(self._store, name)
        return lambda *args, **more: self._insist(method, *args, **more)

    async def _settle(self, call, happened):
        """The answer of a write; when it is lost, what `await happened()` says: an answer, or None to do it again."""
        for _ in range(TRIES):
            try:
                return await call()
            except StoreAway:
                self.lost += 1
                answer = await happened()
                if answer is not None:
                    return answer
        raise StoreAway("too many replies lost")

    async def insert(self, collection, doc):
        async def happened():
            there = await self.get(collection, doc["_id"])
            return None if there is None else there == doc
        return await self._settle(lambda: self._store.insert(collection, doc), happened)

    async def replace(self, collection, doc, rev):
        async def happened():
            there = await self.get(collection, doc["_id"])
            return None if there and there["rev"] == rev else there == doc
        return await self._settle(lambda: self._store.replace(collection, doc, rev), happened)

    async def remove(self, collection, id, rev):
        there = await self.get(collection, id)
        if there is None or there["rev"] != rev:
            return False               # afterwards nobody could tell it from one that we removed

        async def happened():
            there = await self.get(collection, id)
            return None if there and there["rev"] == rev else there is None
        return await self._settle(lambda: self._store.remove(collection, id, rev), happened)

    async def append(self, entry):
        async def happened():
            there = await self.entry_by_op(entry.chain, entry.op)
            ours = there == entry and (entry.chain, entry.op) not in self._appended
            return None if there is None else APPENDED if ours else OP_TAKEN
        outcome = await self._settle(lambda: self._store.append(entry), happened)
        if outcome == APPENDED:
            self._appended.add((entry.chain, entry.op))
        return outcome

    async def put_usage(self, records):
        known = {record.rid for record in await self.usage(limit=100_000)}
        new = {record.rid for record in records} - known
        lost = self.lost
        count = await self._insist(self._store.put_usage, records)
        return len(new) if self.lost > lost else count
