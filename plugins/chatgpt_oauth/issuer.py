"""An OAuth2 issuer as a value, and the calls to it. Another one whose refresh tokens rotate is another Issuer.

Nothing here is logged but status codes and the issuer's own error codes: never a token, a code or a verifier.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

TIMEOUT = aiohttp.ClientTimeout(total=30)
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Issuer:
    """`dead`: error codes of a refresh that no repeating helps; any 401 is one as well. Paths are below `url`; without
    `device_code_path` accounts can only be imported. `claims` is the claim that holds the account's id and plan, under
    the names `account_claim` and `plan_claim`. `terms`: what somebody accepts before signing in."""

    name: str
    title: str
    url: str
    client_id: str
    terms: tuple[str, ...]
    claims: str
    account_claim: str
    plan_claim: str
    token_path: str = "/oauth/token"
    revoke_path: str = "/oauth/revoke"
    device_code_path: str = ""
    device_token_path: str = ""
    device_page: str = ""
    device_redirect: str = ""
    dead: frozenset[str] = frozenset()


CHATGPT = Issuer(
    "chatgpt", "ChatGPT", "https://auth.openai.com", "app_EMoamEEZ73f0CkXaXp7hrann",
    terms=(
        "This signs in your own ChatGPT account and lets Smartoken call its backend with it.",
        "That backend is no documented public API: OpenAI may change or close it any day.",
        "OpenAI's terms for that account apply to everything sent through it. A ChatGPT plan is for one person: whether "
        "other people's requests may go through it is between you and OpenAI, and this software does not make it allowed.",
        "Its limits are kept: when they are reached, clients get a 429 until the reset. Accounts are not pooled around "
        "limits.",
        "Smartoken calls itself Smartoken there."),
    claims="https://api.openai.com/auth", account_claim="chatgpt_account_id", plan_claim="chatgpt_plan_type",
    device_code_path="/api/accounts/deviceauth/usercode", device_token_path="/api/accounts/deviceauth/token",
    device_page="/codex/device", device_redirect="/deviceauth/callback",
    dead=frozenset({"refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated", "invalid_grant"}))


class Tokens(msgspec.Struct):
    """What an issuer gave. Fields that a refresh leaves out keep their old value."""

    access_token: str
    refresh_token: str
    id_token: str = ""
    account_id: str = ""

    def renewed(self, answer: Mapping[str, Any]) -> "Tokens":
        """These with what a refresh brought."""
        given = {name: answer[name] for name in ("access_token", "refresh_token", "id_token") if answer.get(name)}
        return msgspec.structs.replace(self, **given)

    def claims(self) -> dict[str, Any]:
        """What the tokens say of themselves (unsigned reading: the issuer itself is their judge)."""
        return claims_of(self.id_token) | {"exp": claims_of(self.access_token).get("exp", 0)}


class Dead(Exception):
    """The chain of refresh tokens is at its end: the operator must sign in again. The text is the issuer's code."""


class Transient(Exception):
    """The issuer did not answer well; later it may."""


class Refused(Exception):
    """The issuer does not give tokens for this sign-in. The text is its status and code."""


def claims_of(token: str) -> dict[str, Any]:
    """The payload of a JWT; {} for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = _decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def account_of(issuer: Issuer, tokens: Tokens) -> str:
    """The account's id, from the tokens when the operator's file does not say."""
    claims = claims_of(tokens.id_token).get(issuer.claims) or claims_of(tokens.access_token).get(issuer.claims) or {}
    return tokens.account_id or str(claims.get(issuer.account_claim) or "")


def shown(issuer: Issuer, tokens: Tokens) -> dict[str, Any]:
    """What may be shown of them: plan, the end of the account's id, a hash of the mail address, when access expires."""
    claims = claims_of(tokens.id_token)
    plan = (claims.get(issuer.claims) or {}).get(issuer.plan_claim) or ""
    mail = str(claims.get("email") or "")
    return {"plan": str(plan), "account": account_of(issuer, tokens)[-4:], "exp_s": int(tokens.claims().get("exp") or 0),
            "mail": hashlib.sha256(mail.lower().encode()).hexdigest()[:8] if mail else ""}


async def refresh(issuer: Issuer, tokens: Tokens) -> Tokens:
    """New tokens for old; the old refresh token is spent by this. Dead or Transient."""
    status, answer = await _post(issuer.url + issuer.token_path, json={
        "client_id": issuer.client_id, "grant_type": "refresh_token", "refresh_token": tokens.refresh_token})
    if status == 200 and answer.get("access_token"):
        return tokens.renewed(answer)
    code = code_of(answer)
    if status == 401 or code in issuer.dead:
        raise Dead(code or "unauthorized")
    raise Transient(f"HTTP {status} {code}".strip())


async def device_begin(issuer: Issuer) -> tuple[str, str, float]:
    """(device id, code to show, seconds between two polls)."""
    status, answer = await _post(issuer.url + issuer.device_code_path, json={"client_id": issuer.client_id})
    code = answer.get("user_code") or answer.get("usercode")
    if status != 200 or not code or not answer.get("device_auth_id"):
        raise Transient("signing in by a device code is off there" if status == 404 else f"HTTP {status}")
    return str(answer["device_auth_id"]), str(code), max(float(answer.get("interval") or 5), 0.2)


async def device_poll(issuer: Issuer, device_id: str, user_code: str) -> Tokens | None:
    """The tokens once the operator has agreed in the browser, None until then. Refused or Transient."""
    status, answer = await _post(issuer.url + issuer.device_token_path,
                                 json={"device_auth_id": device_id, "user_code": user_code})
    if status in (403, 404):
        return None
    _good(status, answer)
    form = {"grant_type": "authorization_code", "code": answer.get("authorization_code"), "client_id": issuer.client_id,
            "redirect_uri": issuer.url + issuer.device_redirect, "code_verifier": answer.get("code_verifier")}
    status, answer = await _post(issuer.url + issuer.token_path, data=form)
    _good(status, answer)
    if not answer.get("access_token") or not answer.get("refresh_token"):
        raise Refused("the answer has no refresh token")
    return Tokens(answer["access_token"], answer["refresh_token"], answer.get("id_token") or "")


def _good(status: int, answer: Mapping[str, Any]) -> None:
    if status != 200:
        raise (Transient if status >= 500 or status == 429 else Refused)(f"HTTP {status} {code_of(answer)}".strip())


async def revoke(issuer: Issuer, tokens: Tokens) -> None:
    """Tell the issuer that this chain is given up. Transient when it could not be told."""
    status, answer = await _post(issuer.url + issuer.revoke_path, json={
        "token": tokens.refresh_token, "token_type_hint": "refresh_token", "client_id": issuer.client_id})
    if status >= 400:
        raise Transient(f"HTTP {status} {code_of(answer)}".strip())


def code_of(answer: Mapping[str, Any]) -> str:
    """The error code in one of the shapes that issuers use."""
    error = answer.get("error")
    return str((error.get("code") if isinstance(error, dict) else error) or answer.get("code") or "")[:100]


async def _post(url: str, **body: Any) -> tuple[int, dict[str, Any]]:
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.post(
                url, allow_redirects=False, headers={"User-Agent": "smartoken"}, **body) as answer:
            data = await answer.read()
            status = answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Transient(f"the issuer cannot be reached: {type(error).__name__}") from None
    try:
        found = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {}
    return status, found if isinstance(found, dict) else {}
