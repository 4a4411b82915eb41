"""`smartoken plugin list | new | check`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf
from smartoken.errors import ConfigError


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="See, write and prove plugins.")
    app.add_typer(commands, name="plugin")
    commands.command("list")(list_plugins)
    commands.command("new")(new)
    commands.command("check")(check)


def list_plugins(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
                 conf: ConfOption = None) -> None:
    """Show every plugin that is there, whether it is enabled, and what it gives; exit code 1 if they do not load."""
    use_conf(conf)
    from smartoken.conf import load
    from smartoken.plugin import loader

    settings = load()
    found = loader.available(settings.plugins.paths)
    chosen = [loader.BUILT_IN, *loader.choose(settings, found)]
    gave, failure = {}, None
    try:
        gave = loader.assemble(settings, chosen[1:]).registry.gave
    except ConfigError as err:
        failure = err
    rows = [{"name": plugin.name, "enabled": plugin in chosen, "source": plugin.source,
             "gives": list(gave.get(plugin.name, ()))} for plugin in (loader.BUILT_IN, *found.values())]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        _show(rows)
    if failure is not None:
        typer.echo(f"wrong: {failure}", err=True)
        raise typer.Exit(1)


def _show(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("plugin", "enabled", "gives", "from")
    for row in rows:
        table.add_row(row["name"], "yes" if row["enabled"] else "no", "\n".join(row["gives"]), row["source"])
    Console().print(table)


def new(name: Annotated[str, typer.Argument(help="Its name: small letters, digits and '_'.")],
        folder: Annotated[Path, typer.Option("--in", help="Folder to write into.")] = Path("my_plugins")) -> None:
    """Write a provider in one file, with its test."""
    from smartoken.plugin import scaffold

    file, test = scaffold.write(name, folder)
    print(f"Wrote {file} and {test}. Next: smartoken plugin check {file}\n"
          f"To use it, in conf/smartoken.toml: [plugins] enabled = [\"*\", \"{name}\"], paths = [\"{folder}\"]")


def check(target: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A plugin's name, or its file.")],
          conf: ConfOption = None) -> None:
    """Load one plugin alone and say everything that is wrong with it; exit code 1 if anything is."""
    use_conf(conf)
    from smartoken.conf import load
    from smartoken.plugin import check as checking

    report = checking.check(target, load())
    for problem in report.problems:
        typer.echo(f"wrong: {problem}", err=True)
    if report.problems:
        raise typer.Exit(1)
    gives = ", ".join(report.gave) or ", ".join(report.hooks)
    print(f"ok: plugin '{report.name}' ({report.source}) gives {gives}")
