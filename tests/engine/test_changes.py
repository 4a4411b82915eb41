"""The catalog's writer: revisions, races, lost replies, prices that never change, secrets that never lie open."""

import asyncio

import pytest

from smartoken.adapters.sqlite import open_sqlite
from smartoken.engine.changes import Catalog, Conflict, every, follow, head_seq
from smartoken.errors import ConfigError, StoreAway
from smartoken.ports import CHANGES
from tests.engine.catalog_kit import channel, kit, model


def test_put_raises_the_revision_and_announces(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            first = await it.catalog.put("models", model())
            again = await it.catalog.put("models", model())
            other = await it.catalog.put("models", model(title="Chat"))
            assert (first["rev"], again["rev"], other["rev"]) == (1, 1, 2)
            assert await it.catalog.remove("models", "acme/chat")
            assert not await it.catalog.remove("models", "acme/chat")
            entries = await it.store.entries(CHANGES)
            assert [entry.seq for entry in entries] == [1, 2, 3, 4]
            assert {(entry.delta["collection"], entry.delta["id"]) for entry in entries} == {("models", "acme/chat")}
            assert [entry.prev_hash for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]

    asyncio.run(main())


def test_a_race_is_a_conflict(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model(), rev=0)
            for rev in (0, 2):
                with pytest.raises(Conflict):
                    await it.catalog.put("models", model(title="x"), rev=rev)
            with pytest.raises(Conflict):
                await it.catalog.remove("models", "acme/chat", rev=7)
            assert (await it.catalog.put("models", model(title="x"), rev=1))["rev"] == 2

    asyncio.run(main())


def test_many_writers_on_one_file_lose_nothing(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            others = [open_sqlite(f"sqlite:///{tmp_path}/store.db") for _ in range(2)]
            for store in others:
                await store.open()
            writers = [Catalog(store, it.sealer) for store in (it.store, *others)]
            await asyncio.gather(*(writer.put("models", model(title=f"{number} {turn}"))
                                   for turn in range(8) for number, writer in enumerate(writers)))
            stored = await it.catalog.get("models", "acme/chat")
            assert stored["rev"] == 24
            assert [entry.seq for entry in await it.store.entries(CHANGES)] == list(range(1, 25))
            assert len(await every(it.store, "prices")) == 1
            for store in others:
                await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_replies_are_looked_up(tmp_path, lost):
    async def main():
        async with kit(tmp_path) as it:
            it.store.lost = lost
            stored = await it.catalog.put("models", model())
            assert stored == await it.catalog.get("models", "acme/chat") and stored["price_rev"] == "acme/chat@1"
            assert len(await it.store.entries(CHANGES)) == 1

    asyncio.run(main())


def test_after_the_store_was_away_the_same_call_does_it(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model())
            it.store.away = True
            with pytest.raises(StoreAway):
                await it.catalog.put("models", model(title="x"))
            it.store.away = False
            assert (await it.catalog.put("models", model(title="x")))["rev"] == 2

    asyncio.run(main())


def test_a_price_change_makes_a_revision_that_never_changes(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            put = lambda price, **more: it.catalog.put(
                "models", model(pricing={"input_per_mtok": price, "output_per_mtok": 200}, **more))
            revs = [(await put(100))["price_rev"], (await put(100, title="x"))["price_rev"],
                    (await put(150))["price_rev"], (await put(100))["price_rev"]]
            assert revs == ["acme/chat@1", "acme/chat@1", "acme/chat@2", "acme/chat@3"]
            prices = await every(it.store, "prices")
            assert [price["pricing"]["input_per_mtok"] for price in prices] == [100, 150, 100]
            await it.catalog.remove("models", "acme/chat")
            assert (await put(777))["price_rev"] == "acme/chat@4"
            for number in range(5, 13):
                assert (await put(number))["price_rev"] == f"acme/chat@{number}"

    asyncio.run(main())


def test_the_credential_never_lies_open(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            stored = await it.catalog.put("channels", channel())
            again = await it.catalog.put("channels", channel())
            assert stored["credential"].startswith("v1.") and again["rev"] == 1
            assert it.sealer.open("channels", "acme", "credential", stored["credential"]) == "sk-clear-canary"
            assert (await it.catalog.put("channels", channel(credential="env:X")))["credential"] == "env:X"
            for wrong in ("v1.not.our.seal", stored["credential"][:-9], "v1.sk-clear-canary"):
                with pytest.raises(ConfigError):
                    await it.catalog.put("channels", channel(credential=wrong))
            with pytest.raises(ConfigError):
                await it.catalog.put("channels", channel("other", credential=stored["credential"]))

    asyncio.run(main())
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"acme" in written and b"canary" not in written


def test_follow_gives_what_came_and_goes_on_after_an_outage(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model("acme/before"))
            batches = follow(it.store, await head_seq(it.store), poll_s=0.01, resync_s=3600)
            await it.catalog.put("models", model())
            batch = await anext(batches)
            assert [change.id for change in batch.changes] == ["acme/chat"] and not batch.resync
            assert (await anext(batches)).changes == ()
            it.store.away = True
            waiting = asyncio.create_task(anext(batches))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            it.store.away = False
            await it.catalog.put("models", model("acme/after"))
            batch = await waiting
            assert batch.resync
            seen = [change.id for change in batch.changes]
            while not seen:
                seen += [change.id for change in (await anext(batches)).changes]
            assert seen == ["acme/after"]
            await batches.aclose()

    asyncio.run(main())
