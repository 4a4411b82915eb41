"""People who sign in, their sessions, and one's own password and second factor."""

import asyncio
from typing import Annotated, Any, Literal

from pydantic import Field

from smartoken.domain.people import Login, Role
from smartoken.errors import refuse
from smartoken.strict import Strict
from smartoken.web.admin.desk import Desk
from smartoken.web.admin.operation import Operation

PAGE = 50
SECRET = frozenset({"_id", "rev", "password", "totp", "totp_step"})
Password = Annotated[str, Field(max_length=1024)]


class PeopleQuery(Strict):
    """`q`: the beginning of a name. `role`: of one role. `after`: `next` of the page before."""

    q: str = ""
    role: Role | Literal[""] = ""
    after: str = ""


class PersonBody(Strict):
    """Somebody new, with a first password to change."""

    name: Login
    role: Role
    password: Password
    acct: str = ""


class PersonChange(Strict):
    """What is None stays. `password` sets a new one and ends that person's sessions."""

    role: Role | None = None
    active: bool | None = None
    password: Password | None = None
    second_factor: bool | None = None      # False takes it off, for somebody who lost it


class OwnPassword(Strict):
    old: Password
    new: Password


class Proof(Strict):
    password: Password


class OwnFactor(Strict):
    """`secret` of GET /me/second-factor and a code that proves it; empty, with the password, switches it off."""

    secret: str = Field(default="", repr=False)
    code: str = Field(default="", repr=False)
    password: Password = ""


async def list_people(desk: Desk, query: PeopleQuery) -> dict[str, Any]:
    """A page of those who may sign in, by name; `next` is the `after` of the next page."""
    people = desk.gateway.people
    found = await people.page(query.q.strip().lower(), query.role, query.after, PAGE + 1)
    shown = found[:PAGE]
    sessions = await asyncio.gather(*(people.sessions(one["_id"]) for one in shown))
    return {"people": [{**_row(one), "sessions": len(some)} for one, some in zip(shown, sessions, strict=True)],
            "next": shown[-1]["_id"] if len(found) > PAGE else ""}


async def add(desk: Desk, body: PersonBody) -> dict[str, Any]:
    made = await desk.gateway.people.add(body.name, body.role, body.password, body.acct)
    await desk.audit("people.add", f"people/{body.name}", None, made)
    return _row(made)


async def change(desk: Desk, name: str, body: PersonChange) -> dict[str, Any]:
    """Change a role, switch somebody off or on, set a password; every session ends when what they may is less."""
    people = desk.gateway.people
    fields = body.model_dump(exclude_none=True, include={"role", "active"})
    if body.second_factor is False:
        fields |= {"totp": "", "totp_step": 0}
    old, new = await people.change(name, body.password, **fields)
    if fields or body.password is not None:
        await people.revoke_all(name)
    await desk.audit("people.change", f"people/{name}", old, new, "new password" if body.password is not None else "")
    return _row(new)


async def end_sessions(desk: Desk, name: str) -> None:
    """Sign somebody out everywhere."""
    await desk.gateway.people.get(name)
    await desk.gateway.people.revoke_all(name)
    await desk.audit("people.end-sessions", f"people/{name}")


async def own_sessions(desk: Desk) -> dict[str, Any]:
    """One's own sessions; `here` is the one that asks."""
    found = await desk.gateway.people.sessions(desk.who.name)
    rows = [{"id": one["_id"], "created_ms": one["created_ms"], "exp_ms": one["exp_ms"], "ip": one["ip"],
             "agent": one["agent"], "here": one["_id"] == desk.who.session} for one in found]
    return {"sessions": sorted(rows, key=lambda row: -row["created_ms"])}


async def end_own_session(desk: Desk, id: str) -> None:
    if not await desk.gateway.people.revoke(id, desk.who.name):
        raise refuse("not_found", "There is no such session.", code="session_not_found")
    await desk.audit("people.end-session", f"people/{desk.who.name}")


async def prove(desk: Desk, body: Proof) -> None:
    """For ten minutes this session may then put money and secrets in."""
    await desk.gateway.people.prove(desk.who, body.password)


async def own_password(desk: Desk, body: OwnPassword) -> None:
    """Ends every session, this one too: sign in again."""
    await desk.proves(body.old)
    old, new = await desk.gateway.people.set_password(desk.who.name, body.new)
    await desk.audit("people.password", f"people/{desk.who.name}", old, new, "own password")


async def offer_factor(desk: Desk) -> dict[str, Any]:
    """A new secret for an authenticator app; nothing is in force yet."""
    secret, uri = desk.gateway.people.new_totp(desk.who.name)
    stored = await desk.gateway.people.get(desk.who.name)
    return {"on": bool(stored["totp"]), "secret": secret, "uri": uri}


async def own_factor(desk: Desk, body: OwnFactor) -> None:
    await desk.proves(body.password)
    old, new = await desk.gateway.people.set_totp(desk.who.name, body.secret, body.code)
    await desk.audit("people.second-factor", f"people/{desk.who.name}", old, new, "on" if body.secret else "off")


def _row(stored: dict[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in stored.items() if name not in SECRET}
    return {"name": stored["_id"], **row, "second_factor": bool(stored["totp"])}


OPERATIONS = [
    Operation("GET", "/people", "people.write", "Who may sign in", list_people, query=PeopleQuery),
    Operation("POST", "/people", "people.write", "Let somebody sign in", add, PersonBody, status=201),
    Operation("PATCH", "/people/{name}", "people.write", "Change a role, a password; switch somebody off", change,
              PersonChange),
    Operation("DELETE", "/people/{name}/sessions", "people.write", "Sign somebody out everywhere", end_sessions),
    Operation("GET", "/me/sessions", "self", "One's own sessions", own_sessions),
    Operation("DELETE", "/me/sessions/{id}", "self", "End one of one's own sessions", end_own_session),
    Operation("POST", "/me/proof", "self", "Type one's password again", prove, Proof),
    Operation("PUT", "/me/password", "self", "Change one's own password", own_password, OwnPassword),
    Operation("GET", "/me/second-factor", "self", "A secret for a second factor", offer_factor),
    Operation("PUT", "/me/second-factor", "self", "Switch one's second factor on or off", own_factor, OwnFactor),
]
