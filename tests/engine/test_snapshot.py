"""The keeper: it follows other processes, outlives the store, and starts without it."""

import asyncio
import json
import logging
import subprocess
import sys
import threading

import pytest

from smartoken.engine.compile import Gifts
from smartoken.engine.seal import Sealer, open_ring
from smartoken.engine.snapshot import LAST_KNOWN, SnapshotKeeper
from smartoken.errors import ConfigError, StoreAway
from smartoken.plugin.types import Provider
from smartoken.secrets import resolve
from tests.engine.catalog_kit import GIFTS, Kit, channel, kit, model, until

OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from tests.engine.catalog_kit import kit, model
async def main():
    async with kit(Path(sys.argv[1])) as it:
        await it.catalog.put("models", model(pricing={"input_per_mtok": int(sys.argv[2]), "output_per_mtok": 1}))
asyncio.run(main())
"""


def keeper_of(it: Kit, **more) -> SnapshotKeeper:
    return SnapshotKeeper(it.store, GIFTS, more.pop("sealer", it.sealer), it.folder, **{"poll_s": 0.02, **more})


def price(keeper) -> int | None:
    found = keeper.current.models.get("acme/chat")
    return found and found.price.input_u


def test_a_change_by_another_process_is_seen(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            keeper = keeper_of(it, poll_s=1.0)
            await keeper.open()
            for wanted in (5, 7):
                await asyncio.to_thread(subprocess.run, [sys.executable, "-c", OTHER_PROCESS, str(tmp_path),
                                                         str(wanted)], check=True)
                await until(lambda wanted=wanted: price(keeper) == wanted, "the new price")
            assert keeper.current.models["acme/chat"].price.rev == "acme/chat@2"
            await keeper.close()

    asyncio.run(main())


def test_a_change_that_nobody_announced_comes_with_the_resync(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model())
            keeper = keeper_of(it, resync_s=0.1)
            await keeper.open()
            stored = await it.store.get("models", "acme/chat")
            await it.store.replace("models", {**stored, "title": "x", "rpm": 9, "rev": 2}, 1)
            await until(lambda: keeper.current.models["acme/chat"].rpm == 9, "the unannounced change")
            await keeper.close()

    asyncio.run(main())


def test_nothing_new_is_nothing_replaced(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model())
            keeper = keeper_of(it)
            await keeper.open()
            before = keeper.current
            await keeper.refresh()
            assert keeper.current is before
            await keeper.close()

    asyncio.run(main())


def test_the_catalog_is_compiled_only_when_it_changed_and_never_on_the_loop(tmp_path):
    """The provider's `auth` is asked once for each wire of a channel when a snapshot is compiled."""
    asked, resolved = [], []

    def auth(credential):
        asked.append(threading.get_ident())
        return (("Authorization", credential),)

    def secret(ref):
        resolved.append(threading.get_ident())
        return resolve(ref)

    gifts = Gifts({"acme": Provider("acme", "https://api.acme.test/v1", auth, {"openai.chat": "/chat/completions"})})

    async def main():
        async with kit(tmp_path) as it:
            (tmp_path / "secret").write_text("one")
            await it.catalog.put("channels", channel(credential=f"file:{tmp_path}/secret"))
            keeper = SnapshotKeeper(it.store, gifts, it.sealer, tmp_path, secret=secret)
            await keeper.open()
            compiled = len(asked)
            for _ in range(3):
                await keeper.refresh()
            assert (compiled, len(asked), len(resolved)) == (1, 1, 4)
            (tmp_path / "secret").write_text("two")
            await keeper.refresh()
            assert len(asked) == 2 and keeper.current.channels["acme"].credential == "two"
            await keeper.close()

    asyncio.run(main())
    assert threading.get_ident() not in asked, "compiling held up the loop"
    assert set(resolved) == {threading.get_ident()}, "vaults of plugins live on the loop"


@pytest.mark.parametrize("first", ["open", "refresh"])
def test_of_two_readings_the_later_one_wins(tmp_path, first):
    """While the first compiles what it has read, the catalog changes and somebody else asks."""
    armed, others, over = [], [], threading.Event()

    def auth(credential):                  # in the first one's thread
        if armed:
            armed.clear()
            over.wait(2)                   # for the other to end, if nothing keeps it from overtaking
        return ()

    gifts = Gifts({"acme": Provider("acme", "https://api.acme.test/v1", auth, {"openai.chat": "/chat/completions"})})

    async def main():
        async with kit(tmp_path) as it:
            async def other():
                await it.catalog.put("models", model(pricing={"input_per_mtok": 7, "output_per_mtok": 1}))
                await keeper.refresh()
                over.set()

            def secret(ref):
                if armed and not others:
                    others.append(asyncio.create_task(other()))
                return "secret"

            keeper = SnapshotKeeper(it.store, gifts, it.sealer, tmp_path, secret=secret, poll_s=600)
            await it.catalog.put("models", model())
            await it.catalog.put("channels", channel(credential="env:key"))
            if first == "refresh":
                await keeper.open()
                await it.catalog.put("channels", channel("other", credential="env:key"))
            armed.append(True)
            await (keeper.open() if first == "open" else keeper.refresh())
            await asyncio.gather(*others)
            assert price(keeper) == 7
            await keeper.close()

    asyncio.run(main())


