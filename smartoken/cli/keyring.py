"""`smartoken keyring show | rotate`: the keys that seal credentials, second factors and tokens in the store."""

from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="The keys that seal secrets in the store.")
    app.add_typer(commands, name="keyring")
    commands.command()(show)
    commands.command()(rotate)


def show(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False, conf: ConfOption = None) -> None:
    """Show the ring's keys by id, and how many secrets of the store each of them seals."""
    use_conf(conf)
    from smartoken.cli._books import show_json, show_table, with_books
    from smartoken.engine import rotate as ring

    async def work(books):
        return books.sealer.kids, await ring.count(books.store)

    kids, seals = with_books(work)
    lost = [kid for kid in seals if kid not in kids]
    state = {kid: "seals and opens" if kid == kids[0] else "opens" for kid in kids} | {kid: "missing" for kid in lost}
    if as_json:
        show_json([{"kid": kid, "state": state[kid], "secrets": seals[kid]} for kid in (*kids, *lost)])
        return
    show_table(("key", "state", "secrets"), ((kid, state[kid], str(seals[kid])) for kid in (*kids, *lost)))


def rotate(ring_only: Annotated[bool, typer.Option("--ring-only", help="Only put a new key on the ring, to copy it to "
                                                                       "other machines before it is used.")] = False,
           conf: ConfOption = None) -> None:
    """Put a new key on the ring and seal every secret with it; running gateways follow. Interrupted, run it again: it
    then finishes and makes no other key."""
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.engine import rotate as ring

    async def work(books):
        stale = set(await ring.count(books.store)) - {books.sealer.newest}
        if ring_only or not stale:
            kid = ring.add_key(books.conf.data_folder, books.conf.secrets.key_ring)
            books.sealer.look_again()
            print(f"The new key '{kid}' is on the ring.")
        if ring_only:
            print("Copy the ring to every other machine of this store, then run: smartoken keyring rotate")
            return
        done = await ring.reseal(books.store, books.catalog, books.sealer)
        left = [kid for kid in books.sealer.kids[1:] if not (await ring.count(books.store))[kid]]
        print(f"{done} secret(s) sealed with '{books.sealer.newest}'.")
        if left:
            print(f"Nothing in the store needs {', '.join(left)} any more; backups made before now do.")

    with_books(work)
