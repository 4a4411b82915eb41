"""Sign-ins by a code that are under way: each is a document of the store, so that any process goes on with it.

The issuer is asked by whoever looks, at the pace that it asked for: who moves `asked_ms` on asks. The device id is
sealed: with the code it is as good as the account.
"""

import json
import logging
import secrets
import time
from typing import Any

import msgspec
from smartoken_plugins.chatgpt_oauth.issuer import Issuer, Refused, Tokens, Transient, device_begin, device_poll, revoke
from smartoken_plugins.chatgpt_oauth.vault import COLLECTION, NAME

from smartoken.plugin import DONE, EXPIRED, REFUSED, WAITING, ConfigError, Pending

log = logging.getLogger("smartoken.oauth")

LIVES_MS = 15 * 60 * 1000      # the code's; OpenAI's page says so
KEPT_MS = 60 * 60 * 1000       # after its end a sign-in is forgotten


class Waiting:
    """`keep(id, issuer, tokens)` stores a new account and gives it as a SignedIn."""

    def __init__(self, store: Any, sealer: Any, keep: Any):
        self._store, self._sealer, self._keep = store, sealer, keep

    async def begin(self, issuer: Issuer, id: str) -> Pending:
        """Ask the issuer for a code. ConfigError for an id that is no name; Transient."""
        if not NAME.fullmatch(id):
            raise ConfigError("an account's name here is 1-64 letters, digits and . _ -, beginning with a letter or digit")
        await self._forget_old()
        device_id, code, interval_s = await device_begin(issuer)
        ref = secrets.token_hex(16)
        sealed = self._sealer.seal(COLLECTION, _key(ref), "device", json.dumps([device_id, code]))
        doc = {"_id": _key(ref), "rev": 1, "kind": "sign-in", "issuer": issuer.name, "account_id": id, "state": WAITING,
               "why": "", "until_ms": _now_ms() + LIVES_MS, "every_ms": int(interval_s * 1000), "asked_ms": 0,
               "sealed": sealed}
        await self._store.insert(COLLECTION, doc)
        return self._shown(issuer, doc)

    async def look(self, issuer: Issuer, ref: str) -> Pending | None:
        """As it is."""
        doc = await self._get(issuer, ref)
        return None if doc is None else self._shown(issuer, doc)

    async def follow(self, issuer: Issuer, ref: str) -> Pending | None:
        """As it is, after asking the issuer when it is time to and nobody else does."""
        doc = await self._get(issuer, ref)
        if doc is None:
            return None
        if self._shown(issuer, doc).state != WAITING or _now_ms() < doc["asked_ms"] + doc["every_ms"]:
            return self._shown(issuer, doc)
        now = await self._changed(doc, asked_ms=_now_ms())
        if now is None:                    # another process asks, or it was cancelled
            return await self.look(issuer, ref)
        device_id, code = self._opened(now)
        try:
            tokens = await device_poll(issuer, device_id, code)
        except Refused as error:
            log.warning("signing in '%s' was refused: %s", now["account_id"], error)
            ended = await self._changed(now, state=REFUSED, why=str(error))
            return self._shown(issuer, ended or now)
        except Transient as error:         # its page asks again
            log.info("signing in '%s' waits: %s", now["account_id"], error)
            return self._shown(issuer, now)
        if tokens is None:
            return self._shown(issuer, now)
        return await self._finish(issuer, now, tokens)

    async def cancel(self, issuer: Issuer, ref: str) -> None:
        """Forget it; a code that is entered all the same signs nothing in."""
        while (doc := await self._get(issuer, ref)) is not None:
            if await self._store.remove(COLLECTION, doc["_id"], doc["rev"]):
                return

    async def _finish(self, issuer: Issuer, doc: dict[str, Any], tokens: Tokens) -> Pending:
        """Marked first: then whoever cancels comes too late, or we do and give the tokens back."""
        ended = await self._changed(doc, state=DONE)
        if ended is None:
            try:
                await revoke(issuer, tokens)
            except Transient as error:
                log.warning("tokens of a cancelled sign-in could not be revoked: %s", error)
            return self._shown(issuer, doc | {"state": REFUSED, "why": "cancelled"})
        made = await self._keep(doc["account_id"], issuer, tokens)
        return msgspec.structs.replace(self._shown(issuer, ended), made=made)

    async def _get(self, issuer: Issuer, ref: str) -> dict[str, Any] | None:
        doc = await self._store.get(COLLECTION, _key(ref))
        return doc if doc is not None and doc["issuer"] == issuer.name else None

    async def _changed(self, doc: dict[str, Any], **fields: Any) -> dict[str, Any] | None:
        """The document with these fields, None when somebody else changed it."""
        new = doc | fields | {"rev": doc["rev"] + 1}
        return new if await self._store.replace(COLLECTION, new, doc["rev"]) else None

    async def _forget_old(self) -> None:
        for doc in await self._store.find(COLLECTION, {"kind": "sign-in"}):
            if doc["until_ms"] + KEPT_MS < _now_ms():
                await self._store.remove(COLLECTION, doc["_id"], doc["rev"])

    def _opened(self, doc: dict[str, Any]) -> tuple[str, str]:
        device_id, code = json.loads(self._sealer.open(COLLECTION, doc["_id"], "device", doc["sealed"]))
        return device_id, code

    def _shown(self, issuer: Issuer, doc: dict[str, Any]) -> Pending:
        state = EXPIRED if doc["state"] == WAITING and doc["until_ms"] <= _now_ms() else doc["state"]
        return Pending(ref=doc["_id"].partition(":")[2], id=doc["account_id"], code=self._opened(doc)[1],
                       link=issuer.url + issuer.device_page, until_ms=doc["until_ms"], state=state, why=doc["why"])


def _key(ref: str) -> str:
    return f"sign-in:{ref}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
