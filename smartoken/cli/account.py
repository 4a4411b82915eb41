"""`smartoken account create | list | show | topup | adjust | refund | suspend | resume`: who pays, and with what."""

import getpass
import secrets
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

IdArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Accounts and their balances.")
    app.add_typer(commands, name="account")
    commands.command("list")(list_accounts)
    for command in (create, show, topup, adjust, refund, suspend, resume):
        commands.command()(command)


def create(name: Annotated[str, typer.Argument(help="Whose it is.")],
           id: Annotated[str, typer.Option("--id", help="An id of your own; random otherwise.")] = "",
           overdraft: Annotated[str, typer.Option(help="How far below zero it may go, in USD.")] = "0",
           rpm: Annotated[int, typer.Option(min=0, help="Requests per minute; 0 is no limit.")] = 0,
           tpm: Annotated[int, typer.Option(min=0, help="Tokens per minute; 0 is no limit.")] = 0,
           as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Make an account, with nothing in it."""
    use_conf(conf)
    from smartoken.cli._books import show_json, with_books
    from smartoken.engine.issue import create_account

    made = with_books(lambda books: create_account(books.catalog, name, id=id, overdraft_u=overdraft, rpm=rpm, tpm=tpm))
    if as_json:
        show_json(_row(made))
    else:
        print(f"Account {made['_id']}. Next: smartoken account topup {made['_id']} 10")


def list_accounts(as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Show every account."""
    use_conf(conf)
    from smartoken.cli._books import date, show_json, show_table, with_books

    rows = [_row(stored) for stored in with_books(lambda books: books.catalog.all("accounts"))]
    if as_json:
        show_json(rows)
        return
    show_table(("id", "name", "active", "made"),
               [(row["id"], row["name"], "yes" if row["active"] else "no", date(row["created_ms"])) for row in rows])


def show(id: IdArgument, as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Show an account, its balance and its keys."""
    use_conf(conf)
    from smartoken.cli._books import show_json, with_books
    from smartoken.domain.money import show_u
    from smartoken.engine.issue import account

    async def work(books):
        stored = await account(books.catalog, id)
        return (_row(stored), await _ledger(books).balance(id), await books.catalog.all("keys", {"acct": id}))

    row, balance, keys = with_books(work)
    if as_json:
        show_json({**row, "balance_u": balance.balance_u, "available_u": balance.available_u,
                   "leased_u": balance.leased_u, "held_u": balance.held_u,
                   "keys": [key["kid"] for key in keys]})
        return
    print(f"Account {row['id']} ({row['name']}){'' if row['active'] else ', suspended'}\n"
          f"Balance {show_u(balance.balance_u)}, of which {show_u(balance.available_u)} are not set aside for calls")
    for key in keys:
        print(f"Key {key['kid']}…{key['last4']} {key['name']}{'' if key['active'] else ' (revoked)'}")


def topup(id: IdArgument, amount: Annotated[str, typer.Argument(help="In USD, such as 10 or 12.50.")],
          op: Annotated[str, typer.Option("--op", help="Name of the cause, such as an invoice: done once only.")] = "",
          note: Annotated[str, typer.Option(help="For the books.")] = "",
          as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Put money into an account. With the same --op again nothing happens."""
    from smartoken.cli._books import once

    amount_u = _above_zero(amount)
    op = op or f"cli-{secrets.token_hex(8)}"
    with once(op):
        _book(id, conf, as_json, op, amount_u,
              lambda ledger: ledger.topup(id, amount_u, op, note, actor=getpass.getuser()))


def adjust(id: IdArgument, amount: Annotated[str, typer.Argument(help="In USD; after -- it may be negative: -- -2.50")],
           key: Annotated[str, typer.Option("--key", help="Name of this decision: done once only.")],
           reason: Annotated[str, typer.Option(help="Why, for the books.")],
           actor: Annotated[str, typer.Option(help="Who decided it; you by default.")] = "",
           below_zero: Annotated[bool, typer.Option("--below-zero", help="Even past an empty balance.")] = False,
           as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Add to a balance, or take from it, by a person's decision. With the same --key again nothing happens."""
    amount_u = _usd(amount)
    _book(id, conf, as_json, key, amount_u,
          lambda ledger: ledger.adjust(id, amount_u, key, reason, actor=actor or getpass.getuser(),
                                       below_zero=below_zero))


def refund(id: IdArgument, rid: Annotated[str, typer.Argument(metavar="REQUEST", help="The request's trace id.")],
           key: Annotated[str, typer.Option("--key", help="Name of this refund: done once only.")],
           reason: Annotated[str, typer.Option(help="Why, for the books.")],
           amount: Annotated[str, typer.Option(help="In USD; all that is left of its cost by default.")] = "",
           actor: Annotated[str, typer.Option(help="Who decided it; you by default.")] = "",
           as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Give back what a request was charged, to the pockets that paid. With the same --key again nothing happens."""
    from smartoken.engine.refunds import refund as give_back

    amount_u = _above_zero(amount) if amount else 0
    _book(id, conf, as_json, key, amount_u,
          lambda ledger: give_back(ledger, id, rid, amount_u, key, reason=reason, actor=actor or getpass.getuser()))


def _book(id: str, conf: str | None, as_json: bool, op: str, amount_u: int, move) -> None:
    """Make one movement of the ledger, of `amount_u` (0: it will tell), and show the balance after it."""
    use_conf(conf)
    from smartoken.cli._books import show_json, with_books
    from smartoken.domain.account import Declined
    from smartoken.domain.money import show_u
    from smartoken.engine.issue import account
    from smartoken.engine.ledger import same
    from smartoken.errors import ConfigError

    async def work(books):
        await account(books.catalog, id)
        ledger = _ledger(books)
        head = await ledger.head(id)
        try:
            entry = await move(ledger)
            if amount_u:
                same(entry, amount_u)
        except Declined as error:
            raise ConfigError(f"The books do not take it: {error}") from None
        return entry.delta["u"], head is not None and entry.seq <= head.seq, await ledger.balance(id)

    moved_u, again, balance = with_books(work)
    if as_json:
        show_json({"account": id, "amount_u": moved_u, "op": op, "again": again, "balance_u": balance.balance_u})
    else:
        done = "were booked before, nothing moved" if again else "booked"
        print(f"{show_u(moved_u)} {done} ({op}). Balance of {id}: {show_u(balance.balance_u)}")


def _usd(amount: str) -> int:
    from smartoken.domain.money import usd_to_u
    from smartoken.errors import ConfigError

    try:
        return usd_to_u(amount)
    except ValueError as error:
        raise ConfigError(f"AMOUNT: {error}") from None


def _above_zero(amount: str) -> int:
    from smartoken.errors import ConfigError

    amount_u = _usd(amount)
    if amount_u <= 0:
        raise ConfigError(f"AMOUNT: {amount!r} is not above zero; write how much, such as 10")
    return amount_u


def suspend(id: IdArgument, conf: ConfOption = None) -> None:
    """Refuse every key of an account, on every node within 3 s."""
    _set_active(id, False, conf)
    print(f"Account {id} is suspended.")


def resume(id: IdArgument, conf: ConfOption = None) -> None:
    """Let a suspended account in again."""
    _set_active(id, True, conf)
    print(f"Account {id} is active.")


def _set_active(id: str, active: bool, conf: str | None) -> None:
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.engine.issue import set_account_active

    with_books(lambda books: set_account_active(books.catalog, id, active))


def _ledger(books):
    from smartoken.adapters.clock import SystemClock
    from smartoken.engine.ledger import Ledger

    return Ledger(books.store, "cli", SystemClock())


def _row(stored: dict) -> dict:
    fields = {name: value for name, value in stored.items() if name not in ("_id", "rev")}
    return {"id": stored["_id"], **fields}
