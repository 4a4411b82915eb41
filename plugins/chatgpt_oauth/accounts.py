"""What an operator does with accounts in a serving process: smartoken.plugin.SignIn over the vault, for each issuer."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from smartoken_plugins.chatgpt_oauth import limits
from smartoken_plugins.chatgpt_oauth.issuer import Issuer, Tokens, Transient, revoke
from smartoken_plugins.chatgpt_oauth.vault import Vault
from smartoken_plugins.chatgpt_oauth.waiting import Waiting

from smartoken.plugin import ConfigError, Pending, SignedIn, SignIn

FILE = "auth.json of the Codex CLI (~/.codex/auth.json)"


class Accounts:
    """`changed` lets this process use at once what was just stored."""

    def __init__(self, vault: Vault, store: Any, sealer: Any, changed: Callable[[], Awaitable[None]]):
        self._vault, self._changed = vault, changed
        self._waiting = Waiting(store, sealer, self._kept)

    async def accounts(self, issuer: Issuer) -> list[SignedIn]:
        """By id, with what was last told of their limits."""
        told = await self._vault.limits()
        return [_shown(doc, told.get(doc["_id"], {})) for doc in await self._vault.accounts()
                if doc["issuer"] == issuer.name]

    async def begin(self, issuer: Issuer, id: str) -> Pending:
        """See SignIn."""
        try:
            return await self._waiting.begin(issuer, id)
        except Transient as error:
            raise ConfigError(f"the issuer gave no code: {error}") from None

    async def look(self, issuer: Issuer, ref: str) -> Pending | None:
        """See SignIn."""
        return await self._waiting.look(issuer, ref)

    async def follow(self, issuer: Issuer, ref: str) -> Pending | None:
        """See SignIn."""
        return await self._waiting.follow(issuer, ref)

    async def cancel(self, issuer: Issuer, ref: str) -> None:
        """See SignIn."""
        await self._waiting.cancel(issuer, ref)

    async def take(self, issuer: Issuer, id: str, text: str) -> SignedIn:
        """See SignIn."""
        return await self._kept(id, issuer, read_file(text))

    async def remove(self, issuer: Issuer, id: str) -> bool | None:
        """See SignIn."""
        if id not in {one.id for one in await self.accounts(issuer)}:
            return None
        tokens = await self._vault.remove(id)
        if tokens is None:
            return None
        await self._changed()
        try:
            await revoke(issuer, tokens)
        except Transient:
            return False
        return True

    async def _kept(self, id: str, issuer: Issuer, tokens: Tokens) -> SignedIn:
        doc = await self._vault.put(id, issuer, tokens)
        await self._changed()
        return _shown(doc, {})


def sign_in_of(issuer: Callable[[], Issuer], accounts: Callable[[], Accounts], provider: str, prefix: str) -> SignIn:
    """The SignIn of an issuer. Both functions are asked at each call: settings and the store are known only later."""
    async def call(name: str, *given: str) -> Any:
        return await getattr(accounts(), name)(issuer(), *given)

    declared = issuer()
    parts = {name: partial(call, name) for name in ("accounts", "begin", "look", "follow", "cancel", "take", "remove")}
    return SignIn(name=declared.name, title=declared.title, provider=provider, prefix=prefix,
                  terms=declared.terms, file=FILE, **parts)


def read_file(text: str) -> Tokens:
    """The tokens of an auth.json. ConfigError, which repeats nothing of it."""
    try:
        given = json.loads(text)["tokens"]
        tokens = Tokens(given["access_token"], given["refresh_token"], given.get("id_token") or "",
                        given.get("account_id") or "")
    except (ValueError, KeyError, TypeError):
        raise ConfigError('this is no auth.json: {"tokens": {"access_token", "refresh_token", "id_token", '
                          '"account_id"}} is expected') from None
    if not all(isinstance(one, str) for one in (tokens.access_token, tokens.refresh_token, tokens.id_token,
                                                tokens.account_id)) or not tokens.access_token:
        raise ConfigError("the tokens of this auth.json are no texts; sign in there again")
    if not tokens.refresh_token:
        raise ConfigError("this auth.json has no refresh token; sign in there again, or sign in here by a code")
    return tokens


def _shown(doc: dict[str, Any], told: dict[str, Any]) -> SignedIn:
    return SignedIn(id=doc["_id"], plan=doc["plan"] or told.get("plan", ""), account=doc["account"],
                    why=doc["why"] if doc["state"] != "ok" else "", until_ms=doc["exp_s"] * 1000,
                    renewed_ms=doc["at_ms"], sealed=doc["sealed"], windows=limits.windows_of(told),
                    credits=told.get("credits", ""), seen_ms=told.get("at_ms", 0))
