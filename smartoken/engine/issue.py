"""Accounts and keys, made and ended: what the CLI, the admin API and the demo all do in the same way."""

import secrets
import time
from typing import Any

from smartoken.domain.documents import AccountDoc, KeyDoc, from_store
from smartoken.engine.changes import Catalog, Conflict
from smartoken.engine.keytext import digest_of, new_key
from smartoken.engine.seal import fingerprint
from smartoken.errors import ConfigError
from smartoken.strict import decode


async def create_account(catalog: Catalog, name: str, *, id: str = "", **fields: Any) -> dict[str, Any]:
    """A new account as stored; `fields` as in AccountDoc. ConfigError for unsound fields or an id that is taken."""
    given = {"id": id or f"acc-{secrets.token_hex(6)}", "name": name, "created_ms": _now_ms(), **fields}
    doc = decode(AccountDoc, given, "the new account")
    try:
        return await catalog.put("accounts", doc, rev=0)
    except Conflict:
        raise ConfigError(f"There is an account '{doc.id}' already; choose another id.") from None


async def account(catalog: Catalog, id: str) -> dict[str, Any]:
    """The stored account; ConfigError when there is none."""
    stored = await catalog.get("accounts", id)
    if stored is None:
        raise ConfigError(f"There is no account '{id}'; 'smartoken account list' shows those there are.")
    return stored


async def set_account_active(catalog: Catalog, id: str, active: bool) -> dict[str, Any]:
    """Suspend an account or let it in again: on every node within 3 s."""
    doc = from_store(AccountDoc, await account(catalog, id))
    return await catalog.put("accounts", doc.model_copy(update={"active": active}))


async def issue_key(catalog: Catalog, pepper: bytes, acct: str, *, name: str = "",
                    **fields: Any) -> tuple[str, dict[str, Any]]:
    """A new key: its text, which is never seen again, and its document as stored; `fields` as in KeyDoc."""
    await account(catalog, acct)
    text, kid = new_key()
    given = {"digest": digest_of(pepper, text.encode()).hex(), "kid": kid, "last4": text[-4:], "acct": acct,
             "name": name, "pepper": fingerprint(pepper), "created_ms": _now_ms(), **fields}
    return text, await catalog.put("keys", decode(KeyDoc, given, "the new key"), rev=0)


async def revoke_key(catalog: Catalog, kid: str) -> dict[str, Any]:
    """Revoke a key by its kid: refused on every node within 3 s. To repeat it is harmless."""
    found = await catalog.all("keys", {"kid": kid})
    if not found:
        raise ConfigError(f"There is no key '{kid}'; 'smartoken key list' shows those there are.")
    doc = from_store(KeyDoc, found[0])
    return await catalog.put("keys", doc.model_copy(update={"active": False}))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