def test_a_rotated_secret_file_comes_with_the_resync(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            (tmp_path / "secret").write_text("one")
            await it.catalog.put("channels", channel(credential=f"file:{tmp_path}/secret"))
            keeper = keeper_of(it, resync_s=0.1)
            await keeper.open()
            assert keeper.current.channels["acme"].credential == "one"
            (tmp_path / "secret").write_text("two")
            await until(lambda: keeper.current.channels["acme"].credential == "two", "the new secret")
            (tmp_path / "secret").write_text("")
            await until(lambda: "acme" not in keeper.current.channels, "the channel's leaving")
            assert "empty" in str(keeper.problems[0])
            await keeper.close()

    asyncio.run(main())


def test_the_store_goes_and_comes_back(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model())
            keeper = keeper_of(it)
            await keeper.open()
            it.store.away = True
            await asyncio.sleep(0.1)
            assert price(keeper) == 100
            it.store.away = False
            await it.catalog.put("models", model(pricing={"input_per_mtok": 8, "output_per_mtok": 1}))
            await until(lambda: price(keeper) == 8, "the change after the outage")
            await keeper.close()

    asyncio.run(main())


def test_a_start_without_the_store_uses_what_was_last_known(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("models", model())
            await it.catalog.put("channels", channel())
            keeper = keeper_of(it)
            await keeper.open()
            await keeper.close()
            kept = (tmp_path / LAST_KNOWN).read_text()
            assert "canary" not in kept and (tmp_path / LAST_KNOWN).stat().st_mode & 0o777 == 0o600
            it.store.away = True
            keeper = keeper_of(it)
            await keeper.open()
            assert price(keeper) == 100 and keeper.current.channels["acme"].credential == "sk-clear-canary"
            it.store.away = False
            await it.catalog.put("models", model(pricing={"input_per_mtok": 9, "output_per_mtok": 1}))
            await until(lambda: price(keeper) == 9, "the change")
            await keeper.close()

    asyncio.run(main())


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"seq": 1}'])
def test_a_start_without_store_and_last_known_says_so(tmp_path, content):
    async def main():
        async with kit(tmp_path) as it:
            if content is not None:
                (tmp_path / LAST_KNOWN).write_text(content)
            it.store.away = True
            with pytest.raises(StoreAway):
                await keeper_of(it).open()

    asyncio.run(main())


def test_no_start_without_a_key_that_is_needed(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("channels", channel())
            keeper = keeper_of(it, sealer=open_ring(tmp_path / "another"))
            with pytest.raises(ConfigError, match="not on the key ring"):
                await keeper.open()

    asyncio.run(main())


def test_a_problem_is_logged_once_without_the_secret(tmp_path, caplog):
    caplog.set_level(logging.INFO, "smartoken")

    async def main():
        async with kit(tmp_path) as it:
            await it.catalog.put("channels", channel())
            await it.catalog.put("channels", channel("odd", provider="nobody"))
            keeper = keeper_of(it)
            await keeper.open()
            await keeper.refresh()
            await keeper.refresh()
            await keeper.close()

    asyncio.run(main())
    assert len([line for line in caplog.messages if "nobody" in line]) == 1
    assert "canary" not in caplog.text


def test_a_listener_that_fails_gets_a_resync_and_holds_up_nobody(tmp_path):
    async def main():
        heard, failing = [], [True]

        async def listener(batch):
            if batch.changes and failing.pop():
                raise RuntimeError("a fault of the listener")
            heard.append((batch.resync, [change.id for change in batch.changes]))

        async with kit(tmp_path) as it:
            keeper = keeper_of(it, listeners=(listener,))
            await keeper.open()
            await it.catalog.put("models", model())
            await until(lambda: price(keeper) == 100, "the model, in spite of the fault")
            await until(lambda: (True, []) in heard, "the resync after the fault")
            failing.append(False)
            await it.catalog.put("models", model("acme/second"))
            await until(lambda: (False, ["acme/second"]) in heard, "the second change")
            await keeper.close()

    asyncio.run(main())


def test_the_ready_answer_is_the_models(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            keeper = keeper_of(it, sealer=Sealer({"k": b"k" * 32}))
            assert json.loads(keeper.current.models_json) == {"object": "list", "data": []}
            await it.catalog.put("models", model())
            await keeper.open()
            assert [one["id"] for one in json.loads(keeper.current.models_json)["data"]] == ["acme/chat"]
            await keeper.close()

    asyncio.run(main())
