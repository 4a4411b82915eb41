"""Keys: nobody without a valid one, no 401 for a fault of ours, and a revocation that holds everywhere."""

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from smartoken.engine.auth import Keys, check_pepper
from smartoken.engine.changes import Batch, Change
from smartoken.engine.issue import create_account, issue_key, revoke_key, set_account_active
from smartoken.engine.keytext import ALPHABET, LENGTH, credentials_of, digest_of, new_key, well_formed
from smartoken.engine.seal import open_pepper
from smartoken.engine.snapshot import SnapshotKeeper
from smartoken.errors import ConfigError, Refusal
from tests.engine.catalog_kit import GIFTS, kit, until

PEPPER = b"p" * 32


def refusal(call, *args) -> Refusal:
    with pytest.raises(Refusal) as refused:
        call(*args)
    return refused.value


async def refusal_of(awaitable) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await awaitable
    return refused.value


# -- the text

def test_new_keys_are_well_formed_and_differ():
    keys = {new_key().text for _ in range(200)}
    assert len(keys) == 200 and all(well_formed(key.encode()) and len(key) == LENGTH == 55 for key in keys)


@given(some.integers(9, LENGTH - 1), some.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(at, letter):
    text = new_key().text
    changed = text[:at] + letter + text[at + 1:]
    assert well_formed(changed.encode()) is (changed == text)


@given(some.binary(max_size=80))
def test_anything_else_is_malformed(token):
    assert not well_formed(token)
    assert not well_formed(b"stk-live-" + token)


@pytest.mark.parametrize("headers", [
    {b"authorization": b"Bearer K"}, {b"authorization": b"bearer  K "}, {b"x-api-key": b"K"},
    {b"x-goog-api-key": b"K"}, {b"api-key": b" K"}, {b"authorization": b"Bearer K", b"x-api-key": b"K"},
    {b"authorization": b"Bearer K", b"api-key": b""}])
def test_where_a_key_may_stand(headers):
    assert credentials_of(headers) == b"K"


def test_a_key_may_stand_elsewhere_as_well():
    assert credentials_of({}, [b"K"]) == credentials_of({b"x-api-key": b"K"}, [b"K"]) == b"K"
    assert credentials_of({b"api-key": b"K"}, [b""]) == b"K"
    for headers, shown in (({b"x-api-key": b"a"}, [b"b"]), ({}, [b"a", b"b"]), ({}, [b""]), ({}, [b"a b"]), ({}, [b"\xff"])):
        assert refusal(credentials_of, headers, shown).status == 401


@pytest.mark.parametrize("headers", [
    {}, {b"authorization": b""}, {b"authorization": b"Bearer"}, {b"authorization": b"Bearer "},
    {b"authorization": b"Basic K"}, {b"authorization": b"K"}, {b"authorization": b"Bearer a b"},
    {b"authorization": b"Bearer a\tb"}, {b"authorization": b"Bearer a,b"}, {b"authorization": b"Bearer \xff"},
    {b"authorization": b"Bearer a, Bearer b"}, {b"authorization": b"Bearer a", b"x-api-key": b"b"},
    {b"api-key": b"a", b"x-goog-api-key": b"b"}, {b"x-api-key": b" "}, {b"x-api-key": b"\x00"}])
def test_anything_else_is_401(headers):
    refused = refusal(credentials_of, headers)
    assert (refused.status, refused.type) == (401, "authentication_error")


# -- in memory

async def with_key(it, **fields):
    acct = await create_account(it.catalog, "Alice", id="alice", overdraft_u="0.5")
    text, stored = await issue_key(it.catalog, PEPPER, "alice", **fields)
    return acct, text.encode(), stored


def changed(*ids, resync=False):
    return Batch(0, tuple(Change(collection, id, 0) for collection, id in ids), resync)


def test_cold_then_warm(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            _, token, stored = await with_key(it, models=["a/b"], rpm=5)
            keys = Keys(it.store, PEPPER)
            assert keys.find(token) is None
            key, account = await keys.fetch(token)
            assert keys.find(token) == (key, account)
            assert (key.kid, key.acct, key.models, key.rpm) == (stored["kid"], "alice", frozenset({"a/b"}), 5)
            assert account.overdraft_u == 500_000
            assert token.decode() not in str(stored) and stored["last4"] == token[-4:].decode()

    asyncio.run(main())


def test_a_stampede_is_one_read(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            _, token, _ = await with_key(it)
            keys = Keys(it.store, PEPPER)
            it.store.calls.clear()
            waiting = [asyncio.create_task(keys.fetch(token)) for _ in range(50)]
            await asyncio.sleep(0)
            waiting[0].cancel()                # the one that began the read leaves; the others still get theirs
            found = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(found[0], asyncio.CancelledError) and len({key.kid for key, _ in found[1:]}) == 1
            assert [call[:2] for call in it.store.calls] == [("get", "keys"), ("get", "accounts")]

    asyncio.run(main())


def test_an_unknown_key_is_asked_for_once(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            keys, token = Keys(it.store, PEPPER), new_key().text.encode()
            for _ in range(3):
                assert (await refusal_of(keys.fetch(token))).status == 401
            assert refusal(keys.find, token).status == 401
            assert len(it.store.calls) == 1
            assert refusal(keys.find, b"sk-other").status == 401
            assert len(it.store.calls) == 1

    asyncio.run(main())


def test_the_unknown_are_forgotten_in_time(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            keys = Keys(it.store, PEPPER)
            for number in range(10_050):
                keys._remember_unknown(number.to_bytes(32, "big"))
            assert len(keys._unknown) == 10_000

    asyncio.run(main())


def test_revoked_expired_suspended(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            now = [1000]
            _, token, stored = await with_key(it, exp_ms=2000)
            keys = Keys(it.store, PEPPER, now_ms=lambda: now[0])
            await keys.fetch(token)
            await set_account_active(it.catalog, "alice", False)
            await keys.apply(changed(("accounts", "alice")))
            refused = refusal(keys.find, token)
            assert (refused.status, refused.code) == (403, "account_suspended")
            await set_account_active(it.catalog, "alice", True)
            await keys.apply(changed(("accounts", "alice")))
            assert keys.find(token)
            now[0] = 2000
            assert refusal(keys.find, token).code == "key_expired"
            now[0] = 1000
            await revoke_key(it.catalog, stored["kid"])
            await keys.apply(changed(("keys", stored["_id"])))
            refused = refusal(keys.find, token)
            assert (refused.status, refused.code) == (401, "key_revoked")
            assert (await refusal_of(Keys(it.store, PEPPER).fetch(token))).code == "key_revoked"

    asyncio.run(main())


def test_the_store_away_is_never_a_401(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            _, token, _ = await with_key(it)
            warm, cold = Keys(it.store, PEPPER), Keys(it.store, PEPPER)
            await warm.fetch(token)
            it.store.away = True
            assert warm.find(token)
            refused = await refusal_of(cold.fetch(token))
            assert refused.status == 503 and refused.retry_after_s
            assert (await refusal_of(cold.fetch(new_key().text.encode()))).status == 503
            await warm.apply(changed(resync=True))
            assert warm.find(token)
            it.store.away = False
            assert await cold.fetch(token)

    asyncio.run(main())


def test_a_change_that_cannot_be_read_is_not_served_from_memory(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            _, token, stored = await with_key(it)
            keys = Keys(it.store, PEPPER)
            await keys.fetch(token)
            await revoke_key(it.catalog, stored["kid"])
            it.store.away = True
            await keys.apply(changed(("keys", stored["_id"])))
            assert (await refusal_of(keys.fetch(token))).status == 503
            it.store.away = False
            assert (await refusal_of(keys.fetch(token))).code == "key_revoked"

    asyncio.run(main())


def test_a_read_that_a_revocation_overtook_is_made_again(tmp_path):
    """The read began before the change and ends after it: memory must not get the old key back."""
    class Slow:
        def __init__(self, store):
            self._store, self.go, self.reached = store, asyncio.Event(), asyncio.Event()

        async def get(self, collection, id):
            found = await self._store.get(collection, id)
            if collection == "keys" and not self.go.is_set():
                self.reached.set()
                await self.go.wait()
            return found

    async def main():
        async with kit(tmp_path) as it:
            _, token, stored = await with_key(it)
            slow = Slow(it.store)
            keys = Keys(slow, PEPPER)
            fetching = asyncio.create_task(keys.fetch(token))
            await slow.reached.wait()
            await revoke_key(it.catalog, stored["kid"])
            await keys.apply(changed(("keys", stored["_id"])))
            slow.go.set()
            assert (await refusal_of(fetching)).code == "key_revoked"

    asyncio.run(main())


def test_resync_finds_what_nobody_announced(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            _, token, stored = await with_key(it)
            keys = Keys(it.store, PEPPER)
            await keys.fetch(token)
            await it.store.replace("keys", {**stored, "active": False, "rev": 2}, 1)
            await keys.apply(changed())
            assert keys.find(token)
            await keys.apply(changed(resync=True))
            assert refusal(keys.find, token).code == "key_revoked"
            await it.store.remove("keys", stored["_id"], 2)
            await keys.apply(changed(resync=True))
            assert keys.find(token) is None
            assert (await refusal_of(keys.fetch(token))).code == "invalid_api_key"

    asyncio.run(main())


def test_a_broken_document_is_our_fault(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await create_account(it.catalog, "A", id="a")
            token = new_key().text.encode()
            await it.store.insert("keys", {"_id": digest_of(PEPPER, token).hex(), "rev": 1, "acct": "a", "kid": 5})
            keys = Keys(it.store, PEPPER)
            assert (await refusal_of(keys.fetch(token))).status == 500

    asyncio.run(main())


def test_close_ends_what_is_under_way(tmp_path):
    class Hanging:
        async def get(self, collection, id):
            await asyncio.Event().wait()

    async def main():
        keys = Keys(Hanging(), PEPPER)
        fetching = asyncio.create_task(keys.fetch(new_key().text.encode()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await keys.close()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from smartoken.engine.issue import revoke_key
from tests.engine.catalog_kit import kit
async def main():
    async with kit(Path(sys.argv[1])) as it:
        await revoke_key(it.catalog, sys.argv[2])
asyncio.run(main())
"""


def test_a_revocation_by_another_process_holds_here(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            _, token, stored = await with_key(it)
            keys = Keys(it.store, PEPPER)
            keeper = SnapshotKeeper(it.store, GIFTS, it.sealer, tmp_path, listeners=(keys.apply,))
            await keeper.open()
            await keys.fetch(token)
            await asyncio.to_thread(subprocess.run, [sys.executable, "-c", OTHER_PROCESS, str(tmp_path),
                                                     stored["kid"]], check=True)

            def revoked() -> bool:
                try:
                    keys.find(token)
                except Refusal as refused:
                    return refused.code == "key_revoked"
                return False

            await until(revoked, "the revocation")
            await keeper.close()
            await keys.close()

    asyncio.run(main())


# -- issue

def test_another_pepper_is_found_out(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            await check_pepper(it.store, PEPPER)
            await with_key(it)
            await check_pepper(it.store, PEPPER)
            with pytest.raises(ConfigError, match="another pepper"):
                await check_pepper(it.store, open_pepper(tmp_path))

    asyncio.run(main())


def test_unknown_accounts_and_keys_are_named(tmp_path):
    async def main():
        async with kit(tmp_path) as it:
            for awaitable in (issue_key(it.catalog, PEPPER, "nobody"), revoke_key(it.catalog, "nokey"),
                              set_account_active(it.catalog, "nobody", False)):
                with pytest.raises(ConfigError, match="There is no"):
                    await awaitable
            await create_account(it.catalog, "A", id="a")
            with pytest.raises(ConfigError, match="already"):
                await create_account(it.catalog, "A", id="a")
            with pytest.raises(ConfigError):
                await create_account(it.catalog, "A", id="~changes")

    asyncio.run(main())
