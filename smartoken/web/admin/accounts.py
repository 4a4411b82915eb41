"""Accounts: find, make, change; their balance, their books, top-ups and adjustments."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from smartoken.domain.documents import AccountDoc, Count, Name, from_store
from smartoken.domain.money import show_u, usd_to_u
from smartoken.domain.pricing import Micro
from smartoken.engine.changes import Conflict
from smartoken.engine.issue import create_account
from smartoken.engine.ledger import Balance, balance_of
from smartoken.engine.newest import newest
from smartoken.errors import Refusal, refuse
from smartoken.strict import Strict, decode, worded
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation

PAGE, SCANNED = 50, 20_000


def _signed(value: Any) -> Any:
    """µUSD as an int, or USD as text, either sign."""
    return usd_to_u(value) if type(value) is str else value


Amount = Annotated[int, BeforeValidator(_signed), Field(strict=True)]
Op = Annotated[str, Field(min_length=1, max_length=120, pattern=worded(r"^[\x21-\x7e]+$", "plain letters, digits and signs, no spaces"))]
Note = Annotated[str, Field(max_length=500)]


class AccountBody(Strict):
    """`id` empty: a random one."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    id: str = ""
    overdraft_u: Micro = 0
    rpm: Count = 0
    tpm: Count = 0


class AccountChange(Strict):
    """What is None stays; `rev` is the revision that is replaced."""

    rev: int
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    active: bool | None = None
    overdraft_u: Micro | None = None
    rpm: Count | None = None
    tpm: Count | None = None


class TopupBody(Strict):
    """`op` names the cause, such as an invoice: with the same again nothing happens."""

    amount_u: Amount
    op: Op
    note: Note = ""


class AdjustBody(TopupBody):
    """A person's decision: up or down, with the reason in `note`, and the password of whoever decides."""

    note: Annotated[str, Field(min_length=3, max_length=500)]
    below_zero: bool = False
    password: str = Field(default="", repr=False)


class AccountQuery(Strict):
    """`q`: the beginning of an id, or a part of a name. `after`: the last id of the page before."""

    q: str = ""
    after: str = ""


class BooksQuery(Strict):
    """`before`: the seq above the page wanted, as text."""

    before: Annotated[str, Field(pattern=r"^[0-9]{0,15}$")] = ""


async def list_accounts(desk: Desk, query: AccountQuery) -> dict[str, Any]:
    """A page of accounts by id, with balances for those who may see money; `next` is the `after` of the next page."""
    store = desk.gateway.store
    if query.q:
        found, more = await _search(store, query.q, query.after)
    else:
        found = await store.find("accounts", after=query.after, limit=PAGE + 1)
        more = found[PAGE - 1]["_id"] if len(found) > PAGE else ""
    rows = [await _row(desk, stored) for stored in found[:PAGE]]
    return {"accounts": rows, "next": more}


