"""`smartoken reconcile`: check the books against themselves and against usage; exit code 1 on any difference."""

from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

DIFFERENT = 1


def register(app: typer.Typer) -> None:
    app.command()(reconcile)


def reconcile(patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for requests that are just being "
                                                                 "shipped, before a difference counts.")] = 6,
              as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
              conf: ConfOption = None) -> None:
    """Check every account: chains, balances, usage. Exit code 1 when anything differs."""
    use_conf(conf)
    from dataclasses import asdict

    from smartoken.adapters.clock import SystemClock
    from smartoken.cli._books import show_json, show_table, with_books
    from smartoken.domain.money import show_p
    from smartoken.engine.journal import journal_root
    from smartoken.engine.reconcile import reconcile as check

    page = with_books(lambda books: check(books.store, SystemClock(), patience_s=patience,
                                          journals=journal_root(books.conf)))
    if as_json:
        show_json({**asdict(page), "differences": len(page.differences)})
    else:
        if page.findings:
            show_table(("rule", "where", "", "what"),
                       [(f.rule, f.where, "different" if f.wrong else "to know", f.text) for f in page.findings])
        print(f"{page.accounts} accounts, {page.entries} entries, {page.rows} requests, charged "
              f"{show_p(page.charged_p)}: {len(page.differences) or 'no'} differences. Seal {page.seal[:16]}")
    if page.differences:
        raise typer.Exit(DIFFERENT)
