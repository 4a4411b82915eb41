"""`smartoken usage export`: what was used, by account, key, model and day, as CSV or JSON lines."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="What was used.")
    app.add_typer(commands, name="usage")
    commands.callback()(lambda: None)
    commands.command()(export)


def export(acct: Annotated[str, typer.Option("--account", help="Only this account's.")] = "",
           since: Annotated[str, typer.Option(help="From this day on (UTC), such as 2026-11-01.")] = "",
           until: Annotated[str, typer.Option(help="Up to and with this day.")] = "",
           by: Annotated[str, typer.Option(help="One line for each …, separated by commas.")] = "day,account,key,model",
           each: Annotated[bool, typer.Option("--each", help="One JSON line per request instead, whole.")] = False,
           form: Annotated[str, typer.Option("--format", help="csv or json (lines).")] = "csv",
           out: Annotated[Path | None, typer.Option(help="A file; stdout otherwise.")] = None,
           conf: ConfOption = None) -> None:
    """Write usage out. Costs are exact, in pUSD (10⁻¹² USD), and as USD text."""
    use_conf(conf)
    from smartoken.cli._books import span_ms
    from smartoken.engine.export import BY
    from smartoken.errors import ConfigError

    names = tuple(name.strip() for name in by.split(",") if name.strip())
    for name in names:
        if name not in BY:
            raise ConfigError(f"--by: there is no '{name}'; name any of {', '.join(BY)}")
    if form not in ("csv", "json"):
        raise ConfigError(f"--format: {form!r} is neither csv nor json")
    span = span_ms(since, until)
    if out is None:
        _export(sys.stdout, acct, span, names, each, form)
        return
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            _export(file, acct, span, names, each, form)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); name another file with --out") from None


def _export(file, acct: str, span: dict[str, int], names: tuple[str, ...], each: bool, form: str) -> None:
    from smartoken.cli._books import with_books
    from smartoken.engine.export import rows, summed

    async def work(books):
        if not each:
            return await summed(books.store, names, acct=acct, **span)
        import msgspec

        async for row in rows(books.store, acct, **span):
            file.write(msgspec.json.encode(row).decode() + "\n")
        return None

    lines = with_books(work)
    if lines is not None:
        (_csv if form == "csv" else _json)(file, names, lines)


def _csv(file, names: tuple[str, ...], lines) -> None:
    import csv

    from smartoken.cli._books import plain
    from smartoken.engine.export import COUNTS

    table = csv.writer(file)
    table.writerow((*names, *COUNTS, "cost_usd"))
    for line in lines:
        table.writerow((*map(plain, line.of), *line.counts.values(), _usd(line.counts["cost_p"])))


def _json(file, names: tuple[str, ...], lines) -> None:
    import json

    for line in lines:
        row = dict(zip(names, line.of, strict=True)) | line.counts | {"cost_usd": _usd(line.counts["cost_p"])}
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _usd(cost_p: int) -> str:
    return f"{cost_p // 10**12}.{cost_p % 10**12:012d}"
