"""SQLite against the contract, and what is its own: URLs, locks, crashes."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from smartoken.adapters.sqlite import open_sqlite
from smartoken.errors import ConfigError, StoreAway
from smartoken.testing.store_suite import CHECKS, check, entry


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.__name__)
def test_contract(one, tmp_path):
    asyncio.run(check(one, lambda: open_sqlite(f"sqlite:///{tmp_path}/deep/er/store.db")))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/x.db", "mysql:///x", "sqlite:///x?busy_ms=z"])
def test_bad_url(url):
    with pytest.raises(ConfigError):
        open_sqlite(url)


def test_relative_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def main():
        store = open_sqlite("sqlite:///var/x.db")
        await store.open()
        await store.close()

    asyncio.run(main())
    assert (tmp_path / "var/x.db").stat().st_mode & 0o777 == 0o600


def test_another_writer_holds_the_lock(tmp_path):
    async def main():
        store = open_sqlite(f"sqlite:///{tmp_path}/x.db?busy_ms=30")
        await store.open()
        rival = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAway):
            await store.append(entry("a", 1, "op"))
        assert await store.head("a") is None, "readers go on"
        rival.execute("ROLLBACK")
        assert await store.append(entry("a", 1, "op")) == "appended"
        rival.close()
        await store.close()
        with pytest.raises(StoreAway):
            await store.append(entry("a", 2, "op2"))
        with pytest.raises(StoreAway):
            await store.ping()

    asyncio.run(main())


def test_cannot_open(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreAway):
        asyncio.run(open_sqlite(f"sqlite:///{tmp_path}/file/x.db").open())
    (tmp_path / "dir.db").mkdir()
    with pytest.raises(StoreAway):
        asyncio.run(open_sqlite(f"sqlite:///{tmp_path}/dir.db").open())


def test_find_uses_the_index(tmp_path):
    async def main():
        store = open_sqlite(f"sqlite:///{tmp_path}/x.db")
        await store.open()
        await store.close()

    asyncio.run(main())
    sql = "EXPLAIN QUERY PLAN SELECT body FROM keys WHERE id > '' AND json_extract(body, '$.acct') = 'a' ORDER BY id"
    plan = str(sqlite3.connect(tmp_path / "x.db").execute(sql).fetchall())
    assert "keys_acct" in plan


APPENDER = """
import asyncio, sys
from smartoken.adapters.sqlite import open_sqlite
from smartoken.testing.store_suite import entry
async def main():
    store = open_sqlite(sys.argv[1])
    await store.open()
    for seq in range(1, 100000):
        await store.append(entry("a", seq, f"op:{seq}"))
        print(seq, flush=True)
asyncio.run(main())
"""


def test_what_was_answered_survives_sigkill(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    child = subprocess.Popen([sys.executable, "-c", APPENDER, url], stdout=subprocess.PIPE, text=True)
    answered = 0
    while answered < 50:
        answered = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    answered = int((child.stdout.read().split() or [answered])[-1])
    child.wait()
    child.stdout.close()

    async def main():
        store = open_sqlite(url)
        await store.open()
        head = await store.head("a")
        count = len(await store.entries("a", limit=100_000))
        await store.close()
        return head.seq, count

    last, count = asyncio.run(main())
    assert answered <= last <= answered + 1 and count == last
