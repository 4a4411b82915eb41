"""The one writer of the catalog, and the one way to hear of what it wrote.

Each write is a compare-and-set on the document's revision, followed by an entry on the chain CHANGES. A writer may
die between the two, so followers read everything anew once a minute besides.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from smartoken.domain.documents import SEALED, ChannelDoc, Document, ListingDoc, ModelDoc, id_of, is_clear, to_store
from smartoken.engine import chain
from smartoken.engine.seal import Sealer
from smartoken.errors import StoreAway
from smartoken.ports import CHANGES, SEQ_TAKEN, Entry, Store

log = logging.getLogger("smartoken.catalog")

TRIES = 30
PAGE = 1000


class Conflict(Exception):
    """Somebody else changed the document in between (an admin API answers 409): read it again, then write again."""


class Change(NamedTuple):
    """A document that is not what it was; `rev` is its new revision, or the last one of a removed document."""

    collection: str
    id: str
    rev: int


class Batch(NamedTuple):
    """What happened up to entry `seq` of CHANGES. `resync`: changes may have gone unheard, read everything anew."""

    seq: int
    changes: tuple[Change, ...]
    resync: bool


class Catalog:
    """Reads and writes documents. `sealer` closes what is secret in them; clear secrets never reach the store."""

    def __init__(self, store: Store, sealer: Sealer, *, node: str = "", now_ms: Callable[[], int] | None = None):
        self._store, self._sealer, self._node = store, sealer, node
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)

    async def get(self, collection: str, id: str) -> dict[str, Any] | None:
        return await self._store.get(collection, id)

    async def all(self, collection: str, where: dict[str, str | int] | None = None) -> list[dict[str, Any]]:
        """Every document of a collection (whose fields equal `where`), by ascending id."""
        return await every(self._store, collection, where)

    async def put(self, collection: str, doc: Document, rev: int | None = None) -> dict[str, Any]:
        """Write a document and announce it; returns it as stored.

        `rev` is the revision that it replaces: None whatever is there, 0 nothing (it is new). Conflict when that is
        not so (any more). A document that says what the stored one says keeps its revision, and is announced again:
        so after StoreAway the same call may simply be made again.
        """
        for _ in range(TRIES):
            old = await self._store.get(collection, id_of(doc))
            have = old["rev"] if old else 0
            if rev is not None and rev != have:
                raise Conflict(f"{collection} '{id_of(doc)}' is at revision {have}, not {rev}; read it again")
            new = await self._ready(collection, doc, old)
            if new == old:
                await self._announce(collection, new)
                return new
            new["rev"] = have + 1
            if await self._write(collection, new, have):
                await self._announce(collection, new)
                return new
        raise Conflict(f"{collection} '{id_of(doc)}' changes all the time; try again")

    async def remove(self, collection: str, id: str, rev: int | None = None) -> bool:
        """Remove a document and announce it; False when there is none. `rev` and Conflict as in `put`."""
        for _ in range(TRIES):
            old = await self._store.get(collection, id)
            if old is None:
                return False
            if rev is not None and rev != old["rev"]:
                raise Conflict(f"{collection} '{id}' is at revision {old['rev']}, not {rev}; read it again")
            if await self._store.remove(collection, id, old["rev"]):
                await self._announce(collection, old)
                return True
        raise Conflict(f"{collection} '{id}' changes all the time; try again")

    async def _ready(self, collection: str, doc: Document, old: dict[str, Any] | None) -> dict[str, Any]:
        """The dict to store: secrets sealed, price revision and date set, at the old revision."""
        if isinstance(doc, ChannelDoc):
            doc = self._sealed(doc, old)
        if isinstance(doc, ModelDoc):
            created = doc.created or (old or {}).get("created") or self._now_ms() // 1000
            doc = doc.model_copy(update={"created": created, "price_rev": await self._price_rev(doc, old)})
        if isinstance(doc, ListingDoc):
            doc = doc.model_copy(update={"created": doc.created or (old or {}).get("created")
                                         or self._now_ms() // 1000})
        new = to_store(doc)
        new["rev"] = old["rev"] if old else 0
        return new

    def _sealed(self, doc: ChannelDoc, old: dict[str, Any] | None) -> ChannelDoc:
        if is_clear(doc.credential):
            kept = (old or {}).get("credential", "")
            if self._sealer.knows(kept) and self._sealer.open("channels", doc.name, "credential",
                                                              kept) == doc.credential:
                return doc.model_copy(update={"credential": kept})
            blob = self._sealer.seal("channels", doc.name, "credential", doc.credential)
            return doc.model_copy(update={"credential": blob})
        if doc.credential.startswith(SEALED):
            self._sealer.open("channels", doc.name, "credential", doc.credential)
        return doc

    async def _price_rev(self, doc: ModelDoc, old: dict[str, Any] | None) -> str:
        """The revision that says these prices: the model's own while they stay, else a new one, stored for ever."""
        pricing = to_store(doc)["pricing"]
        if old and old["pricing"] == pricing:
            return old["price_rev"]
        for _ in range(TRIES):
            known = await every(self._store, "prices", {"slug": doc.slug})
            last = max(known, key=lambda price: price["n"], default=None)
            if last and last["pricing"] == pricing:
                return last["_id"]         # left by a writer that died, or by the model's former life
            n = last["n"] + 1 if last else 1
            price = {"_id": f"{doc.slug}@{n}", "rev": 1, "slug": doc.slug, "n": n, "pricing": pricing,
                     "at_ms": self._now_ms()}
            if await self._write("prices", price, 0):
                return price["_id"]
        raise Conflict(f"the prices of '{doc.slug}' change all the time; try again")

    async def _write(self, collection: str, doc: dict[str, Any], have: int) -> bool:
        """Insert or replace; a reply that got lost is looked up."""
        try:
            if have:
                return await self._store.replace(collection, doc, have)
            return await self._store.insert(collection, doc)
        except StoreAway:
            if await self._store.get(collection, doc["_id"]) == doc:
                return True
            raise

    async def _announce(self, collection: str, doc: dict[str, Any]) -> None:
        """Append to CHANGES, under one op over all tries. StoreAway when it stays unreachable: it is written but not
        yet announced, and other processes learn of it within a minute."""
        op = f"{collection}:{doc['_id']}:{doc['rev']}:{secrets.token_hex(6)}"
        delta = {"collection": collection, "id": doc["_id"], "rev": doc["rev"]}
        away = 0
        while True:
            try:
                head = await self._store.head(CHANGES)
                entry = chain.follow(head, chain=CHANGES, op=op, kind="change", at_ms=self._now_ms(), node=self._node,
                                     delta=delta, state={})
                if await self._store.append(entry) != SEQ_TAKEN:
                    return
            except StoreAway:
                away += 1
                if away > 2:
                    raise
            await asyncio.sleep(random.uniform(0, 0.01))


