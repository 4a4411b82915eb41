"""`smartoken key create | list | revoke`: the secrets that clients show us."""

from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Keys of accounts.")
    app.add_typer(commands, name="key")
    commands.command("list")(list_keys)
    for command in (create, revoke):
        commands.command()(command)


def create(acct: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Who pays for it.")],
           name: Annotated[str, typer.Option(help="What it is for.")] = "",
           model: Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be repeated.")] = None,
           days: Annotated[int, typer.Option(min=0, help="Expires after so many days; 0 is never.")] = 0,
           rpm: Annotated[int, typer.Option(min=0, help="Requests per minute; 0 is no limit.")] = 0,
           tpm: Annotated[int, typer.Option(min=0, help="Tokens per minute; 0 is no limit.")] = 0,
           show_cost: Annotated[bool, typer.Option("--show-cost", help="Put the cost into each usage.")] = False,
           as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Make a key and show it: this once, never again."""
    use_conf(conf)
    import time

    from smartoken.cli._books import known_models, show_json, with_books
    from smartoken.engine.issue import issue_key

    exp_ms = int(time.time() * 1000) + days * 86_400_000 if days else 0

    async def work(books):
        models = await known_models(books, model or [])
        return await issue_key(books.catalog, await books.pepper(), acct, name=name, models=models,
                               exp_ms=exp_ms, rpm=rpm, tpm=tpm, show_cost=show_cost)

    text, made = with_books(work)
    if as_json:
        show_json({"key": text, **_row(made)})
    else:
        print(f"{text}\nKeep it now: it is stored nowhere and never shown again. Its id is {made['kid']}.")


def list_keys(acct: Annotated[str, typer.Argument(metavar="[ACCOUNT]", help="Only this account's.")] = "",
              as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Show keys, without their text."""
    use_conf(conf)
    from smartoken.cli._books import date, show_json, show_table, with_books

    where = {"acct": acct} if acct else None
    rows = [_row(stored) for stored in with_books(lambda books: books.catalog.all("keys", where))]
    if as_json:
        show_json(rows)
        return
    show_table(("id", "ends in", "account", "name", "models", "active", "expires", "made"),
               [(row["kid"], row["last4"], row["acct"], row["name"], ", ".join(row["models"]) or "all",
                 "yes" if row["active"] else "no", date(row["exp_ms"]) or "never", date(row["created_ms"]))
                for row in rows])


def revoke(kid: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as 'key list' shows it.")],
           conf: ConfOption = None) -> None:
    """Refuse a key from now on, on every node within 3 s."""
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.engine.issue import revoke_key

    with_books(lambda books: revoke_key(books.catalog, kid))
    print(f"Key {kid} is revoked.")


def _row(stored: dict) -> dict:
    """What may be shown of a key; its digest stays inside."""
    return {name: stored[name] for name in ("kid", "last4", "acct", "name", "models", "exp_ms", "active", "rpm", "tpm",
                                            "show_cost", "created_ms")}