async def _search(store: Any, q: str, after: str) -> tuple[list[dict[str, Any]], str]:
    """(those after `after` whose id begins so or whose name contains it, by id; the `after` to go on from, '' at the
    end). At most PAGE of them, and of at most SCANNED accounts: there may be more of them behind a short page."""
    wanted, found = q.casefold(), []
    for _ in range(SCANNED // 1000):
        page = await store.find("accounts", after=after, limit=1000)
        found += [one for one in page if one["_id"].casefold().startswith(wanted) or wanted in one["name"].casefold()]
        if len(found) > PAGE:
            return found[:PAGE], found[PAGE - 1]["_id"]
        if len(page) < 1000:
            return found, ""
        after = page[-1]["_id"]
    return found, after


async def get_account(desk: Desk, id: str) -> dict[str, Any]:
    """An account with its balance and pockets."""
    return await _row(desk, await _stored(desk, id), pockets=True)


async def create(desk: Desk, body: AccountBody) -> dict[str, Any]:
    """An overdraft is money lent: refusals 403 without `money.write`, 401 `prove_again` (see POST /me/proof)."""
    if body.overdraft_u:
        _lends(desk)
    if body.id:
        decode(_Id, {"id": body.id}, "the new account")
    fields = body.model_dump(exclude={"name", "id"})
    made = await create_account(desk.gateway.catalog, body.name, id=body.id, **fields)
    await desk.audit("accounts.create", f"accounts/{made['_id']}", None, made)
    return await _row(desk, made)


class _Id(Strict):
    id: Name


async def change(desk: Desk, id: str, body: AccountChange) -> dict[str, Any]:
    """Another overdraft takes what it takes to make an account with one."""
    old = await _stored(desk, id)
    if body.overdraft_u is not None and body.overdraft_u != old.get("overdraft_u", 0):
        _lends(desk)
    if body.rev != old["rev"]:
        raise Conflict(f"accounts '{id}' is at revision {old['rev']}, not {body.rev}; read it again")
    fields = body.model_dump(exclude={"rev"}, exclude_none=True)
    doc = decode(AccountDoc, {**from_store(AccountDoc, old).model_dump(), **fields}, "the account")
    new = await desk.gateway.catalog.put("accounts", doc, body.rev)
    await desk.audit("accounts.change", f"accounts/{id}", old, new)
    return await _row(desk, new)


def _lends(desk: Desk) -> None:
    desk.demand("money.write")
    desk.proved()


async def topup(desk: Desk, id: str, body: TopupBody) -> dict[str, Any]:
    """Put money in, once per `op`. Refusal 409 when that op put in another amount before, 401 `prove_again` (see
    POST /me/proof) when the password was typed too long ago."""
    await _stored(desk, id)
    desk.proved()
    if body.amount_u <= 0:
        raise refuse("invalid_request", "An amount to put in is above zero.", param="amount_u")
    ledger = desk.gateway.ledger
    before = (await ledger.balance(id)).seq
    entry = await ledger.topup(id, body.amount_u, body.op, body.note)
    _same(entry, body)
    if entry.seq > before:
        await desk.audit("accounts.topup", f"accounts/{id}", None, {"amount_u": body.amount_u, "op": body.op},
                         body.note)
    return await get_account(desk, id)


async def adjust(desk: Desk, id: str, body: AdjustBody) -> dict[str, Any]:
    """Add or take by a decision, once per `op`; the password of whoever decides is asked for again."""
    await _stored(desk, id)
    await desk.proves(body.password)
    ledger = desk.gateway.ledger
    before = (await ledger.balance(id)).seq
    entry = await ledger.adjust(id, body.amount_u, body.op, body.note, actor=desk.who.name, below_zero=body.below_zero)
    _same(entry, body)
    if entry.seq > before:
        await desk.audit("accounts.adjust", f"accounts/{id}", None, {"amount_u": body.amount_u, "op": body.op},
                         body.note)
    return await get_account(desk, id)


async def books(desk: Desk, id: str, query: BooksQuery) -> dict[str, Any]:
    """The account's chain, newest first: what each entry did, and the balance after it."""
    await _stored(desk, id)
    entries = await newest(desk.gateway.store, id, int(query.before or 0), PAGE + 1)
    rows = [{"seq": entry.seq, "kind": entry.kind, "op": entry.op, "at_ms": entry.at_ms, "node": entry.node,
             "amount_u": entry.delta.get("u") if type(entry.delta.get("u")) is int else None,
             "note": entry.delta.get("note", ""), "balance_u": balance_of(entry).balance_u}
            for entry in entries[:PAGE]]
    return {"entries": rows, "next": rows[-1]["seq"] if len(entries) > PAGE else 0}


def _same(entry: Any, body: TopupBody) -> None:
    if entry.delta["u"] != body.amount_u:
        raise Refusal(409, "conflict_error", f"Under the name '{body.op}' {show_u(entry.delta['u'])} were booked "
                      "before; another amount needs another name.", code="op_taken", param="op")


async def _stored(desk: Desk, id: str) -> dict[str, Any]:
    stored = await desk.gateway.catalog.get("accounts", id)
    if stored is None:
        raise missing("account", id)
    return stored


async def _row(desk: Desk, stored: dict[str, Any], pockets: bool = False) -> dict[str, Any]:
    row = {"id": stored["_id"], **{name: value for name, value in stored.items() if name != "_id"}}
    if not desk.sees_money:
        row.pop("overdraft_u", None)
        return row
    balance: Balance = await desk.gateway.ledger.balance(stored["_id"])
    row |= {"balance_u": balance.balance_u, "available_u": balance.available_u, "leased_u": balance.leased_u,
            "held_u": balance.held_u, "charged_p": balance.charged_p}
    if pockets:
        row["pockets"] = [{"pocket": name, **pocket} for name, pocket in balance.pockets.items()]
    return row


OPERATIONS = [
    Operation("GET", "/accounts", "accounts.read", "Accounts, searched and paged", list_accounts, query=AccountQuery),
    Operation("POST", "/accounts", "accounts.write", "Make an account", create, AccountBody, status=201),
    Operation("GET", "/accounts/{id}", "accounts.read", "One account and its balance", get_account),
    Operation("PATCH", "/accounts/{id}", "accounts.write", "Change an account, suspend it, let it in again", change,
              AccountChange),
    Operation("POST", "/accounts/{id}/topups", "money.write", "Put money in", topup, TopupBody),
    Operation("POST", "/accounts/{id}/adjustments", "money.write", "Add or take money by a decision", adjust,
              AdjustBody),
    Operation("GET", "/accounts/{id}/books", "money.read", "The account's chain of entries", books, query=BooksQuery),
]
