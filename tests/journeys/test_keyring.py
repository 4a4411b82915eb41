"""A new key for the ring under running gateways: whatever is interrupted, every sealed secret opens afterwards."""

import asyncio
import json
import signal
import subprocess
from collections import Counter

from smartoken.cli._books import open_store
from smartoken.conf import load
from smartoken.engine.changes import every
from smartoken.engine.seal import kid_of, open_ring
from tests.harness import COMMAND, Gateway, channel, model, until
from tests.journeys.conftest import SAY

ASKED = 12   # connections of their own: the kernel spreads them over the workers


def seal(gateway: Gateway, name: str, credential: str) -> None:
    """`smartoken catalog credential NAME`, as from a script."""
    subprocess.run([COMMAND, "catalog", "credential", name], input=credential, cwd=gateway.folder, env=gateway.env,
                   check=True, text=True, capture_output=True)


def shown(gateway: Gateway) -> list[tuple[str, int]]:
    """(state, secrets) of each key."""
    return [(row["state"], row["secrets"]) for row in json.loads(gateway.run("keyring", "show", "--json"))]


def stored(gateway: Gateway, collection: str) -> list[dict]:
    """Every document of a collection, as it lies in the store."""
    async def read() -> list[dict]:
        store = open_store(load(str(gateway.conf)))
        await store.open()
        try:
            return await every(store, collection)
        finally:
            await store.close()
    return asyncio.run(read())


def opened(gateway: Gateway) -> dict[str, str]:
    """{channel: credential} with the ring as it is on disk."""
    sealer = open_ring(gateway.folder / "var")
    return {doc["_id"]: sealer.open("channels", doc["_id"], "credential", doc["credential"])
            for doc in stored(gateway, "channels")}


def test_running_workers_follow_a_new_key(tmp_path, upstream_process):
    gateway = Gateway(tmp_path, workers=2)
    gateway.apply(model("m"), channel("c", upstream_process.at("ring"), {"m": "x"}))
    seal(gateway, "c", "sk-first")
    gateway.start()
    try:
        client = gateway.client("caller")
        sent = lambda: _sent(gateway, upstream_process, client.key)
        assert sent() == {"Bearer sk-first"}
        assert shown(gateway) == [("seals and opens", 1)]

        gateway.run("keyring", "rotate")
        assert shown(gateway) == [("seals and opens", 1), ("opens", 0)]
        assert sent() == {"Bearer sk-first"}
        kid = open_ring(tmp_path / "var").newest
        known = tmp_path / "var" / "catalog.json"
        until(lambda: f".{kid}." in known.read_text(), "the new seal in what a start without the store reads")

        # A secret that comes later, and the old key gone from the ring: the workers met the new key by themselves.
        ring = tmp_path / "var" / "keyring"
        ring.write_text(ring.read_text().splitlines()[0])
        seal(gateway, "c", "sk-second")
        until(lambda: sent() == {"Bearer sk-second"}, "the new credential on every worker")
        gateway.kill_worker()
        until(gateway.all_ready, "the killed worker's successor")
        assert sent() == {"Bearer sk-second"}
        gateway.check_books(client)
    finally:
        gateway.close()


def _sent(gateway: Gateway, upstream_process, key: str) -> set[str]:
    """The credentials that the upstream was shown in a few calls."""
    upstream_process.reset()
    for _ in range(ASKED):
        assert gateway.post("/v1/chat/completions", {"model": "m", "messages": SAY, "max_tokens": 1}, key)[0] == 200
    return {value for call in upstream_process.seen() for name, value in call["headers"]
            if call["at"] == "ring" and name.lower() == "authorization"}


def test_killed_anywhere_it_is_finished_by_the_next_run(tmp_path):
    names = [f"c{n:03}" for n in range(200)]
    gateway = Gateway(tmp_path)
    gateway.apply(model("m"), channel("c000", "http://127.0.0.1:1/v1", {"m": "x"}))
    asyncio.run(_seal_all(gateway, names))
    old = open_ring(tmp_path / "var").newest
    process = subprocess.Popen([COMMAND, "keyring", "rotate"], cwd=tmp_path, env=gateway.env)
    asyncio.run(_kill_in_the_middle(gateway, process, old, len(names)))
    assert opened(gateway) == {name: f"sk-{name}" for name in names}
    assert len(shown(gateway)) == 2

    said = gateway.run("keyring", "rotate")
    assert "The new key" not in said and f"sealed with '{open_ring(tmp_path / 'var').newest}'" in said
    assert shown(gateway) == [("seals and opens", len(names)), ("opens", 0)]
    assert opened(gateway) == {name: f"sk-{name}" for name in names}


