"""`smartoken catalog apply | diff | export | credential | sync`: the catalog from and to a TOML file."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="TOML with the tables models, channels, "
                                                                 "categories and listings, or some of them.")]
PruneOption = Annotated[bool, typer.Option("--prune", help="Also remove what the file does not name, in the tables that "
                                                "it has; an empty one, such as listings = [], removes all.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="File to write; stdout otherwise.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Models, prices, channels and the shop window, from "
                                                        "and to a TOML file.")
    app.add_typer(commands, name="catalog")
    for command in (apply, diff, export, credential, sync):
        commands.command()(command)


def apply(file: FileArgument, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
          prune: PruneOption = False,
          confirm_prices: Annotated[bool, typer.Option("--confirm-prices", help="Let a price change by more than 50 "
                                                                                "times.")] = False,
          as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Make the store say what FILE says: live on every node within 3 s. Nothing is written unless all is sound."""
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.engine import catalogfile
    from smartoken.errors import ConfigError

    wanted = _read(file)

    async def work(books):
        differences = await catalogfile.compare(books.catalog, wanted, prune=prune)
        _show(differences, as_json)
        steep = [f"{one.id}: {jump}" for one in differences for jump in one.jumps]
        if steep and not confirm_prices:
            raise ConfigError(f"{file}: a price changes by more than 50 times: {'; '.join(steep)}; correct it, or "
                              "confirm it with --confirm-prices. Nothing was written.")
        if differences and not yes:
            if not sys.stdin.isatty():
                raise ConfigError("Nothing was written: say --yes to apply it without being asked.")
            typer.confirm("Apply?", abort=True)
        await catalogfile.apply(books.catalog, differences)
        return differences

    differences = with_books(work)
    if differences and not as_json:
        print(f"Applied: {len(differences)} document(s).")


def diff(file: FileArgument, prune: PruneOption = False, as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Show what `apply` would change; exit code 1 when anything would."""
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.engine import catalogfile

    wanted = _read(file)
    differences = with_books(lambda books: catalogfile.compare(books.catalog, wanted, prune=prune))
    _show(differences, as_json)
    raise typer.Exit(1 if differences else 0)


def export(out: OutOption = None, conf: ConfOption = None) -> None:
    """Write the stored catalog as TOML. Credentials come as references or sealed, never in clear."""
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.engine import catalogfile

    _write(with_books(lambda books: catalogfile.export(books.catalog)), out)


def credential(channel: Annotated[str, typer.Argument(help="The channel's name.")], conf: ConfOption = None) -> None:
    """Seal a credential into a channel: asked for without echo, or read from stdin."""
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.domain.documents import ChannelDoc, from_store
    from smartoken.errors import ConfigError

    secret = (typer.prompt("Credential", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()).strip()
    if not secret:
        raise ConfigError("The credential is empty; nothing was changed.")

    async def work(books):
        stored = await books.catalog.get("channels", channel)
        if stored is None:
            raise ConfigError(f"There is no channel '{channel}'; 'smartoken catalog export' shows those there are.")
        doc = from_store(ChannelDoc, stored).model_copy(update={"credential": secret})
        await books.catalog.put("channels", doc, stored["rev"])

    with_books(work)
    print(f"Sealed into channel '{channel}'.")


def sync(provider: Annotated[str, typer.Argument(help="A provider's slug; `smartoken plugin list` shows them.")],
         out: OutOption = None, conf: ConfOption = None) -> None:
    """Write what a provider offers, with its list prices, as TOML to look over and apply. Nothing is changed."""
    use_conf(conf)
    import asyncio

    from smartoken.conf import load
    from smartoken.engine import catalogfile
    from smartoken.errors import ConfigError
    from smartoken.plugin import loader
    from smartoken.strict import nearest

    host = loader.load(load())
    known = host.registry.providers
    if provider not in known:
        raise ConfigError(f"no enabled plugin brings the provider '{provider}'{nearest(provider, known)}")
    rows = asyncio.run(host.models(known[provider]))
    if not rows:
        raise ConfigError(f"no plugin tells what '{provider}' offers (hook smartoken_models); write its models by hand")
    _write(catalogfile.offered(rows, f"what '{provider}' offers"), out)


def _write(text: str, out: Path | None) -> None:
    from smartoken.errors import ConfigError

    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); name another file with --out") from None


def _read(file: Path):
    from smartoken.engine import catalogfile
    from smartoken.errors import ConfigError

    try:
        return catalogfile.read(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); name a TOML file that is there") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8; save it as UTF-8") from None


def _show(differences, as_json: bool) -> None:
    from smartoken.cli._books import show_json, show_table

    if as_json:
        show_json([{key: value for key, value in asdict(one).items() if key != "doc"} for one in differences])
        return
    if not differences:
        print("No difference.")
        return
    rows = []
    for one in differences:
        for number, (field, old, new) in enumerate(one.fields or (("", "", ""),)):
            first = (one.action, f"{one.collection} {one.id}") if number == 0 else ("", "")
            rows.append((*first, field, _veiled(old), _veiled(new)))
    show_table(("", "what", "field", "stored", "wanted"), rows)


def _veiled(text: str) -> str:
    return "(sealed)" if text.startswith("v1.") else text
