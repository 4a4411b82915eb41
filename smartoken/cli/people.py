"""`smartoken people password NAME`: the way back in when nobody is left who could open it in the console."""

import getpass
import secrets
from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="People who sign in.")
    app.add_typer(commands, name="people")
    commands.command()(password)


def password(name: Annotated[str, typer.Argument(help="Who forgot theirs.")],
             no_second_factor: Annotated[bool, typer.Option("--no-second-factor", help="Take the second factor off, too.")]
             = False, conf: ConfOption = None) -> None:
    """Give somebody a new random password, shown this once; all their sessions end. Change it in the console then."""
    use_conf(conf)
    from smartoken.adapters.clock import SystemClock
    from smartoken.adapters.memory import MemoryLimiter
    from smartoken.cli._books import with_books
    from smartoken.engine.audit import Audit
    from smartoken.engine.people import People

    text = secrets.token_urlsafe(15)

    async def work(books):
        clock = SystemClock()
        audit = Audit(books.store, "cli", clock, await books.pepper())
        people = People(books.store, books.sealer, MemoryLimiter(clock), clock, books.conf.data_folder)
        try:
            before, after = await people.set_password(name.lower(), text)
            if no_second_factor:
                _, after = await people.set_totp(name.lower(), "", "")
        finally:
            people.close()
        await audit.write(getpass.getuser(), "people.change", f"people/{name.lower()}", before, after,
                          note="new password by the command")

    with_books(work)
    print(f"The new password of {name.lower()}: {text}")
