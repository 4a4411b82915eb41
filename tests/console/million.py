"""`python -m tests.console.million [ROWS] [--store mongo]`: how long the console's pages take over many usage records.

Fills a store with rows of 10,000 keys over 60 days, serves it, and asks for every page 40 times. Prints a table: the
first answer of a page by itself, since it may be the one that sums up, and the machine's load beside it. `--store mongo`
takes the server that SMARTOKEN_TEST_MONGO_URL names, else one with indexes of its own (see tests/servers); with a folder
after it (`--keep FOLDER`) what was filled stays there and is taken again.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from motor.motor_asyncio import AsyncIOMotorClient
from smartoken_plugins.mongo import usage as mongo_usage
from smartoken_plugins.mongo.store import open_mongo

from smartoken.adapters import sqlite_usage
from smartoken.adapters.sqlite import open_sqlite
from smartoken.domain.documents import AccountDoc, KeyDoc, to_store
from smartoken.domain.usage import Attempt, Usage, UsageRecord
from smartoken.ports import Store
from tests.console.kit import Person, model
from tests.harness import Gateway
from tests.servers import URLS, running

KEYS, ACCOUNTS, MODELS, CHANNELS, DAYS = 10_000, 1_000, 20, 8, 60
ASKED, BATCH = 40, 2_000
PAGES = ("", "usage", "usage?days=90", "usage?split=acct", "usage?split=acct&days=90", "usage?split=key&days=90",
         "usage?split=channel&measure=tokens",
         "usage?acct=acc-000007", "usage?key=00000042", "usage?acct=acc-000007&split=key",
         "usage?model=model-3&status=failed", "usage?channel=channel-2&days=7",
         "usage?before={before}", "usage/{rid}", "models", "models/model-1", "channels", "accounts",
         "accounts?q=Customer 99", "accounts/acc-000007", "keys", "keys?q=00000042", "system", "audit", "people")


def records(rows: int) -> Iterator[list[UsageRecord]]:
    """The rows in batches, the same for every store but for the time, which ends now."""
    rng = random.Random(7)
    span_ms = DAYS * 86_400_000
    begin_ms = int(time.time() * 1000) - span_ms
    for start in range(0, rows, BATCH):
        batch = []
        for n in range(start, min(start + BATCH, rows)):
            at_ms = begin_ms + n * (span_ms // rows)
            key, cost_p = rng.randrange(KEYS), rng.randrange(10**6, 10**10)
            batch.append(UsageRecord(
                rid=f"{at_ms:011x}{n:020x}", acct=f"acc-{key % ACCOUNTS:06d}", key=f"{key:08d}",
                model=f"model-{rng.randrange(MODELS)}", at_ms=at_ms, wire="openai.chat",
                channel=f"channel-{rng.randrange(CHANNELS)}", status="failed" if n % 200 == 0 else "ok",
                usage=Usage(input=900, output=300), price_rev="m@1", cost_p=cost_p, split={"main": cost_p},
                total_ms=900, first_ms=200, attempts=[Attempt("channel-1", "ok", 200, 800, cost_p // 2)]))
        yield batch


async def fill_documents(store: Store) -> None:
    """Accounts and keys, by the store's own insert."""
    await store.open()
    docs = [("accounts", AccountDoc(id=f"acc-{n:06d}", name=f"Customer {n}")) for n in range(ACCOUNTS)]
    docs += [("keys", KeyDoc(digest=f"{n:064x}", kid=f"{n:08d}", acct=f"acc-{n % ACCOUNTS:06d}", name=f"key {n}"))
             for n in range(KEYS)]
    for start in range(0, len(docs), 500):
        await asyncio.gather(*(store.insert(name, {**to_store(doc), "rev": 1}) for name, doc in docs[start:start + 500]))
    await store.close()


def fill_sqlite(file: Path, rows: int) -> str:
    """By the store's own statements, but without its care for the disk; a rid to look for."""
    asyncio.run(fill_documents(open_sqlite(f"sqlite:///{file}")))
    fast = sqlite3.connect(file)
    fast.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA wal_autocheckpoint = 20000")
    for batch in records(rows):
        sqlite_usage.put(fast, batch, [sqlite_usage.row_of(record) for record in batch])
        fast.commit()
    fast.close()
    return batch[-1].rid


