"""Keeps this process's access tokens fresh: follows the store, refreshes before they expire, and on a 401. Passes on what
answers tell of limits, in the background."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from smartoken_plugins.chatgpt_oauth import limits
from smartoken_plugins.chatgpt_oauth.issuer import Dead, Issuer, Transient
from smartoken_plugins.chatgpt_oauth.vault import Vault, credential_of

from smartoken.plugin import ConfigError, StoreAway

log = logging.getLogger("smartoken.oauth")

FOLLOW_S = 1.0
BEFORE_S = 300           # so long before it expires a token is refreshed
PATIENCE_S = 30          # after an issuer has failed
TELL_S = 3.0             # between two times that limits are told


class Held(NamedTuple):
    """What this process knows of one account."""

    generation: int
    credential: str
    exp_s: int
    issuer: str
    why: str               # '' while it can be used


class Keeper:
    """`changed` makes the catalog anew with the newer credential. One refresh of an account at a time in this process,
    one in all by the vault."""

    def __init__(self, vault: Vault, issuers: Mapping[str, Issuer], changed: Callable[[], Awaitable[None]]):
        self._vault, self._issuers, self._changed = vault, issuers, changed
        self._held: dict[str, Held] = {}
        self._renewing: dict[str, asyncio.Task[bool]] = {}
        self._not_before: dict[str, float] = {}
        self._heard: dict[str, tuple[int, Sequence[tuple[bytes, bytes]]]] = {}   # headers of the last answer, not told yet
        self._told: dict[str, tuple[int, dict[str, Any]]] = {}
        self._tell_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read what there is; StoreAway is no reason not to start."""
        try:
            await self._follow()
        except StoreAway as away:
            log.warning("oauth accounts are not known yet, the store is away: %s", away)
        self._task = asyncio.create_task(self._run())

    def heard(self, credential: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """An answer's head, on the request path: only kept here; _tell reads it."""
        self._heard[credential.partition(" ")[0]] = (time.time_ns() // 1_000_000, headers)

    async def look(self) -> None:
        """Take in now what was just stored, instead of within a second."""
        if await self._follow():
            await self._changed()

    async def close(self) -> None:
        """Stop following. A refresh under way is finished: its tokens exist nowhere else."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*self._renewing.values(), return_exceptions=True)

    def credential(self, id: str) -> str:
        """ConfigError when the account is not there or must sign in again."""
        held = self._held.get(id)
        if held is None:
            raise ConfigError(f"there is no oauth account '{id}'; sign in with `smartoken oauth login {id}`, or in the "
                              "console")
        if held.why:
            raise ConfigError(f"the oauth account '{id}' must sign in again ({held.why}): `smartoken oauth login {id}`, or in "
                              "the console")
        return held.credential

    async def renew(self, credential: str) -> bool:
        """An upstream refused this credential: True when the catalog has a newer one."""
        id = credential.partition(" ")[0]
        held = self._held.get(id)
        if held is None or held.why:
            return False
        if held.credential != credential:
            await self._changed()
            return True
        return await asyncio.shield(self._start(id, held))

    def _start(self, id: str, held: Held) -> asyncio.Task[bool]:
        task = self._renewing.get(id)
        if task is None:
            task = self._renewing[id] = asyncio.create_task(self._renew(id, held))
            task.add_done_callback(lambda done: self._renewing.pop(id, None))
        return task

    async def _renew(self, id: str, held: Held) -> bool:
        if time.monotonic() < self._not_before.get(id, 0):
            return False
        try:
            self._hold(await self._vault.renewed(id, held.generation, self._issuers[held.issuer]))
        except Dead as dead:
            self._held[id] = held._replace(why=str(dead))
            await self._changed()
            return False
        except (Transient, StoreAway) as error:
            self._not_before[id] = time.monotonic() + PATIENCE_S
            log.warning("oauth account '%s' could not be refreshed: %s", id, error)
            return False
        await self._changed()
        return True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                await self.look()
                await self._tell()
                for id, held in list(self._held.items()):
                    if not held.why and held.exp_s and held.exp_s - time.time() < BEFORE_S:
                        self._start(id, held)
            except StoreAway as away:
                log.debug("oauth accounts are not followed for now: %s", away)

    async def _tell(self) -> None:
        """Store what answers told of limits since the last time, where it is anything new."""
        if time.monotonic() < self._tell_at:
            return
        self._tell_at = time.monotonic() + TELL_S
        while self._heard:
            id, (at_ms, headers) = self._heard.popitem()
            seen = limits.read(headers, at_ms)
            if id not in self._held or not seen:
                continue
            told = (self._held[id].generation, seen)
            if told != self._told.get(id):
                await self._vault.tell(id, at_ms, seen)
                self._told[id] = told

    async def _follow(self) -> bool:
        """Take in what other processes stored; True when anything is new."""
        docs = {doc["_id"]: doc for doc in await self._vault.accounts() if doc["issuer"] in self._issuers}
        known = {id: (held.generation, held.why) for id, held in self._held.items()}
        for gone in self._held.keys() - docs.keys():
            del self._held[gone]
        for id, doc in docs.items():
            if (doc["generation"], doc["why"]) != known.get(id):
                self._hold(doc)
        return known != {id: (held.generation, held.why) for id, held in self._held.items()}

    def _hold(self, doc: dict[str, Any]) -> None:
        held = self._held.get(doc["_id"])
        if held is None or held.generation <= doc["generation"]:
            credential = credential_of(doc["_id"], self._issuers[doc["issuer"]], self._vault.tokens(doc))
            self._held[doc["_id"]] = Held(doc["generation"], credential, doc["exp_s"], doc["issuer"], doc["why"])
