"""`smartoken job list | show | release | found`: long generations, above all those whose create call ended unclear."""

from typing import Annotated

import typer

from smartoken.cli import ConfOption, use_conf

IdArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id (X-Job-Id).")]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]
TRIES = 5


def register(app: typer.Typer) -> None:
    commands = typer.Typer(no_args_is_help=True, help="Pictures, films and voices in the making.")
    app.add_typer(commands, name="job")
    commands.command("list")(list_jobs)
    for command in (show, release, found):
        commands.command()(command)


def list_jobs(state: Annotated[str, typer.Option(help="Only those in this state, such as unknown.")] = "",
              as_json: JsonOption = False, conf: ConfOption = None) -> None:
    """Show the jobs whose money is not settled yet."""
    use_conf(conf)
    from smartoken.cli._books import date, show_json, show_table, with_books
    from smartoken.domain.job import GOES_ON
    from smartoken.domain.money import show_u
    from smartoken.errors import ConfigError
    from smartoken.strict import nearest

    if state and state not in GOES_ON:
        raise ConfigError(f"--state: there is no state '{state}'{nearest(state, GOES_ON)}")

    async def work(books):
        rows, after = [], ""
        while page := await books.store.find("jobs", {"open": 1}, after=after, limit=500):
            after = page[-1]["_id"]
            rows += [doc for doc in page if state in ("", doc["state"])]
        return rows

    rows = with_books(work)
    if as_json:
        show_json(rows)
        return
    show_table(("job", "state", "account", "model", "channel", "upstream id", "held", "since"),
               [(row["_id"], row["state"], row["acct"], row["model"], row["channel"], row["upstream_id"],
                 show_u(row["held_u"]), date(row["at_ms"])) for row in rows])


def show(id: IdArgument, conf: ConfOption = None) -> None:
    """Show one job, whole."""
    use_conf(conf)
    from smartoken.cli._books import show_json, with_books
    from smartoken.errors import ConfigError

    doc = with_books(lambda books: books.store.get("jobs", id))
    if doc is None:
        raise ConfigError(f"There is no job '{id}'; 'smartoken job list' shows those that are not settled.")
    show_json(doc)


def release(id: IdArgument, conf: ConfOption = None) -> None:
    """Give back what is held for a job in the state unknown, since you looked and the upstream does not have it; or for
    a running one whose channel is gone from the catalog, so that nobody can ask for it."""
    _decide(id, conf, {"state": "lost"})
    print(f"{id}: released. A running gateway settles it within seconds.")


def found(id: IdArgument, upstream_id: Annotated[str, typer.Argument(help="Its id at the provider.")],
          conf: ConfOption = None) -> None:
    """Go on with a job in the state unknown: you looked, and the upstream has it under this id."""
    _decide(id, conf, {"state": "running", "upstream_id": upstream_id, "fault": None, "ended_ms": 0})
    print(f"{id}: a running gateway polls {upstream_id} and delivers it.")


def _decide(id: str, conf: str | None, changes: dict) -> None:
    use_conf(conf)
    from smartoken.cli._books import with_books
    from smartoken.errors import ConfigError

    async def work(books) -> None:
        for _ in range(TRIES):
            doc = await books.store.get("jobs", id)
            stranded = (changes["state"] == "lost" and doc is not None and doc["state"] == "running"
                        and await books.catalog.get("channels", doc["channel"]) is None)
            if doc is None or (doc["state"] != "unknown" and not stranded):
                raise ConfigError(f"{id} is not in the state unknown" if doc else
                                  f"There is no job '{id}'; 'smartoken job list' shows those that are not settled.")
            told = {"fault": {"kind": "upstream_error", "message": "The upstream cannot be asked for this any more.",
                              "code": "upstream_lost", "status": 503}} if stranded else {}
            new = {**doc, **changes, **told, "owner": "", "until_ms": 0, "rev": doc["rev"] + 1}
            if await books.store.replace("jobs", new, doc["rev"]):
                return
        raise ConfigError(f"{id} changes all the time; run the command again")

    with_books(work)
