"""Who asks: from a key's text to its Key and Account, out of memory; the store is asked once for a cold one.

A key that the store does not confirm is never let in, and a store that does not answer is never a 401.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from smartoken.domain.catalog import Account, Key
from smartoken.domain.documents import AccountDoc, AnyDocument, KeyDoc, from_store
from smartoken.engine.changes import Batch
from smartoken.engine.keytext import credentials_of, digest_of, new_key, unauthorized, well_formed
from smartoken.engine.seal import fingerprint
from smartoken.errors import ConfigError, Refusal, StoreAway, refuse
from smartoken.ports import Store

log = logging.getLogger("smartoken.auth")

UNKNOWN_FOR_S, UNKNOWN_MAX = 10, 10_000
IDLE_RESYNCS = 60                          # a key not used over so many resyncs (an hour) leaves memory
RESYNC_SLICE = 500                         # read anew per batch, so that a revocation never waits for a long resync


class _Known:
    """A key in memory; `idle` counts the resyncs since it was last used."""

    __slots__ = ("idle", "key")

    def __init__(self, key: Key):
        self.key, self.idle = key, 0


class Keys:
    """The keys and accounts that this process knows, followed by `apply` so that a change holds within 3 s."""

    def __init__(self, store: Store, pepper: bytes, *, now_ms: Callable[[], int] | None = None):
        self._store, self._pepper = store, pepper
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._keys: dict[bytes, _Known] = {}
        self._accounts: dict[str, Account] = {}
        self._unknown: OrderedDict[bytes, float] = OrderedDict()       # digest: monotonic second when forgotten
        self._fetching: dict[bytes, asyncio.Task[None]] = {}
        self._due: deque[str | bytes] = deque()                        # accounts and digests to be read anew
        self._epoch = 0                    # rises with each batch of changes: a read begun before it is read again

    def find(self, token: bytes) -> tuple[Key, Account] | None:
        """Key and account, from memory only; None when the token is cold: `await fetch(token)` instead.

        Refusal 401 for a key that is malformed, unknown, revoked or expired; 403 `account_suspended`.
        """
        digest = digest_of(self._pepper, token)
        known = self._keys.get(digest)
        if known is None:
            return self._not_here(token, digest)
        key = known.key
        account = self._accounts.get(key.acct)
        if account is None:
            return None
        if not key.active:
            raise unauthorized("This key was revoked.", "key_revoked")
        if key.exp_ms and key.exp_ms <= self._now_ms():
            raise unauthorized("This key has expired.", "key_expired")
        if not account.active:
            raise refuse("permission", "This account is suspended.", code="account_suspended", should_retry=False)
        known.idle = 0
        return key, account

    def _not_here(self, token: bytes, digest: bytes) -> None:
        until = self._unknown.get(digest)
        if (until is not None and until > time.monotonic()) or not well_formed(token):
            raise unauthorized("There is no such key.")

    async def fetch(self, token: bytes) -> tuple[Key, Account]:
        """As `find` for a cold token: its key and account are read into memory first, once for all who wait for the
        same. Refusal 503 with Retry-After when the store is away.
        """
        while (found := self.find(token)) is None:
            await self._read(digest_of(self._pepper, token))
        return found

    async def _read(self, digest: bytes) -> None:
        task = self._fetching.get(digest)
        if task is None:
            task = asyncio.create_task(self._fetch(digest))
            self._fetching[digest] = task
            task.add_done_callback(lambda done: self._fetched(digest, done))
        try:
            await asyncio.shield(task)     # one waiter that leaves does not take the read away from the others
        except StoreAway:
            raise _store_away() from None

    async def apply(self, batch: Batch) -> None:
        """Take in a batch of the catalog's changes: what changed is read anew, what cannot be read is forgotten."""
        touched = [change for change in batch.changes if change.collection in ("keys", "accounts")]
        if touched:
            self._epoch += 1
        for change in touched:
            if change.collection == "keys":
                await self._renew_key(bytes.fromhex(change.id))
            else:
                await self._renew_account(change.id)
        if batch.resync and not self._due:
            self._due.extend((*self._accounts, *self._keys))
        await self._resync()

    async def close(self) -> None:
        """Cancel reads that are still under way."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, digest: bytes) -> None:
        while True:
            epoch = self._epoch
            stored = await self._store.get("keys", digest.hex())
            account = await self._store.get("accounts", stored["acct"]) if stored else None
            if epoch == self._epoch:
                break
        if stored is None or account is None:
            self._forget_key(digest)
            self._remember_unknown(digest)
            return
        self._put(_key_of(stored), _account_of(account))

    def _fetched(self, digest: bytes, task: asyncio.Task[None]) -> None:
        self._fetching.pop(digest, None)
        if not task.cancelled():
            task.exception()               # seen: those who still wait get it, and nobody may be left

    def _put(self, key: Key, account: Account) -> None:
        """Only ever forwards: what memory has from a newer revision stays."""
        known = self._keys.get(key.digest)
        if known is None:
            self._keys[key.digest] = _Known(key)
        elif known.key.rev < key.rev:
            known.key = key
        old = self._accounts.get(account.id)
        if old is None or old.rev < account.rev:
            self._accounts[account.id] = account

    async def _renew_key(self, digest: bytes) -> None:
        self._unknown.pop(digest, None)
        if digest in self._keys:
            await self._renew(self._read_key(digest), lambda: self._forget_key(digest))

    async def _renew_account(self, id: str) -> None:
        if id in self._accounts:
            await self._renew(self._read_account(id), lambda: self._accounts.pop(id, None))

    async def _renew(self, reading: Awaitable[None], forget: Callable[[], Any]) -> None:
        """Something changed: whoever cannot learn what must not go on with the old."""
        try:
            await reading
        except (StoreAway, Refusal) as error:
            log.warning("a changed key or account could not be read again and is forgotten: %s", error)
            forget()

    async def _read_key(self, digest: bytes) -> None:
        stored = await self._store.get("keys", digest.hex())
        known = self._keys.get(digest)
        if stored is None:
            self._forget_key(digest)
        elif known is not None and known.key.rev < stored["rev"]:
            known.key = _key_of(stored)

    async def _read_account(self, id: str) -> None:
        stored = await self._store.get("accounts", id)
        old = self._accounts.get(id)
        if stored is None:
            self._accounts.pop(id, None)
        elif old is not None and old.rev < stored["rev"]:
            self._accounts[id] = _account_of(stored)

    async def _resync(self) -> None:
        """Read a slice of what is due anew; a store that is away changes nothing, and the slice stays due."""
        try:
            for _ in range(min(RESYNC_SLICE, len(self._due))):
                what = self._due[0]
                if isinstance(what, str):
                    await self._read_account(what)
                elif (known := self._keys.get(what)) is not None:
                    known.idle += 1
                    if known.idle > IDLE_RESYNCS:
                        self._forget_key(what)
                    else:
                        await self._read_key(what)
                self._due.popleft()
        except (StoreAway, Refusal) as error:
            log.warning("keys could not be read anew: %s", error)

    def _forget_key(self, digest: bytes) -> None:
        self._keys.pop(digest, None)

    def _remember_unknown(self, digest: bytes) -> None:
        self._unknown.pop(digest, None)
        self._unknown[digest] = time.monotonic() + UNKNOWN_FOR_S
        while len(self._unknown) > UNKNOWN_MAX:
            self._unknown.popitem(last=False)


async def check_pepper(store: Store, pepper: bytes) -> None:
    """ConfigError when the store's keys were made under another pepper: this node would refuse every one of them."""
    for stored in await store.find("keys", limit=1):
        if stored.get("pepper") and stored["pepper"] != fingerprint(pepper):
            raise ConfigError("The keys in the store were made under another pepper than this node's; copy the file "
                              "'pepper' from the data folder of the node that made them, or set secrets.pepper.")


