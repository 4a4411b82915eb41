"""Accounts that sign in instead of showing a key: list, sign in by a code, import, sign out. There while a plugin brings
an issuer; tokens never come here, and the audit shows them by the fingerprint of their sealed form."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from smartoken.domain.documents import Name
from smartoken.errors import refuse
from smartoken.plugin import DONE, Pending, SignedIn, SignIn
from smartoken.strict import Strict
from smartoken.web.admin import channels
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation


class SignInBody(Strict):
    """`id`: the account's name here. `terms`: true says that the issuer's `terms` were read and accepted."""

    id: Name
    terms: bool = False


class ImportBody(SignInBody):
    """`file`: the text of the file that another program keeps; see the issuer's `file`."""

    model_config = ConfigDict(hide_input_in_errors=True)   # it is a secret

    file: Annotated[str, Field(min_length=1, max_length=100_000, repr=False)]


async def list_all(desk: Desk) -> dict[str, Any]:
    """Issuers with their terms; accounts with limits, as the upstream told them last, and the channels that use them."""
    using: dict[str, list[dict[str, Any]]] = {}
    for channel in (await channels.list_channels(desk))["channels"]:
        using.setdefault(channel["credential"], []).append(
            {"name": channel["name"], "rest_ms": channel["live"]["rest_ms"], "active": channel["active"]})
    found = [_row(desk, sign_in, one) | {"channels": using.get(sign_in.prefix + one.id, [])}
             for sign_in in desk.gateway.registry.sign_ins.values() for one in await sign_in.accounts()]
    return {"issuers": [{"name": one.name, "title": one.title, "terms": list(one.terms), "file": one.file}
                        for one in desk.gateway.registry.sign_ins.values()],
            "accounts": sorted(found, key=lambda row: row["id"])}


async def begin(desk: Desk, issuer: str, body: SignInBody) -> dict[str, Any]:
    """A code for the operator to enter at `link`; then follow it until its `state` is no longer "waiting"."""
    sign_in = _issuer(desk, issuer)
    _accepted(body)
    pending = await sign_in.begin(body.id)
    await desk.audit("oauth.begin", f"oauth/{body.id}", None, {"issuer": issuer}, "terms accepted")
    return _pending(pending)


async def look(desk: Desk, issuer: str, ref: str) -> dict[str, Any]:
    """A sign-in as it is: waiting, signed in, refused or expired."""
    return _pending(await _issuer(desk, issuer).look(ref))


async def follow(desk: Desk, issuer: str, ref: str) -> dict[str, Any]:
    """The same, after asking the issuer whether the code was entered; no oftener than the issuer wants it. At any
    worker of any node."""
    sign_in = _issuer(desk, issuer)
    pending = await sign_in.follow(ref)
    if pending is not None and pending.made is not None:
        await _signed_in(desk, sign_in, pending.made, "oauth.sign-in")
    return _pending(pending)


async def cancel(desk: Desk, issuer: str, ref: str) -> None:
    """Forget a sign-in; its code signs nothing in any more."""
    sign_in = _issuer(desk, issuer)
    pending = await sign_in.look(ref)
    if pending is None:
        raise missing("sign-in", ref)
    await sign_in.cancel(ref)
    if pending.state != DONE:
        await desk.audit("oauth.cancel", f"oauth/{pending.id}", {"issuer": issuer})


async def take(desk: Desk, issuer: str, body: ImportBody) -> dict[str, Any]:
    """Take over an account that is signed in elsewhere: from then on only one of the two may refresh it."""
    sign_in = _issuer(desk, issuer)
    _accepted(body)
    made = await sign_in.take(body.id, body.file)
    await _signed_in(desk, sign_in, made, "oauth.import", "terms accepted")
    return _row(desk, sign_in, made)


async def remove(desk: Desk, issuer: str, id: str) -> dict[str, Any]:
    """Forget an account and have its tokens revoked; `revoked` false: the issuer could not be told, sign out there."""
    sign_in = _issuer(desk, issuer)
    old = next((one for one in await sign_in.accounts() if one.id == id), None)
    revoked = await sign_in.remove(id) if old is not None else None
    if revoked is None:
        raise missing("signed-in account", id)
    await desk.audit("oauth.sign-out", f"oauth/{id}", _audited(sign_in, old), None, "" if revoked else "not revoked")
    await desk.renew()
    return {"id": id, "revoked": revoked}


async def _signed_in(desk: Desk, sign_in: SignIn, made: SignedIn, action: str, note: str = "") -> None:
    await desk.audit(action, f"oauth/{made.id}", None, _audited(sign_in, made), note)
    await desk.renew()


def _audited(sign_in: SignIn, one: SignedIn) -> dict[str, Any]:
    return {"issuer": sign_in.name, "plan": one.plan, "account": one.account, "credential": one.sealed}


def _issuer(desk: Desk, name: str) -> SignIn:
    found = desk.gateway.registry.sign_ins.get(name)
    if found is None:
        raise missing("issuer", name)
    return found


def _accepted(body: SignInBody) -> None:
    if not body.terms:
        raise refuse("invalid_request", "Read and accept the terms first.", code="terms", param="terms")


def _row(desk: Desk, sign_in: SignIn, one: SignedIn) -> dict[str, Any]:
    return {"id": one.id, "issuer": sign_in.name, "provider": sign_in.provider,
            "credential": sign_in.prefix + one.id, "plan": one.plan, "account": one.account,
            "state": "must sign in again" if one.why else "ok", "why": one.why,
            "until_ms": one.until_ms, "renewed_ms": one.renewed_ms,
            "tokens": f"sealed ({desk.gateway.audit.fingerprint(one.sealed)})",
            "limits": [{"name": window.name, "minutes": window.minutes, "used_permille": window.used_permille,
                        "reset_ms": window.reset_ms} for window in one.windows],
            "credits": one.credits, "seen_ms": one.seen_ms}


def _pending(pending: Pending | None) -> dict[str, Any]:
    if pending is None:
        raise refuse("not_found", "There is no such sign-in (any more).", code="sign-in_not_found")
    return {"ref": pending.ref, "id": pending.id, "code": pending.code, "link": pending.link,
            "until_ms": pending.until_ms, "state": pending.state, "why": pending.why}


OPERATIONS = [
    Operation("GET", "/oauth", "catalog.read", "Issuers and signed-in accounts, with their limits", list_all,
              needs="sign_ins"),
    Operation("POST", "/oauth/{issuer}/sign-ins", "catalog.write", "Begin to sign in by a code", begin, SignInBody,
              status=201, needs="sign_ins"),
    Operation("GET", "/oauth/{issuer}/sign-ins/{ref}", "catalog.write", "A sign-in under way", look, needs="sign_ins"),
    Operation("POST", "/oauth/{issuer}/sign-ins/{ref}/follow", "catalog.write", "Ask the issuer whether it is done",
              follow, needs="sign_ins"),
    Operation("DELETE", "/oauth/{issuer}/sign-ins/{ref}", "catalog.write", "Cancel a sign-in", cancel,
              needs="sign_ins"),
    Operation("POST", "/oauth/{issuer}/imports", "catalog.write", "Import an account from another program's file", take,
              ImportBody, status=201, needs="sign_ins"),
    Operation("DELETE", "/oauth/{issuer}/accounts/{id}", "catalog.write", "Sign an account out", remove,
              needs="sign_ins"),
]
