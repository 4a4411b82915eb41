"""What each process tells about itself, every few seconds, in the collection `figures`: one document a process.

So any worker can show all of them, on every node. Display only: nothing decides by it.
"""

import asyncio
import logging
import os
import time
from typing import Any

import smartoken
from smartoken.errors import StoreAway
from smartoken.ports import Store

EVERY_S = 3
GONE_MS = 15_000               # a process not heard of for so long is down
FORGET_MS = 24 * 3600 * 1000   # and forgotten after so long

log = logging.getLogger("smartoken.figures")


async def tell(gateway: Any) -> None:
    """Write this process's document until cancelled."""
    started_ms = gateway.clock.now_ms()
    while True:
        try:
            begun = time.perf_counter()
            await gateway.store.ping()
            store_us = int((time.perf_counter() - begun) * 1_000_000)
            await put(gateway.store, of(gateway, started_ms, store_us))
        except StoreAway as away:
            log.info("figures are not told while the store is away: %s", away)
        await asyncio.sleep(EVERY_S)


async def put(store: Store, doc: dict[str, Any]) -> None:
    """Write a document of figures; nobody else writes it, so a lost race is another process of the same name."""
    old = await store.get("figures", doc["_id"])
    if old is None:
        await store.insert("figures", {**doc, "rev": 1})
    else:
        await store.replace("figures", {**doc, "rev": old["rev"] + 1}, old["rev"])


async def nodes(store: Store, now_ms: int) -> list[dict[str, Any]]:
    """The documents of all processes, by name, each with `up`; long gone ones are removed."""
    found = []
    for doc in await store.find("figures"):
        if "started_ms" not in doc:
            continue
        if doc["at_ms"] + FORGET_MS < now_ms:
            await store.remove("figures", doc["_id"], doc["rev"])
        else:
            found.append({**doc, "up": doc["at_ms"] + GONE_MS >= now_ms})
    return found


def of(gateway: Any, started_ms: int, store_us: int) -> dict[str, Any]:
    """This process, as JSON. Times in ms, `_us` in microseconds."""
    journal, snapshots, rows = gateway.journal, gateway.snapshots, health(gateway)
    waiting = sorted(journal.folder.glob("usage-*.wal"))
    return {
        "_id": gateway.node, "at_ms": gateway.clock.now_ms(), "started_ms": started_ms, "pid": os.getpid(),
        "version": smartoken.__version__, "ready": gateway.ready, "calls": len(gateway.calls),
        "connections": gateway.connections(), "upstream": gateway.pool.counts(), "store_us": store_us,
        "journal": {"healthy": journal.healthy, "running": journal.running, "segments": len(waiting),
                    "bytes": sum(path.stat().st_size for path in waiting if path.exists())},
        "leases": len(gateway.leases.spent()), "seq": snapshots.current.seq,
        "problems": [str(problem) for problem in snapshots.problems], "alarms": gateway.health.alarms,
        "health": rows}


def health(gateway: Any) -> list[dict[str, Any]]:
    """How each (channel, model) did as this process saw it: of its last 30 seconds, and whether it rests."""
    now_us = gateway.clock.mono_us()
    book, snapshot, rows = gateway.health, gateway.snapshots.current, []
    book.keep(snapshot)
    for name, slug, _, one in book.rows():
        rest_us = max(0, one.rest_until_us - now_us, book.channel_rest_us(snapshot.channels[name], now_us))
        rows.append({"channel": name, "model": slug, "inflight": one.inflight, "first_ms": one.first_us // 1000,
                     "good": one.good, "bad": one.bad, "rest_ms": rest_us // 1000, "ejected": bool(one.ejected_until_us),
                     "out_ms": max(0, one.ejected_until_us - now_us) // 1000})
    return rows