def _key_of(stored: dict[str, Any]) -> Key:
    doc = _sound(KeyDoc, stored)
    return Key(digest=bytes.fromhex(doc.digest), kid=doc.kid, acct=doc.acct, name=doc.name,
               models=frozenset(doc.models), exp_ms=doc.exp_ms, active=doc.active, rpm=doc.rpm, tpm=doc.tpm,
               show_cost=doc.show_cost, rev=stored["rev"])


def _account_of(stored: dict[str, Any]) -> Account:
    doc = _sound(AccountDoc, stored)
    return Account(id=doc.id, name=doc.name, active=doc.active, overdraft_u=doc.overdraft_u, rpm=doc.rpm,
                   tpm=doc.tpm, rev=stored["rev"])


def _sound(cls: type[AnyDocument], stored: dict[str, Any]) -> AnyDocument:
    """A document that is broken in the store is our fault, so never a 401."""
    try:
        return from_store(cls, stored)
    except ConfigError as error:
        log.error("%s", error)
        raise refuse("internal", "The gateway failed.") from None


def _store_away() -> Refusal:
    return refuse("upstream", "The store is away, so this key cannot be vouched for yet; try again shortly.",
                  code="store_away", retry_after_s=2)


__all__ = ["Keys", "check_pepper", "credentials_of", "new_key", "well_formed"]
