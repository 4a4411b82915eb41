"""Signing in to the console: the first owner, passwords with an optional second factor, sessions.

A session is 256 random bits that only the browser has; the store keeps their SHA-256, so that a stolen copy of the
store opens nothing. Everything here is asked by people, a few times a minute: it reads the store each time, and so a
revoked session or a changed role counts at once on every node.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pyotp

from smartoken.domain.documents import from_store, to_store
from smartoken.domain.people import AdminDoc, may
from smartoken.engine.changes import Conflict, every
from smartoken.engine.passwords import Passwords
from smartoken.engine.seal import Sealer, made
from smartoken.errors import ConfigError, Refusal, refuse
from smartoken.ports import Clock, Limiter, Store, Want
from smartoken.strict import decode

SESSION_MS = 12 * 3600 * 1000
FIRST_RUN = "first-run-token"
PROVED_MS = 600_000                     # so long after the password was typed it is not asked for again
# Wrong tries a minute. Whoever knows a name can spend those of a name from one place, and of all places together only
# from many: so nobody is locked out by one stranger, and a password is not guessed by a crowd either.
PER_NAME_AND_PLACE, PER_PLACE, PER_NAME, PER_SESSION = 10, 60, 100, 10
STEP_S = 30                            # of a time-based code
ISSUER = "Smartoken"


@dataclass(frozen=True, slots=True)
class Who:
    """Who is signed in; `csrf` must come back with every change, `session` is the session's id in the store. The
    password was last typed at `proved_ms`."""

    name: str
    role: str
    acct: str
    session: str
    csrf: str
    proved_ms: int = 0

    def proved(self, now_ms: int) -> bool:
        """Lately enough to move money or secrets?"""
        return now_ms - self.proved_ms <= PROVED_MS

    def may(self, permission: str) -> bool:
        return may(self.role, permission)

    def demand(self, permission: str) -> None:
        """Refusal 403 without a permission."""
        if not self.may(permission):
            raise refuse("permission", "Your role does not allow this.", code="role")


async def first_run_token(store: Store, folder: Path) -> str:
    """The one-time token that makes the first owner, '' once there is one. Kept in a file of mode 0600."""
    file = folder / FIRST_RUN
    if await store.find("admins", limit=1):
        file.unlink(missing_ok=True)
        return ""
    return made(file, lambda: secrets.token_urlsafe(24)).read_text().strip()


class People:
    """Admins and their sessions. Refusal 401 with one message for a wrong name, password or code; 429 for too many."""

    def __init__(self, store: Store, sealer: Sealer, limiter: Limiter, clock: Clock, folder: Path):
        self._store, self._sealer, self._limiter, self._clock = store, sealer, limiter, clock
        self._folder = folder
        self._passwords = Passwords()

    def close(self) -> None:
        """End the threads of the passwords."""
        self._passwords.close()

    # -- the first owner

    async def first_run(self) -> str:
        """See first_run_token."""
        return await first_run_token(self._store, self._folder)

    async def first_owner(self, token: str, name: str, password: str, ip: str) -> dict[str, Any]:
        """The first owner, as stored. The token is used up by it: of two who have it, one comes first."""
        self._slow_down(_tries("first-run", ip))
        right = await self.first_run()
        if not right or not hmac.compare_digest(right.encode(), token.strip().encode()):
            raise refuse("authentication", "This first-run token is not (or no longer) valid.", code="first_run_token")
        hashed = await self._hash(password)
        doc = decode(AdminDoc, {"name": name, "role": "owner", "password": hashed,
                                "created_ms": self._clock.now_ms()}, "the first owner")
        try:
            (self._folder / FIRST_RUN).unlink()
        except FileNotFoundError:
            raise refuse("authentication", "This first-run token was just used.", code="first_run_token") from None
        return await self.create(doc)

    # -- admins

    async def create(self, doc: AdminDoc) -> dict[str, Any]:
        """A new admin as stored; Conflict when the name is taken."""
        stored = {**to_store(doc), "rev": 1}
        if not await self._store.insert("admins", stored):
            raise Conflict(f"There is somebody called '{doc.name}' already; choose another name")
        return stored

    async def add(self, name: str, role: str, password: str, acct: str = "") -> dict[str, Any]:
        """A new admin with a password; ConfigError when something of it is unsound."""
        doc = decode(AdminDoc, {"name": name, "role": role, "acct": acct, "password": await self._hash(password),
                                "created_ms": self._clock.now_ms()}, "the new person")
        return await self.create(doc)

    async def page(self, q: str = "", role: str = "", after: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """Admins as stored, by name: those after `after` whose name begins with `q`, of one role where one is named."""
        first = await self._store.get("admins", q) if q and after < q else None
        found = [first] if first is not None and role in ("", first["role"]) else []
        found += await self._store.find("admins", {"role": role} if role else None, after=max(q, after), limit=limit)
        return [one for one in found if one["_id"].startswith(q)][:limit]

    async def get(self, name: str) -> dict[str, Any]:
        """An admin as stored; Refusal 404."""
        stored = await self._store.get("admins", name)
        if stored is None:
            raise refuse("not_found", f"There is nobody called '{name}'.", code="person_not_found")
        return stored

    async def change(self, name: str, password: str | None = None,
                     **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """(before, after) of an admin whose `fields` changed, all of them at once or none. The last active owner stays
        one: ConfigError. Refusal 400 for a `password` that is too weak."""
        if password is not None:
            fields["password"] = await self._hash(password)
        for _ in range(10):
            old = await self.get(name)
            doc = decode(AdminDoc, {**_fields(old), **fields}, "the person")
            if old["role"] == "owner" and old["active"] and not (doc.role == "owner" and doc.active):
                owners = [one for one in await every(self._store, "admins", {"role": "owner"}) if one["active"]]
                if len(owners) == 1:
                    raise ConfigError("This is the last active owner; make somebody else an owner first.")
            new = {**to_store(doc), "rev": old["rev"] + 1}
            if await self._store.replace("admins", new, old["rev"]):
                return old, new
        raise Conflict(f"'{name}' changes all the time; try again")

    async def set_password(self, name: str, password: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Change a password and end every session of that person."""
        changed = await self.change(name, password)
        await self.revoke_all(name)
        return changed

    # -- the second factor

    def new_totp(self, name: str) -> tuple[str, str]:
        """(secret, the otpauth: URI that an app reads): not in force until `set_totp`."""
        secret = pyotp.random_base32()
        return secret, pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)

    async def set_totp(self, name: str, secret: str, code: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Turn the second factor on, proved by a code; with an empty secret off. Refusal 400 for a wrong code."""
        if not secret:
            return await self.change(name, totp="", totp_step=0)
        step = self._step(secret, code, 0)
        if not step:
            raise refuse("invalid_request", "This code does not fit; scan the secret again.", code="totp", param="code")
        return await self.change(name, totp=self._sealer.seal("admins", name, "totp", secret), totp_step=step)

    def _step(self, secret: str, code: str, after: int) -> int:
        """The step whose code this is (a step before or after now is fine), newer than `after`; 0 for none."""
        now = int(time.time()) // STEP_S
        for step in (now, now - 1, now + 1):
            right = pyotp.TOTP(secret).at(step * STEP_S)
            if step > after and hmac.compare_digest(right.encode(), code.strip().replace(" ", "").encode()):
                return step
        return 0

    # -- sessions

    async def sign_in(self, name: str, password: str, code: str, ip: str, agent: str = "") -> str:
        """The text of a new session, for the cookie."""
        name = name.strip().lower()
        wants = self._slow_down(_tries(name, ip))
        stored = await self._store.get("admins", name)
        if not await self._passwords.check(stored["password"] if stored else "", password) or not stored["active"]:
            raise _wrong()
        if stored["totp"]:
            secret = self._sealer.open("admins", name, "totp", stored["totp"])
            step = self._step(secret, code, stored["totp_step"])
            used = {**stored, "rev": stored["rev"] + 1, "totp_step": step}
            if not step or not await self._store.replace("admins", used, stored["rev"]):
                raise refuse("authentication", "The code of the second factor is missing, wrong or used.",
                             code="second_factor")
        self._forgive(wants)
        return await self.open_session(name, ip, agent)

    async def open_session(self, name: str, ip: str, agent: str = "") -> str:
        """A session for somebody who has just proved who they are."""
        now_ms = self._clock.now_ms()
        for old in await self.sessions(name):
            if old["exp_ms"] <= now_ms:
                await self._store.remove("sessions", old["_id"], old["rev"])
        text = secrets.token_urlsafe(32)
        await self._store.insert("sessions", {
            "_id": _hashed(text), "rev": 1, "admin": name, "created_ms": now_ms, "proved_ms": now_ms, "exp_ms": now_ms + SESSION_MS,
            "csrf": secrets.token_urlsafe(24), "ip": ip, "agent": agent[:200]})
        return text

    async def who(self, text: str) -> Who | None:
        """Whose session this is; None when it is nobody's (any more)."""
        stored = await self._store.get("sessions", _hashed(text)) if text else None
        if stored is None or stored["exp_ms"] <= self._clock.now_ms():
            return None
        admin = await self._store.get("admins", stored["admin"])
        if admin is None or not admin["active"]:
            return None
        return Who(admin["_id"], admin["role"], admin["acct"], stored["_id"], stored["csrf"],
                   stored.get("proved_ms", stored["created_ms"]))

    async def sessions(self, name: str) -> list[Mapping[str, Any]]:
        """All sessions of a person, as stored."""
        return await every(self._store, "sessions", {"admin": name})

    async def revoke(self, session: str, name: str = "") -> bool:
        """End a session by its id (of that person, when a name is given); False when there is none."""
        stored = await self._store.get("sessions", session)
        if stored is None or (name and stored["admin"] != name):
            return False
        return await self._store.remove("sessions", session, stored["rev"])

    async def revoke_all(self, name: str) -> None:
        """End every session of a person."""
        for stored in await self.sessions(name):
            await self._store.remove("sessions", stored["_id"], stored["rev"])

    async def proves(self, who: Who, password: str) -> None:
        """The password again, before money or secrets move. Refusal 401; 429 by the session's own wrong tries, which
        nobody without it can spend."""
        wants = self._slow_down((Want(f"proof:{who.session}", PER_SESSION, 1),))
        if not await self._passwords.check((await self.get(who.name))["password"], password):
            raise refuse("authentication", "This is not your password.", code="password", param="password")
        self._forgive(wants)

    async def prove(self, who: Who, password: str) -> Who:
        """The password again, which then counts for the session for PROVED_MS. Refusal 401."""
        await self.proves(who, password)
        stored = await self._store.get("sessions", who.session)
        now_ms = self._clock.now_ms()
        if stored is None or not await self._store.replace(
                "sessions", {**stored, "rev": stored["rev"] + 1, "proved_ms": now_ms}, stored["rev"]):
            raise refuse("authentication", "Sign in first.", code="signed_out")
        return replace(who, proved_ms=now_ms)

    # -- small parts

    async def _hash(self, password: str) -> str:
        try:
            return await self._passwords.hash(password)
        except ValueError as error:
            raise refuse("invalid_request", f"{str(error).capitalize()}.", code="password", param="password") from None

    def _slow_down(self, wants: tuple[Want, ...]) -> tuple[Want, ...]:
        """Take a try; only those that fail stay taken, see _forgive. Refusal 429."""
        refused = self._limiter.take(wants)
        if refused is not None:
            wait_s = -(-refused[1] // 1_000_000)
            raise refuse("rate_limit", f"Too many tries; wait {wait_s} s.", code="too_many_tries", retry_after_s=wait_s)
        return wants

    def _forgive(self, wants: tuple[Want, ...]) -> None:
        """It was right: such a try does not count."""
        for want in wants:
            self._limiter.correct(want, 0)


def _tries(name: str, ip: str) -> tuple[Want, ...]:
    """What a try to sign in takes."""
    name, place = name[:64], _place(ip)
    return (Want(f"signin:name:{name}:{place}", PER_NAME_AND_PLACE, 1), Want(f"signin:ip:{place}", PER_PLACE, 1),
            Want(f"signin:name:{name}", PER_NAME, 1))


def _place(ip: str) -> str:
    """An address, of IPv6 the network of 64 bits: so much of it is anybody's who has one line."""
    try:
        address = ip_address(ip)
    except ValueError:                 # a socket of this machine has none
        return ip
    return ip if address.version == 4 else str(ip_network((address, 64), strict=False))


def _fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    doc = from_store(AdminDoc, dict(stored))
    return doc.model_dump()


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _wrong() -> Refusal:
    return refuse("authentication", "Name or password is wrong.", code="wrong_password")
