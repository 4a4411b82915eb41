"""MongoDB's wire against the contract, on a real server, and what is the adapter's own."""

import asyncio
import time

import pytest
from smartoken_plugins.mongo.store import open_mongo

from smartoken.errors import ConfigError, StoreAway
from smartoken.testing.store_suite import CHECKS, check, entry, record
from tests.contracts.careful import Careful
from tests.servers import Missing, required, running


def run(url, main):
    """Run `main(store)` on an opened store."""
    async def body():
        store = open_mongo(url)
        await store.open()
        try:
            return await main(store)
        finally:
            await store.close()

    return asyncio.run(body())


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.__name__)
def test_contract(one, mongo_url):
    asyncio.run(check(one, lambda: open_mongo(mongo_url)))


@pytest.mark.parametrize("url", ["mongodb://", "mongodb://host:port/x", "mongodb://h/x?readPreference=wrong"])
def test_bad_url(url):
    with pytest.raises(ConfigError, match=r"store\.url"):
        open_mongo(url)


def test_nobody_listens_and_not_opened():
    async def main():
        store = open_mongo("mongodb://127.0.0.1:9/x?serverSelectionTimeoutMS=200")
        with pytest.raises(StoreAway):
            await store.open()
        with pytest.raises(StoreAway, match="not open"):
            await store.head("a")

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["mongo", "indexed"])
def test_what_was_answered_survives_sigkill_of_the_server(kind, tmp_path):
    try:
        with running(kind, tmp_path) as server:
            async def main(store):
                for seq in range(1, 40):
                    await store.append(entry("a", seq, f"op:{seq}"))
                await store.insert("keys", {"_id": "k", "rev": 1})
                server.stop()
                with pytest.raises(StoreAway):
                    await store.append(entry("a", 40, "op:40"))
                with pytest.raises(StoreAway):
                    await store.get("keys", "k")
                server.start()
                store = Careful(store)
                assert await store.get("keys", "k") == {"_id": "k", "rev": 1}
                assert (await store.head("a")).seq in (39, 40)
                assert [link.seq for link in await store.entries("a")][:39] == list(range(1, 40))

            run(f"{server.url}/x?serverSelectionTimeoutMS=500", main)
    except Missing as missing:
        (pytest.fail if required(kind) else pytest.skip)(f"this test ends a server of its own: {missing}")


def test_names_with_dots_and_dollars_are_data(mongo_url):
    async def main(store):
        doc = {"_id": "c", "rev": 1, "models": {"gpt-4.1": "$x", "$where": {"a.b": [1]}}, "is": "mine", "$n": 1}
        assert await store.insert("channels", doc)
        assert await store.get("channels", "c") == doc
        assert await store.find("channels", {"is": "mine"}) == [doc]
        link = entry("a", 1, "op")
        link.state["leases"] = {"node.boot.1": {"amt": {"main": 3}}}
        await store.append(link)
        assert await store.head("a") == link

    run(mongo_url, main)


def test_find_sees_only_the_newest_revision(mongo_url):
    async def main(store):
        for number in range(9):
            await store.insert("keys", {"_id": f"k{number}", "rev": 1, "acct": "old"})
        for number in range(0, 9, 2):
            await store.replace("keys", {"_id": f"k{number}", "rev": 2, "acct": "new"}, 1)
        await store.remove("keys", "k1", 1)
        await store.remove("keys", "k2", 2)
        ids = lambda docs: [doc["_id"] for doc in docs]
        assert ids(await store.find("keys", {"acct": "old"})) == ["k3", "k5", "k7"]
        assert ids(await store.find("keys", {"acct": "new"}, limit=2)) == ["k0", "k4"]
        assert ids(await store.find("keys", {"acct": "old"}, limit=2, after="k3")) == ["k5", "k7"]
        assert ids(await store.find("keys", limit=3)) == ["k0", "k3", "k4"]
        assert await store.insert("keys", {"_id": "k1", "rev": 1, "acct": "again"})
        assert ids(await store.find("keys", {"acct": "again"})) == ["k1"]

    run(mongo_url, main)


def test_head_is_the_newest_however_far_others_went(mongo_url):
    async def main(store):
        other = open_mongo(mongo_url)
        await other.open()
        await store.append(entry("a", 1, "op:1"))
        assert (await store.head("a")).seq == 1
        for seq in range(2, 40):
            await other.append(entry("a", seq, f"op:{seq}"))
            if seq in (2, 7, 39):
                assert (await store.head("a")).seq == seq
        await other.close()

    run(mongo_url, main)


def test_usage_lies_by_months_and_reads_as_one(mongo_url):
    day_ms = 86_400_000

    async def main(store):
        rows = [record(f"r{n:03}", at_ms=n * 20 * day_ms, cost_p=n % 3) for n in range(40)]
        assert await store.put_usage(rows) == 40
        assert await store.put_usage(rows[5:9]) == 0
        assert await store.usage(limit=17) == rows[:17]
        assert await store.usage("a1", after="r016") == rows[17:]
        assert await store.usage(since_ms=rows[10].at_ms, until_ms=rows[30].at_ms) == rows[10:30]
        assert await store.usage_cost_p("a1") == sum(row.cost_p for row in rows)

    run(mongo_url, main)


def test_no_sum_lacks_a_row_that_came_while_it_was_made(mongo_url):
    """Late rows are written by one store while both ask for sums: each makes what the other takes away."""
    day_ms = 86_400_000

    async def main(store):
        other = open_mongo(mongo_url)
        await other.open()
        rows = [record(f"r{n:03}", f"a{n % 2}", at_ms=(n % 8) * day_ms + n, cost_p=n) for n in range(96)]
        writing = True

        async def ask(of):
            while writing:
                await of.usage_sums(("day",))
                await of.usage_sums(("acct",), until_day=4)

        asking = [asyncio.create_task(ask(of)) for of in (store, other)]
        for start in range(0, len(rows), 4):
            await store.put_usage(rows[start:start + 4])
        writing = False
        await asyncio.gather(*asking)
        for of in (store, other):
            assert [(one.day, one.cost_p) for one in await of.usage_sums(("day",))] == [
                (day, sum(row.cost_p for row in rows if row.at_ms // day_ms == day)) for day in range(8)]
            assert {one.acct: one.calls for one in await of.usage_sums(("acct",))} == {"a0": 48, "a1": 48}
        await other.close()

    run(mongo_url, main)


def test_the_rest_of_a_page_is_found_in_the_next_month(mongo_url):
    """Two processes whose clocks differ may put a later rid into the earlier month."""
    async def main(store):
        new_year = int(time.mktime(time.struct_time((2026, 1, 1, 0, 0, 0, 0, 0, 0)))) * 1000 - time.timezone * 1000
        early, late = record("r2", at_ms=new_year - 5), record("r1", at_ms=new_year + 5)
        await store.put_usage([early, late])
        assert [row.rid for row in await store.usage(limit=1)] == ["r1"]
        assert [row.rid for row in await store.usage(after="r1", limit=1)] == ["r2"]

    run(mongo_url, main)
