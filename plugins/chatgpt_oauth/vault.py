"""Accounts and their tokens in the store, sealed; and the refresh that happens once, however many processes want it.

An account is one document of the collection oauth_tokens; its `generation` rises with each refresh. Who wants to
refresh generation n inserts the document `id:n`: one insert wins, all others wait for generation n+1. What the issuer
answers goes to a file on this node before it goes to the store, and to the store before it is used, so that a process
killed in between loses no chain: whoever takes over finds the file.
"""

import asyncio
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import msgspec
from smartoken_plugins.chatgpt_oauth.issuer import Dead, Issuer, Tokens, Transient, account_of, refresh, shown

from smartoken.plugin import ConfigError, StoreAway

log = logging.getLogger("smartoken.oauth")

COLLECTION = "oauth_tokens"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")      # of an account here: it is part of keys and file names
POLL_S = 0.1
FOREIGN_CLAIM_S = 600    # a claim of another node is taken over after this; of a dead process of ours at once
AGAIN_S = 2.0            # between two tries to store what an issuer has given


class Vault:
    """Of one process. `node` is the same for all processes that share `folder`."""

    def __init__(self, store: Any, sealer: Any, folder: Path, node: str):
        self._store, self._sealer, self._folder, self._node = store, sealer, folder, node

    async def accounts(self) -> list[dict[str, Any]]:
        """All account documents, tokens sealed."""
        return await self._store.find(COLLECTION, {"kind": "account"})

    def tokens(self, doc: dict[str, Any]) -> Tokens:
        """The opened tokens of a document."""
        return self._open(doc["_id"], doc["sealed"])

    async def limits(self) -> dict[str, dict[str, Any]]:
        """{account: what was last told of its limits}."""
        return {doc["account_id"]: doc for doc in await self._store.find(COLLECTION, {"kind": "limits"})}

    async def tell(self, id: str, at_ms: int, seen: dict[str, Any]) -> None:
        """Keep what was told of an account's limits at `at_ms`; what is known of later stays."""
        doc = {"_id": f"{id}:limits", "rev": 1, "kind": "limits", "account_id": id, "at_ms": at_ms, **seen}
        old = await self._store.get(COLLECTION, doc["_id"])
        if old is None:
            await self._store.insert(COLLECTION, doc)
        elif old["at_ms"] < at_ms:         # a lost race is another process's word, as good as ours
            await self._store.replace(COLLECTION, doc | {"rev": old["rev"] + 1}, old["rev"])

    async def put(self, id: str, issuer: Issuer, tokens: Tokens) -> dict[str, Any]:
        """A new account, or new tokens for one: a generation of its own, whatever was before. ConfigError for an id
        that is no name. An account that was removed may come back: generations begin at the time, so that nothing of
        its former life (claims, files, what processes hold) is taken for its own."""
        if not NAME.fullmatch(id):
            raise ConfigError("an account's name here is 1-64 letters, digits and . _ -, beginning with a letter or digit")
        await self._give_back(f"{id}:limits")
        while True:
            old = await self._store.get(COLLECTION, id)
            generation, rev = (old["generation"], old["rev"]) if old else (_now_ms(), 0)
            doc = self._doc(id, issuer, tokens, generation + 1, rev + 1)
            done = (await self._store.replace(COLLECTION, doc, old["rev"]) if old
                    else await self._store.insert(COLLECTION, doc))
            if done:
                return doc

    async def remove(self, id: str) -> Tokens | None:
        """Forget an account; its last tokens, to be revoked."""
        while True:
            doc = await self._store.get(COLLECTION, id)
            if doc is None:
                return None
            if await self._store.remove(COLLECTION, id, doc["rev"]):
                await self._give_back(f"{id}:limits")
                await self._give_back(f"{id}:{doc['generation'] - 1}")
                return self.tokens(doc)

    async def renewed(self, id: str, generation: int, issuer: Issuer) -> dict[str, Any]:
        """The account at a later generation than this one: refreshed here, or by whoever came first. Dead when the
        chain is at its end, Transient when the issuer fails; StoreAway."""
        while True:
            doc = await self._store.get(COLLECTION, id)
            if doc is None or doc["state"] != "ok":
                raise Dead(doc["why"] if doc else "removed")
            if doc["generation"] > generation:
                return doc
            if await self._claimed(f"{id}:{doc['generation']}"):
                return await self._refresh(doc, issuer)
            await asyncio.sleep(POLL_S)

    async def _claimed(self, claim_id: str) -> bool:
        """True when it is ours to refresh now."""
        mine = {"_id": claim_id, "rev": 1, "kind": "claim", "node": self._node, "pid": os.getpid(), "at_ms": _now_ms()}
        if await self._store.insert(COLLECTION, mine):
            return True
        claim = await self._store.get(COLLECTION, claim_id)
        if claim is None:
            return False                   # given back: look again
        if claim["node"] == self._node:
            given_up = not _alive(claim["pid"])
        else:
            given_up = _now_ms() - claim["at_ms"] > FOREIGN_CLAIM_S * 1000
        return given_up and await self._store.replace(COLLECTION, mine | {"rev": claim["rev"] + 1}, claim["rev"])

    async def _refresh(self, doc: dict[str, Any], issuer: Issuer) -> dict[str, Any]:
        id, generation = doc["_id"], doc["generation"]
        now = await self._store.get(COLLECTION, id)
        if now is None or now["generation"] != generation:
            await self._give_back(f"{id}:{generation}")
            return await self.renewed(id, generation, issuer)
        file = self._folder / f"{id}.{generation}"
        try:
            tokens = self._open(id, file.read_text()) if file.exists() else await refresh(issuer, self.tokens(now))
        except Dead as dead:
            ended = now | {"rev": now["rev"] + 1, "state": "dead", "why": str(dead)}
            await self._store.replace(COLLECTION, ended, now["rev"])
            log.error("oauth account '%s' must sign in again: %s", id, dead)
            raise
        except Transient:
            await self._give_back(f"{id}:{generation}")
            raise
        if not file.exists():
            self._keep(file, self._seal(id, tokens))
        fresh = await self._stored(now, issuer, tokens)
        file.unlink(missing_ok=True)
        await self._give_back(f"{id}:{generation - 1}")
        log.info("oauth account '%s' is at generation %d", id, fresh["generation"])
        return fresh

    async def _stored(self, old: dict[str, Any], issuer: Issuer, tokens: Tokens) -> dict[str, Any]:
        """Until the store has them: they exist nowhere else but in our file."""
        fresh = self._doc(old["_id"], issuer, tokens, old["generation"] + 1, old["rev"] + 1)
        while True:
            try:
                if await self._store.replace(COLLECTION, fresh, old["rev"]):
                    return fresh
                found = await self._store.get(COLLECTION, old["_id"])
                if found is None or found["generation"] >= fresh["generation"]:
                    return found or fresh  # an earlier try went through, or the operator was quicker
                old, fresh = found, fresh | {"rev": found["rev"] + 1}
            except StoreAway as away:
                log.warning("new tokens of '%s' wait in %s for the store: %s", old["_id"], self._folder, away)
                await asyncio.sleep(AGAIN_S)

    async def _give_back(self, doc_id: str) -> None:
        """Remove a claim, or what was told of limits."""
        doc = await self._store.get(COLLECTION, doc_id)
        if doc is not None:
            await self._store.remove(COLLECTION, doc_id, doc["rev"])

    def _doc(self, id: str, issuer: Issuer, tokens: Tokens, generation: int, rev: int) -> dict[str, Any]:
        return {"_id": id, "rev": rev, "kind": "account", "issuer": issuer.name, "generation": generation, "state": "ok",
                "why": "", "at_ms": _now_ms(), "sealed": self._seal(id, tokens), **shown(issuer, tokens)}

    def _seal(self, id: str, tokens: Tokens) -> str:
        return self._sealer.seal(COLLECTION, id, "tokens", msgspec.json.encode(tokens).decode())

    def _open(self, id: str, sealed: str) -> Tokens:
        return msgspec.json.decode(self._sealer.open(COLLECTION, id, "tokens", sealed), type=Tokens)

    def _keep(self, file: Path, sealed: str) -> None:
        """On disk, whole, before anybody uses it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, sealed.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(draft, file)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def credential_of(id: str, issuer: Issuer, tokens: Tokens) -> str:
    """What a channel gets as its credential: the account here, its id there, the access token."""
    return f"{id} {account_of(issuer, tokens) or '-'} {tokens.access_token}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
