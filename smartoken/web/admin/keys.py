"""Keys of accounts: made (and shown once), limited, revoked."""

from typing import Annotated, Any

from pydantic import Field

from smartoken.domain.documents import Count, KeyDoc, Slug, from_store
from smartoken.engine.issue import issue_key
from smartoken.strict import Strict, decode
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation

PAGE = 50
NEVER_SHOWN = frozenset({"_id", "digest", "pepper"})


class KeyBody(Strict):
    """`models` empty: every model. `exp_ms` 0: never. Limits per minute, 0: none."""

    acct: str
    name: Annotated[str, Field(max_length=200)] = ""
    models: list[Slug] = Field(default_factory=list)
    exp_ms: Count = 0
    rpm: Count = 0
    tpm: Count = 0
    show_cost: bool = False


class KeyChange(Strict):
    """What is None stays. A revoked key stays revoked: make a new one."""

    name: Annotated[str, Field(max_length=200)] | None = None
    models: list[Slug] | None = None
    exp_ms: Count | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    show_cost: bool | None = None


class KeyQuery(Strict):
    """`acct`: of one account. `q`: a key's id. `after`: `next` of the page before."""

    acct: str = ""
    q: str = ""
    after: str = ""


async def list_keys(desk: Desk, query: KeyQuery) -> dict[str, Any]:
    """A page of keys, without their text. `next` is a key's digest: nothing here or at the door takes one, and what it
    is made of, the key and the pepper, has 190 bits that nobody can guess."""
    where: dict[str, str | int] = {}
    if query.acct:
        where["acct"] = query.acct
    if query.q:
        where["kid"] = query.q.removeprefix("stk-live-")[:8]
    found = await desk.gateway.store.find("keys", where, after=query.after, limit=PAGE + 1)
    return {"keys": [_row(stored) for stored in found[:PAGE]], "next": found[PAGE - 1]["_id"] if len(found) > PAGE
            else ""}


async def create(desk: Desk, body: KeyBody) -> dict[str, Any]:
    """The new key with its text in `key`: this once, never again."""
    if await desk.gateway.catalog.get("accounts", body.acct) is None:
        raise missing("account", body.acct)
    text, made = await issue_key(desk.gateway.catalog, desk.gateway.pepper, body.acct,
                                 **body.model_dump(exclude={"acct"}))
    await desk.audit("keys.create", f"keys/{made['kid']}", None, made)
    return {**_row(made), "key": text}


async def get_key(desk: Desk, kid: str) -> dict[str, Any]:
    return _row(await _stored(desk, kid))


async def change(desk: Desk, kid: str, body: KeyChange) -> dict[str, Any]:
    old = await _stored(desk, kid)
    fields = body.model_dump(exclude_none=True)
    doc = decode(KeyDoc, {**from_store(KeyDoc, old).model_dump(), **fields}, "the key")
    new = await desk.gateway.catalog.put("keys", doc, old["rev"])
    await desk.audit("keys.change", f"keys/{kid}", old, new)
    return _row(new)


async def revoke(desk: Desk, kid: str) -> dict[str, Any]:
    """Refused on every node within 3 s; to repeat it is harmless."""
    old = await _stored(desk, kid)
    new = await desk.gateway.catalog.put("keys", from_store(KeyDoc, old).model_copy(update={"active": False}))
    await desk.audit("keys.revoke", f"keys/{kid}", old, new)
    return _row(new)


async def _stored(desk: Desk, kid: str) -> dict[str, Any]:
    found = await desk.gateway.store.find("keys", {"kid": kid}, limit=1)
    if not found:
        raise missing("key", kid)
    return found[0]


def _row(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name not in NEVER_SHOWN}


OPERATIONS = [
    Operation("GET", "/keys", "accounts.read", "Keys, without their text", list_keys, query=KeyQuery),
    Operation("POST", "/keys", "keys.write", "Make a key; its text is in this answer only", create, KeyBody,
              status=201),
    Operation("GET", "/keys/{kid}", "accounts.read", "One key", get_key),
    Operation("PATCH", "/keys/{kid}", "keys.write", "Change a key's name, models, limits, expiry", change, KeyChange),
    Operation("POST", "/keys/{kid}/revoke", "keys.write", "Revoke a key", revoke),
]
