"""`smartoken voucher create | list | redeem | stop`: credit behind a code."""

import secrets
import sys
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Vouchers: credit behind a code.")
    app.add_typer(commands, name="voucher")
    commands.command("list")(list_vouchers)
    for command in (create, redeem, stop):
        commands.command()(command)


def create(amount: Annotated[str, typer.Argument(help="What each is worth, in USD.")],
           count: Annotated[int, typer.Option(min=1, help="So many, alike; more than one come as CSV.")] = 1,
           model: Annotated[list[str] | None, typer.Option("--model", help="Only for this model; may be repeated.")] = None,
           days: Annotated[int, typer.Option(min=0, help="The credit expires so many days after redeeming; 0 is never.")] = 0,
           until: Annotated[str, typer.Option(help="Codes can be redeemed, and credit used, up to this day (UTC), "
                                                   "such as 2027-01-31.")] = "",
           uses: Annotated[int, typer.Option(min=1, help="How many accounts may redeem it, each once.")] = 1,
           prio: Annotated[int, typer.Option(help="Lower burns first.")] = 0,
           note: Annotated[str, typer.Option(help="For the books.")] = "",
           op: Annotated[str, typer.Option("--op", help="Name of the cause: under the same again the codes are the "
                                                        "same, and nothing more is made.")] = "",
           csv: Annotated[str, typer.Option("--csv", help="Write the codes to this new file.")] = "",
           as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Make vouchers and show their codes: only now, or under the same --op."""
    use_conf(conf)
    from pathlib import Path

    from smartoken.cli._books import known_models, once, show_json, with_books
    from smartoken.domain.money import show_u, usd_to_u
    from smartoken.errors import ConfigError

    try:
        face_u = usd_to_u(amount)
    except ValueError as error:
        raise ConfigError(f"AMOUNT: {error}") from None
    exp_ms = _end_of(until) if until else 0
    op = op or f"cli-{secrets.token_hex(8)}"
    models = with_books(lambda books: known_models(books, model or []))
    file = _new_file(csv) if csv else None

    async def work(books):
        return await (await _vouchers(books)).create(op, face_u, count, models=models, prio=prio, exp_ms=exp_ms,
                                                     days=days, uses=uses, note=note)

    with once(op):
        try:
            made = with_books(work)
            if file is not None:
                _write_csv(file, made)
                file.close()
        except BaseException:
            if file is not None:           # so that the same command may be tried again
                Path(csv).unlink()
            raise
        if as_json:
            show_json([_row(voucher) | {"code": code} for code, voucher in made])
        elif file is not None:
            print(f"{len(made)} vouchers of {show_u(face_u)} are in {csv} (batch {made[0][1].batch}).")
        elif count > 1:
            _write_csv(sys.stdout, made)
        else:
            print(f"{made[0][0]}\nKeep it now: it is stored nowhere. Its id is {made[0][1].id}.")
        sys.stdout.flush()


def list_vouchers(batch: Annotated[str, typer.Option(help="Only of this batch.")] = "", as_json: JsonOption = False,
                  conf: ConfOption = None) -> None:
    """Show vouchers and who redeemed them, without their codes."""
    use_conf(conf)
    from smartoken.cli._books import date, show_json, show_table, with_books
    from smartoken.domain.money import show_u

    async def work(books):
        vouchers = await _vouchers(books)
        return [(voucher, await vouchers.claims(voucher)) for voucher in await vouchers.all(batch)]

    found = with_books(work)
    if as_json:
        show_json([_row(voucher) | {"redeemed_by": [claim["acct"] for claim in claims]} for voucher, claims in found])
        return
    show_table(("id", "batch", "worth", "models", "expires", "redeemed", "active"),
               [(voucher.id, voucher.batch, show_u(voucher.face_u), ", ".join(voucher.models) or "all",
                 date(voucher.exp_ms) or (f"{voucher.days} days" if voucher.days else "never"),
                 f"{len(claims)} of {voucher.uses}", "yes" if voucher.active else "no") for voucher, claims in found])


def redeem(code: Annotated[str, typer.Argument(help="The voucher's code.")],
           acct: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who gets the credit.")],
           as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Give a voucher's credit to an account. The same again changes nothing."""
    use_conf(conf)
    from smartoken.cli._books import show_json, with_books
    from smartoken.domain.money import show_u
    from smartoken.engine.issue import account

    async def work(books):
        await account(books.catalog, acct)
        return await (await _vouchers(books)).redeem(code, acct)

    done = with_books(work)
    if as_json:
        show_json({"account": acct, "pocket": done.pocket, "again": done.again, **_row(done.voucher)})
    else:
        print(f"{show_u(done.voucher.face_u)} {'were redeemed before' if done.again else 'redeemed'} for {acct}.")


def stop(id: Annotated[str, typer.Argument(metavar="VOUCHER", help="The voucher's id.")],
         conf: ConfOption = None) -> None:
    """Let nobody redeem a voucher any more; what was redeemed stays."""
    use_conf(conf)
    from smartoken.cli._books import with_books

    async def work(books):
        return await (await _vouchers(books)).stop(id)

    with_books(work)
    print(f"Voucher {id} is stopped.")


async def _vouchers(books):
    from smartoken.adapters.clock import SystemClock
    from smartoken.engine.ledger import Ledger
    from smartoken.engine.vouchers import Vouchers

    clock = SystemClock()
    return Vouchers(books.store, Ledger(books.store, "cli", clock), await books.pepper(), clock)


def _row(voucher) -> dict:
    import msgspec

    return msgspec.structs.asdict(voucher)


def _write_csv(out, made) -> None:
    import csv

    from smartoken.cli._books import date
    from smartoken.domain.money import U_PER_USD

    rows = csv.writer(out)
    rows.writerow(("code", "id", "batch", "usd", "models", "uses", "expires", "days"))
    for code, voucher in made:
        usd = f"{voucher.face_u // U_PER_USD}.{voucher.face_u % U_PER_USD:06d}"
        rows.writerow((code, voucher.id, voucher.batch, usd, " ".join(voucher.models), voucher.uses,
                       date(voucher.exp_ms), voucher.days or ""))


def _new_file(path: str):
    """Opened before anything is made: codes that cannot be written would be lost. Readable by its owner only."""
    import os

    from smartoken.errors import ConfigError

    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made ({error.strerror}); name a file that is not there yet") from None


def _end_of(day: str) -> int:
    """The last millisecond of a day in UTC."""
    from datetime import UTC, datetime

    from smartoken.errors import ConfigError

    try:
        start = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"--until: {day!r} is no day; write it like 2027-01-31") from None
    return int(start.timestamp() * 1000) + 86_400_000 - 1
