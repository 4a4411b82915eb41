"""Who changed what: an append-only chain of its own, each entry linked to the one before by its hash.

Secrets never stand here. A credential is shown by a fingerprint, so that one can see that it changed and whether two
are the same, and so is the digest that a key is stored under; a password only by the fact that there is one.
"""

import asyncio
import hashlib
import hmac
import random
import re
import secrets
from collections.abc import Mapping
from typing import Any

from smartoken.engine import chain
from smartoken.engine.newest import newest
from smartoken.errors import StoreAway
from smartoken.ports import SEQ_TAKEN, Clock, Entry, Store

AUDIT = "~audit"
LOST = 3
FINGERPRINTED = frozenset({"credential"})
URLS = frozenset({"proxy", "base_url"})
MASK = "…"                     # how a masked user and password begin: nobody's do
HIDDEN = frozenset({"password", "totp", "totp_step"})
NOT_SHOWN = frozenset({"rev", "pepper"})

_DIGEST = re.compile(r"[0-9a-f]{64}")
_USER = re.compile(r"(?<=://)[^/?#]*(?=@)")


class Audit:
    """Writes and reads the chain. `pepper` keys the fingerprints;"""

    def __init__(self, store: Store, node: str, clock: Clock, pepper: bytes):
        self._store, self._node, self._clock, self._pepper = store, node, clock, pepper

    async def write(self, who: str, action: str, target: str, before: Mapping[str, Any] | None = None,
                    after: Mapping[str, Any] | None = None, ip: str = "", note: str = "") -> Entry:
        """Append one change; `before` and `after` are documents as stored. StoreAway when it could not be written."""
        old, new = self.shown(before), self.shown(after)
        fields = {name for name in {**old, **new} if old.get(name) != new.get(name)}
        delta = {"who": who, "action": action, "target": target, "ip": ip, "note": note,
                 "before": {name: old[name] for name in old if name in fields},
                 "after": {name: new[name] for name in new if name in fields}}
        op, lost = secrets.token_hex(12), 0
        while True:
            try:
                head = await self._store.head(AUDIT)
                entry = chain.follow(head, chain=AUDIT, op=op, kind=action, at_ms=self._clock.now_ms(),
                                     node=self._node, delta=delta, state={})
                if await self._store.append(entry) != SEQ_TAKEN:
                    return entry
            except StoreAway:
                lost += 1
                if lost >= LOST:
                    raise
            await asyncio.sleep(random.uniform(0, 0.01))

    async def page(self, before: int = 0, limit: int = 50) -> list[Entry]:
        """Entries, newest first; those older than seq `before` (0: from the newest)."""
        return await newest(self._store, AUDIT, before, limit)

    def shown(self, doc: Mapping[str, Any] | None) -> dict[str, Any]:
        """A document as the audit shows it."""
        return {name: self._field(name, value) for name, value in (doc or {}).items() if name not in NOT_SHOWN}

    def _field(self, name: str, value: Any) -> Any:
        if name in HIDDEN:
            return "set" if value else ""
        if name in FINGERPRINTED and value and not str(value).startswith(("env:", "file:")):
            return f"secret {self.fingerprint(str(value))}"
        if name == "_id" and _DIGEST.fullmatch(value):
            return f"digest {self.fingerprint(value)}"
        return self.masked(value) if name in URLS else value

    def masked(self, url: str) -> str:
        """A URL with a fingerprint for the user and password in it: http://…1a2b3c4d@host:3128."""
        return _USER.sub(lambda found: MASK + self.fingerprint(found[0]), url)

    def fingerprint(self, secret: str) -> str:
        """Eight hex digits that tell two secrets apart and nothing else about them."""
        return hmac.digest(self._pepper, b"audit|" + secret.encode(), hashlib.sha256)[:4].hex()
