"""`smartoken oauth login | import | list | remove`: an operator's own accounts."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from smartoken_plugins.chatgpt_oauth.accounts import read_file
from smartoken_plugins.chatgpt_oauth.issuer import Issuer, Refused, Transient, device_begin, device_poll, revoke
from smartoken_plugins.chatgpt_oauth.vault import Vault

from smartoken.plugin import ConfigError

WAIT_S = 900
YesOption = Annotated[bool, typer.Option("--yes", help="You have read whose terms apply.")]


def register(cli: typer.Typer, books: Callable[[Callable], Any], issuer: Callable[[], Issuer]) -> None:
    """Add the group `oauth`."""
    group = typer.Typer(no_args_is_help=True, help="Accounts that sign in instead of showing a key.")
    cli.add_typer(group, name="oauth")

    @group.command()
    def login(id: str, yes: YesOption = False) -> None:
        """Sign in by a code that you enter in a browser; the account is kept as ID, for credential = "oauth:ID"."""
        _agree(issuer(), yes)

        async def work(open: Any) -> None:
            device_id, code, interval_s = await device_begin(issuer())
            print(f"Open {issuer().url}{issuer().device_page} and enter this code within 15 minutes:\n\n    {code}\n\n"
                  "Enter it only if you started this yourself.", flush=True)
            until = time.monotonic() + WAIT_S
            while time.monotonic() < until:
                await asyncio.sleep(interval_s)
                tokens = await device_poll(issuer(), device_id, code)
                if tokens is not None:
                    await _vault(open).put(id, issuer(), tokens)
                    print(f"Signed in. Use it on a channel: provider = \"chatgpt\", credential = \"oauth:{id}\".")
                    return
            raise ConfigError("nobody entered the code within 15 minutes; run the command again")
        _run(books, work)

    @group.command(name="import")
    def import_(id: str, file: Annotated[Path, typer.Argument(help="auth.json of the Codex CLI; - is stdin.")],
                yes: YesOption = False) -> None:
        """Take over a signed-in account. Only one of the two may refresh it from then on: sign out where it was."""
        _agree(issuer(), yes)
        tokens = read_file(typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text())

        async def work(open: Any) -> None:
            await _vault(open).put(id, issuer(), tokens)
            print(f"Imported. Use it on a channel: provider = \"chatgpt\", credential = \"oauth:{id}\".\n"
                  "Delete the file and sign out there: two users of one chain of refresh tokens break it.")
        _run(books, work)

    @group.command(name="list")
    def list_() -> None:
        """Accounts, with what may be shown of them."""
        async def work(open: Any) -> None:
            for doc in await _vault(open).accounts():
                until = datetime.fromtimestamp(doc["exp_s"], UTC).strftime("%Y-%m-%d %H:%M") if doc["exp_s"] else "?"
                print(f"{doc['_id']}  {doc['issuer']}  plan {doc['plan'] or '?'}  account …{doc['account']}  "
                      f"token until {until} UTC  {doc['state']} {doc['why']}".rstrip())
        _run(books, work)

    @group.command()
    def remove(id: str) -> None:
        """Forget an account and revoke its tokens."""
        async def work(open: Any) -> None:
            tokens = await _vault(open).remove(id)
            if tokens is None:
                raise ConfigError(f"there is no oauth account '{id}'")
            try:
                await revoke(issuer(), tokens)
            except Transient as error:
                print(f"Forgotten here, but the issuer could not be told to revoke it ({error}): sign out there.")
                return
            print("Forgotten and revoked.")
        _run(books, work)


def _run(books: Callable[[Callable], Any], work: Callable) -> None:
    try:
        books(work)
    except (Refused, Transient) as error:
        raise ConfigError(f"the issuer did not do it: {error}") from None


def _vault(open: Any) -> Vault:
    return Vault(open.store, open.sealer, open.conf.data_folder / "oauth", "cli")


def _agree(issuer: Issuer, yes: bool) -> None:
    print("\n".join(f" - {sentence}" for sentence in issuer.terms), flush=True)
    if not yes:
        typer.confirm("Go on?", abort=True)