async def every(store: Store, collection: str, where: dict[str, str | int] | None = None) -> list[dict[str, Any]]:
    """All pages of `store.find`."""
    found: list[dict[str, Any]] = []
    while True:
        page = await store.find(collection, where, after=found[-1]["_id"] if found else "", limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found


async def head_seq(store: Store) -> int:
    """The newest seq of CHANGES, 0 when nothing was ever written. Read it before the documents, never after."""
    head = await store.head(CHANGES)
    return head.seq if head else 0


async def follow(store: Store, after: int, *, poll_s: float = 1.0, resync_s: float = 60.0,
                 hint: asyncio.Event | None = None) -> AsyncIterator[Batch]:
    """Changes after entry `after`, asked for every `poll_s`; a batch comes at each poll, mostly an empty one.

    Whoever sets `hint` has it asked at once.
    While the store is away nothing comes (logged once); it goes on where it was, for ever, until cancelled.
    """
    synced, away = time.monotonic(), False
    hint = hint or asyncio.Event()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(poll_s):
                await hint.wait()
        hint.clear()
        try:
            entries = await store.entries(CHANGES, after=after, limit=PAGE)
        except StoreAway as error:
            if not away:
                log.warning("the store is away, the catalog stays as it is: %s", error)
            away = True
            continue
        if away:
            log.info("the store is back")
        if entries:
            after = entries[-1].seq
        resync = away or len(entries) == PAGE or time.monotonic() - synced >= resync_s
        away = False
        if resync:
            synced = time.monotonic()
        yield Batch(after, tuple(_change(entry) for entry in entries), resync)


def _change(entry: Entry) -> Change:
    return Change(entry.delta["collection"], entry.delta["id"], entry.delta["rev"])