async def fill_mongo(url: str, rows: int) -> str:
    """The rows that the store's own put would write, but without waiting for a disk, and indexed when all are there."""
    db = AsyncIOMotorClient(url).get_default_database()
    for batch in records(rows):
        months: dict[str, list[dict]] = {}
        for record in batch:
            months.setdefault(mongo_usage.month_of(record.at_ms), []).append(mongo_usage.row_of(record))
        for name, some in months.items():
            await db[name].insert_many(some, ordered=False)
    for name in await db.list_collection_names():
        for fields in mongo_usage.INDEXES:
            await db[name].create_index([(field, 1) for field in fields])
    db.client.close()
    await fill_documents(open_mongo(url))
    return batch[-1].rid


async def sum_up(url: str) -> float:
    """Let the store sum what is over, as it does by itself in time; the seconds that took."""
    store = open_mongo(url)
    await store.open()
    begun = time.monotonic()
    today = int(time.time()) // 86_400
    for field in ("day", "model", "channel", "acct"):
        await store.usage_sums((field,), since_day=today - 400, until_day=today + 1)
    await store.close()
    return time.monotonic() - begun


@contextlib.contextmanager
def filled(kind: str, folder: Path, rows: int) -> Iterator[tuple[str, str]]:
    """(URL of a store with all that in it, a rid to look for)."""
    mark = folder / "rid"
    if kind == "sqlite":
        url = f"sqlite:///{folder}/smartoken.db"
        if not mark.exists():
            mark.write_text(fill_sqlite(folder / "smartoken.db", rows))
        yield url, mark.read_text()
        return
    with contextlib.ExitStack() as stack:
        server = os.environ.get(URLS["mongo"]) or stack.enter_context(running("indexed", folder)).url
        if not mark.exists():
            url = f"{server.rstrip('/')}/million-{uuid.uuid4().hex[:8]}"
            mark.write_text(f"{asyncio.run(fill_mongo(url, rows))} {url.rpartition('/')[2]}")
        rid, database = mark.read_text().split()
        yield f"{server.rstrip('/')}/{database}", rid


def main() -> None:
    """Fill, serve, ask, print. What is kept keeps its gateway, too: keys and people belong to it."""
    words = argparse.ArgumentParser(prog="python -m tests.console.million")
    words.add_argument("rows", nargs="?", type=int, default=1_000_000)
    words.add_argument("--store", choices=("sqlite", "mongo"), default="sqlite")
    words.add_argument("--keep", type=Path)
    given = words.parse_args()
    with contextlib.ExitStack() as stack:
        kept = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        url, rid = stack.enter_context(filled(given.store, kept.resolve(), given.rows))
        print(f"{given.rows:,} rows in {time.monotonic() - begun:.0f} s", flush=True)
        if given.store == "mongo":
            print(f"sums of the days that are over in {asyncio.run(sum_up(url)):.0f} s", flush=True)
        (place := kept / "gateway").mkdir(exist_ok=True)
        gateway = Gateway(place.resolve(), store=url)
        gateway.start()
        try:
            owner = Person(gateway)
            owner.first_owner() if (place / "var" / "first-run-token").exists() else owner.sign_in("ada")
            channel = {"provider": "vllm", "base_url": "http://127.0.0.1:9/v1", "models": {"model-1": "x"}}
            owner.api("PUT", "/channels/channel-1", {"channel": channel, "rev": 0})
            owner.api("PUT", "/models/model-1", {"model": model("model-1"), "rev": 0})
            ask(owner, rid)
        finally:
            gateway.close()


def ask(owner: Person, rid: str) -> None:
    """Each page ASKED times; a line each."""
    print(f"{'page':45} {'first ms':>9} {'p50 ms':>8} {'p95 ms':>8} {'load':>6}")
    for path in PAGES:
        path, took = path.format(rid=rid, before=f"{rid[:11]}0"), []
        for _ in range(ASKED):
            begun = time.perf_counter()
            owner.page(f"/console/{path}" if path else "/console")
            took.append((time.perf_counter() - begun) * 1000)
        first, took = took[0], sorted(took)
        print(f"/console/{path:36} {first:9.1f} {took[len(took) // 2]:8.1f} {took[int(len(took) * .95)]:8.1f}"
              f" {os.getloadavg()[0]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
