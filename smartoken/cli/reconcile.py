"""`smartoken reconcile`: check the books against themselves and against usage; exit code 1 on any difference."""

from pathlib import Path
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

DIFFERENT = 1


def register(app: typer.Typer) -> None:
    app.command()(reconcile)


def reconcile(patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for requests that are just being "
                                                                 "shipped, before a difference counts.")] = 6,
              provider: Annotated[Path | None, typer.Option(help="What a provider says we used: a CSV file with the "
                                                                 "columns channel, model, input, output [, cache].")] = None,
              day: Annotated[str, typer.Option(help="The day (UTC) that --provider is about, such as 2026-11-01.")] = "",
              since: Annotated[str, typer.Option(help="Or from this day on …")] = "",
              until: Annotated[str, typer.Option(help="… up to and with this one.")] = "",
              csv: Annotated[Path | None, typer.Option("--csv", help="Write the findings to this new file, too.")] = None,
              as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
              conf: ConfOption = None) -> None:
    """Check every account: chains, balances, usage. Exit code 1 when anything differs."""
    use_conf(conf)
    from dataclasses import asdict

    from smartoken.adapters.clock import SystemClock
    from smartoken.cli._books import new_file, show_json, show_table, with_books
    from smartoken.domain.money import show_p
    from smartoken.engine.journal import journal_root
    from smartoken.engine.reconcile import reconcile as check

    statement = _statement(provider, day, since, until)
    file = new_file(csv) if csv else None
    try:
        page = with_books(lambda books: check(books.store, SystemClock(), patience_s=patience,
                                              journals=journal_root(books.conf), statement=statement))
        if file is not None:
            _write_csv(file, page)
            file.close()
    except BaseException:
        if file is not None:           # so that the same command may be given again
            csv.unlink()
        raise
    if as_json:
        show_json({**asdict(page), "differences": len(page.differences)})
    else:
        if page.findings:
            show_table(("rule", "where", "", "what"),
                       [(f.rule, f.where, "different" if f.wrong else "to know", f.text) for f in page.findings])
        print(f"Accounts: {page.accounts}, entries: {page.entries}, requests: {page.rows}, charged: "
              f"{show_p(page.charged_p)}, differences: {len(page.differences) or 'none'}.\nSeal {page.seal}")
    if page.differences:
        raise typer.Exit(DIFFERENT)


def _statement(provider: Path | None, day: str, since: str, until: str):
    """The file of --provider as a Statement about its days; None without one."""
    from smartoken.adapters.clock import SystemClock
    from smartoken.cli._books import span_ms
    from smartoken.engine.statement import parse
    from smartoken.errors import ConfigError

    if provider is None:
        if day or since or until:
            raise ConfigError("--day, --since and --until say what --provider is about; name its file, too")
        return None
    if bool(day) == bool(since or until):
        raise ConfigError("--provider: name the days it is about, by --day or by --since and --until")
    span = span_ms(day or since, day or until, "--day" if day else "")
    span["until_ms"] = min(span["until_ms"], SystemClock().now_ms())
    try:
        with provider.open(encoding="utf-8-sig", newline="") as text:
            return parse(text, str(provider), **span)
    except OSError as error:
        raise ConfigError(f"{provider}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{provider}: this is no text in UTF-8") from None


def _write_csv(file, page) -> None:
    """The findings, and last the seal, by which the file belongs to one state of the books."""
    from csv import writer

    from smartoken.cli._books import plain

    table = writer(file)
    table.writerow(("rule", "where", "wrong", "text"))
    for finding in page.findings:
        table.writerow((finding.rule, plain(finding.where), int(finding.wrong), plain(finding.text)))
    table.writerow(("seal", f"accounts: {page.accounts}, entries: {page.entries}, requests: {page.rows}", 0, page.seal))