async def _kill_in_the_middle(gateway: Gateway, process: subprocess.Popen, old: str, count: int) -> None:
    store = open_store(load(str(gateway.conf)))
    await store.open()
    try:
        left = count
        while left == count:
            assert process.poll() is None, "it ended before it was killed"
            left = sum(kid_of(doc["credential"]) == old for doc in await every(store, "channels"))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was still at work"
    finally:
        await store.close()


async def _seal_all(gateway: Gateway, names: list[str]) -> None:
    """The catalog's one channel, once under each name, with a credential of its own."""
    store, sealer = open_store(load(str(gateway.conf))), open_ring(gateway.folder / "var")
    await store.open()
    try:
        (like,) = await every(store, "channels")
        for name in names:
            doc = like | {"_id": name, "credential": sealer.seal("channels", name, "credential", f"sk-{name}")}
            if name == like["_id"]:
                assert await store.replace("channels", doc | {"rev": like["rev"] + 1}, like["rev"])
            else:
                assert await store.insert("channels", doc)
    finally:
        await store.close()


def test_two_at_once_lose_no_key(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.apply(model("m"), channel("a", "http://127.0.0.1:1/v1", {"m": "x"}))
    asyncio.run(_seal_all(gateway, ["a", "b"]))
    both = [subprocess.Popen([COMMAND, "keyring", "rotate"], cwd=tmp_path, env=gateway.env) for _ in range(2)]
    codes = Counter(process.wait() for process in both)
    assert codes[0] >= 1 and not set(codes) - {0, 2}
    gateway.run("keyring", "rotate")
    assert opened(gateway) == {"a": "sk-a", "b": "sk-b"}


def test_a_second_factor_and_tokens_of_accounts_are_sealed_anew(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.apply(model("m"))
    asyncio.run(_put_people_and_tokens(gateway))
    gateway.run("keyring", "rotate")
    sealer = open_ring(tmp_path / "var")
    (admin,), tokens = stored(gateway, "admins"), stored(gateway, "oauth_tokens")
    assert kid_of(admin["totp"]) == sealer.newest
    assert sealer.open("admins", "ada", "totp", admin["totp"]) == "JBSWY3DPEHPK3PXP" and admin["rev"] == 2
    account = next(doc for doc in tokens if doc["kind"] == "account")
    assert sealer.open("oauth_tokens", "mine", "tokens", account["sealed"]) == "{}"
    assert next(doc for doc in tokens if doc["kind"] == "claim")["rev"] == 1


async def _put_people_and_tokens(gateway: Gateway) -> None:
    store, sealer = open_store(load(str(gateway.conf))), open_ring(gateway.folder / "var")
    await store.open()
    try:
        await store.insert("admins", {"_id": "ada", "rev": 1, "role": "owner",
                                      "totp": sealer.seal("admins", "ada", "totp", "JBSWY3DPEHPK3PXP")})
        await store.insert("oauth_tokens", {"_id": "mine", "rev": 1, "kind": "account",
                                            "sealed": sealer.seal("oauth_tokens", "mine", "tokens", "{}")})
        await store.insert("oauth_tokens", {"_id": "mine:1", "rev": 1, "kind": "claim"})
    finally:
        await store.close()


def test_a_ring_that_cannot_be_written_is_told(tmp_path):
    gateway = Gateway(tmp_path, conf='[secrets]\nkey_ring = "env:RING"\n')
    gateway.env["RING"] = "a:" + "A" * 42 + "E"
    gateway.run("keyring", "rotate", code=2)
    gateway.env["RING"] = "b:" + "E" * 42 + "A\n" + gateway.env["RING"]
    assert shown(gateway) == [("seals and opens", 0), ("opens", 0)]


def test_the_ring_alone_first_for_other_machines(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.apply(model("m"), channel("a", "http://127.0.0.1:1/v1", {"m": "x"}))
    asyncio.run(_seal_all(gateway, ["a"]))
    gateway.run("keyring", "rotate", "--ring-only")
    assert shown(gateway) == [("seals and opens", 0), ("opens", 1)]
    assert (tmp_path / "var" / "keyring").stat().st_mode & 0o777 == 0o600
    gateway.run("keyring", "rotate")
    assert shown(gateway) == [("seals and opens", 1), ("opens", 0)], "the key that waited is used, no third one is made"
