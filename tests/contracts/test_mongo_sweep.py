"""What revisions leave behind on MongoDB: not found by what they were, and gone in time."""

import asyncio
import time

from motor.motor_asyncio import AsyncIOMotorClient
from smartoken_plugins.mongo.documents import Documents
from smartoken_plugins.mongo.sweep import sweep

LATER_MS = 3_600_000


def run(url, main):
    """Run `main(db, documents)` on an empty database."""
    async def body():
        client = AsyncIOMotorClient(url)
        documents = Documents(client.get_default_database())
        await documents.prepare()
        try:
            await main(client.get_default_database(), documents)
        finally:
            await documents.close()
            await asyncio.to_thread(client.close)

    asyncio.run(body())


async def sweep_all(rows):
    """As if all were old."""
    return await sweep(rows, 0, int(time.time() * 1000) + LATER_MS)


async def finish(documents, id):
    """A job's five revisions: open until the last."""
    await documents.insert("jobs", {"_id": id, "rev": 1, "open": 1})
    for rev in range(1, 4):
        assert await documents.replace("jobs", {"_id": id, "rev": rev + 1, "open": 1}, rev)
    assert await documents.replace("jobs", {"_id": id, "rev": 5, "open": 0}, 4)


def test_superseded_rows_are_not_looked_at_and_go(mongo_url):
    async def main(db, documents):
        for number in range(7):
            await finish(documents, f"j{number}")
        await documents.insert("jobs", {"_id": "running", "rev": 1, "open": 1})
        assert await db["jobs"].count_documents({"is.open": 1}) == 1
        assert [doc["_id"] for doc in await documents.find("jobs", {"open": 1})] == ["running"]
        assert await sweep(db["jobs"], 0, int(time.time() * 1000) - LATER_MS) == 0, "too young"
        assert await sweep_all(db["jobs"]) == 7 * 4
        assert await db["jobs"].count_documents({}) == 8
        assert [doc["rev"] for doc in await documents.find("jobs", {"open": 0})] == [5] * 7
        assert await documents.replace("jobs", {"_id": "j1", "rev": 6, "open": 0}, 5)

    run(mongo_url, main)


def test_a_removed_document_leaves_nothing_and_can_come_again(mongo_url):
    async def main(db, documents):
        for rev in (1, 2):
            await documents.insert("idempotency", {"_id": "k", "rev": 1, "hour": 1})
            await documents.replace("idempotency", {"_id": "k", "rev": 2, "hour": 1, "answer": "x" * 1000}, 1)
            assert await documents.remove("idempotency", "k", 2)
            assert await documents.get("idempotency", "k") is None
            assert await sweep_all(db["idempotency"]) == 3
            assert await db["idempotency"].count_documents({}) == 0, f"round {rev}"

    run(mongo_url, main)


class Meanwhile:
    """A database, where something happens before each insert."""

    def __init__(self, thing, happens):
        self._thing, self._happens = thing, happens

    def __getitem__(self, name):
        return Meanwhile(self._thing[name], self._happens)

    def __getattr__(self, name):
        method = getattr(self._thing, name)
        if name != "insert_one":
            return method

        async def call(*args):
            await self._happens()
            return await method(*args)
        return call


def test_a_sweep_between_look_and_insert_makes_no_two_owners(mongo_url):
    async def main(db, documents):
        await documents.insert("claims", {"_id": "c", "rev": 1})
        await documents.remove("claims", "c", 1)
        won = []

        async def happens():
            if not won:
                await sweep_all(db["claims"])
                won.append(await documents.insert("claims", {"_id": "c", "rev": 1, "by": "other"}))

        assert await Documents(Meanwhile(db, happens)).insert("claims", {"_id": "c", "rev": 1, "by": "me"}) is False
        assert won == [True]
        assert (await documents.get("claims", "c"))["by"] == "other"

    run(mongo_url, main)
