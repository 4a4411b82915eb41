"""`python -m tests.console.million [ROWS]`: how long the console's pages take over many usage records and keys.

Fills a store with rows of 10,000 keys over 60 days, serves it, and asks for every page 40 times. Prints a table.
"""

import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from smartoken.adapters import sqlite_usage
from smartoken.adapters.sqlite import open_sqlite
from smartoken.domain.documents import AccountDoc, KeyDoc, to_store
from smartoken.domain.usage import Attempt, Usage, UsageRecord
from tests.console.kit import Person, model
from tests.harness import Gateway

KEYS, ACCOUNTS, MODELS, CHANNELS, DAYS = 10_000, 1_000, 20, 8, 60
ASKED, BATCH = 40, 2_000


async def fill(file: Path, rows: int) -> str:
    """Accounts, keys and rows straight into the store; a rid to look for."""
    store = open_sqlite(f"sqlite:///{file}")
    await store.open()
    rng = random.Random(7)
    now_ms = int(time.time() * 1000)
    begun = time.monotonic()
    await asyncio.gather(*(store.insert("accounts",
                                        {**to_store(AccountDoc(id=f"acc-{n:06d}", name=f"Customer {n}")), "rev": 1})
                           for n in range(ACCOUNTS)))
    await asyncio.gather(*(store.insert("keys", {**to_store(KeyDoc(
        digest=f"{n:064x}", kid=f"{n:08d}", acct=f"acc-{n % ACCOUNTS:06d}",
        name=f"key {n}")), "rev": 1}) for n in range(KEYS)))
    await store.close()
    # The rows go in by the store's own statements, but without its care for the disk.
    fast = sqlite3.connect(file)
    fast.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA wal_autocheckpoint = 20000")
    rid = ""
    for start in range(0, rows, BATCH):
        batch = []
        for n in range(start, min(start + BATCH, rows)):
            at_ms = now_ms - DAYS * 86_400_000 + n * (DAYS * 86_400_000 // rows)
            key, cost_p = rng.randrange(KEYS), rng.randrange(10**6, 10**10)
            rid = f"{at_ms:011x}{n:020x}"
            batch.append(UsageRecord(
                rid=rid, acct=f"acc-{key % ACCOUNTS:06d}", key=f"{key:08d}", model=f"model-{rng.randrange(MODELS)}",
                at_ms=at_ms, wire="openai.chat", channel=f"channel-{rng.randrange(CHANNELS)}",
                status="failed" if n % 200 == 0 else "ok", usage=Usage(input=900, output=300), price_rev="m@1",
                cost_p=cost_p,
                split={"main": cost_p}, total_ms=900, first_ms=200,
                attempts=[Attempt("channel-1", "ok", 200, 800, cost_p // 2)]))
        sqlite_usage.put(fast, batch, [sqlite_usage.row_of(record) for record in batch])
        fast.commit()
    fast.close()
    print(f"{rows:,} rows in {time.monotonic() - begun:.0f} s", flush=True)
    return rid


def main() -> None:
    """Fill, serve, ask, print."""
    rows = int(sys.argv[1].replace("_", "")) if sys.argv[1:] else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder))
        (Path(folder) / "var").mkdir()
        rid = asyncio.run(fill(Path(folder) / "var" / "smartoken.db", rows))
        gateway.start()
        try:
            owner = Person(gateway).first_owner()
            channel = {"provider": "vllm", "base_url": "http://127.0.0.1:9/v1", "models": {"model-1": "x"}}
            owner.api("PUT", "/channels/channel-1", {"channel": channel, "rev": 0})
            owner.api("PUT", "/models/model-1", {"model": model("model-1"), "rev": 0})
            ask(owner, rid)
        finally:
            gateway.close()


def ask(owner: Person, rid: str) -> None:
    """Each page ASKED times; a line each."""
    pages = ("", "usage", "usage?days=90", "usage?split=acct", "usage?split=key&days=90",
             "usage?split=channel&measure=tokens",
             "usage?acct=acc-000007", "usage?key=00000042", "usage?acct=acc-000007&split=key",
             "usage?model=model-3&status=failed", "usage?channel=channel-2&days=7",
             f"usage?before={rid[:11]}0", f"usage/{rid}", "models", "models/model-1", "channels", "accounts",
             "accounts?q=Customer 99", "accounts/acc-000007", "keys", "keys?q=00000042", "system", "audit", "people")
    print(f"{'page':45} {'p50 ms':>8} {'p95 ms':>8}")
    for path in pages:
        took = []
        for _ in range(ASKED):
            begun = time.perf_counter()
            owner.page(f"/console/{path}" if path else "/console")
            took.append((time.perf_counter() - begun) * 1000)
        took.sort()
        print(f"/console/{path:36} {took[len(took) // 2]:8.1f} {took[int(len(took) * .95)]:8.1f}", flush=True)


if __name__ == "__main__":
    main()
