"""`smartoken doctor`: look at everything that a start needs, one line each, with a remedy where it is not right.

It makes the data folder and an empty store where they are missing, as `serve` would.
"""

import asyncio
import os
import resource
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smartoken.cli import ConfOption, use_conf
from smartoken.errors import ConfigError, StoreAway

if TYPE_CHECKING:
    from smartoken.conf import Conf

OK, WARNING, WRONG = "ok", "warning", "wrong"
COLOURS = {OK: "green", WARNING: "yellow", WRONG: "bold red"}
REMOTE_DISKS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs",
                "fuse.glusterfs")
FULL, NEARLY_FULL = 0.95, 0.90                # used part of the disk; the journal refuses work at FULL
RELEASED_S = 1_767_225_600                    # 2026-01-01: no clock that is right says less


@dataclass(frozen=True, slots=True)
class Line:
    level: str
    about: str
    text: str


def register(app: typer.Typer) -> None:
    @app.command()
    def doctor(conf: ConfOption = None) -> None:
        """Check configuration, plugins, disk, store, secrets, port, clock and limits; exit code 1 if one is wrong."""
        use_conf(conf)
        lines = list(examine())
        _show(lines)
        if any(line.level == WRONG for line in lines):
            raise typer.Exit(1)


def examine() -> Iterator[Line]:
    """All lines, in the order in which a start would need them."""
    from smartoken.conf import load

    try:
        conf = load()
    except ConfigError as err:
        yield Line(WRONG, "configuration", str(err))
        return
    yield Line(OK, "configuration", conf.file)
    for about, check in CHECKS:
        try:
            level, text = check(conf)
        except ConfigError as err:
            level, text = WRONG, str(err)
        except StoreAway as err:
            level, text = WRONG, err.sentence()
        except OSError as err:
            level, text = WRONG, f"{err.filename or about}: {err.strerror}; let the user who serves do this"
        yield Line(level, about, text)


def _plugins(conf: "Conf") -> tuple[str, str]:
    from smartoken.plugin import loader

    registry = loader.load(conf).registry
    return OK, f"{len(registry.gave)} loaded, {len(registry.providers)} providers, {len(registry.wires)} wires"


def _data(conf: "Conf") -> tuple[str, str]:
    folder = conf.data_folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        disk = shutil.disk_usage(folder)
    used = 1 - disk.free / disk.total
    text = f"{folder} is writable, {disk.free / 2**30:.1f} GiB free ({used:.0%} used)"
    if used >= FULL:
        return WRONG, f"{text}; make room: above {FULL:.0%} no paid request is taken"
    return (WARNING, f"{text}; make room before {FULL:.0%}") if used >= NEARLY_FULL else (OK, text)


def _disk(conf: "Conf") -> tuple[str, str]:
    kind = disk_kind(conf.data_folder.resolve())
    if kind in REMOTE_DISKS:
        return WRONG, f"{conf.data_folder} is on {kind}; journals and SQLite need a local disk: set 'data.folder'"
    return OK, f"{conf.data_folder} is on {kind or 'a disk of unknown kind'}"


def disk_kind(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The file system type that a folder is on; '' where the system has no list of mounts."""
    if not mounts.is_file():
        return ""
    best, kind = -1, ""
    for row in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        point, fs = row.split(" ")[1:3]
        point = point.replace("\\040", " ")
        if folder.is_relative_to(point) and len(point) >= best:  # a later mount hides an earlier one
            best, kind = len(point), fs
    return kind


def _store(conf: "Conf") -> tuple[str, str]:
    from smartoken.plugin import loader

    store = loader.load(conf).registry.adapter("store", conf.store.url, conf.file)

    async def reach() -> None:
        try:
            await store.open()
            await store.ping()
        finally:
            await store.close()

    asyncio.run(reach())
    return OK, f"{conf.store.url.partition('://')[0]} answers"


def _secrets(conf: "Conf") -> tuple[str, str]:
    from smartoken.secrets import resolve

    lines = []
    for key, name in (("key_ring", "keyring"), ("pepper", "pepper")):
        ref = getattr(conf.secrets, key)
        file = conf.data_folder / name
        if ref:
            resolve(ref)
            lines.append(f"{key} from {ref.partition(':')[0]}")
        elif not file.exists():
            lines.append(f"{key} will be made at the first start")
        else:
            resolve(f"file:{file}")
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077:
                return WRONG, f"{file} can be read by others (mode {mode:04o}); run: chmod 600 {file}"
            lines.append(f"{key} in {file}")
    return OK, ", ".join(lines)


def _port(conf: "Conf") -> tuple[str, str]:
    from smartoken.supervisor import hold_admin_port, hold_port

    here = conf.server
    with hold_port(here.host, here.port) as held, hold_admin_port(here.admin_host, here.admin_port, conf.file):
        admin = f", {here.admin_host}:{here.admin_port} too" if here.admin_port else ""
        return OK, f"{here.host}:{held.getsockname()[1]} is free{admin}"


def _clock(conf: "Conf") -> tuple[str, str]:
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    if time.time() < RELEASED_S:
        return WRONG, f"it says {now}, before this version was made; set it and keep it by NTP"
    return OK, now


def _files(conf: "Conf") -> tuple[str, str]:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = 2 * conf.server.max_connections + 200  # a client and an upstream socket each, and some files
    if soft != resource.RLIM_INFINITY and soft < wanted:
        return WARNING, (f"{soft} open files allowed, {wanted} needed for 'server.max_connections'; raise it "
                         f"(ulimit -n {wanted}) or lower the key")
    return OK, f"{'any number of' if soft == resource.RLIM_INFINITY else soft} open files allowed"


def _cores(conf: "Conf") -> tuple[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"{conf.server.workers} on {cores} core{'s' if cores > 1 else ''}"
    return (WARNING, f"{text}; more workers than cores only share them") if conf.server.workers > cores else (OK, text)


CHECKS: tuple[tuple[str, Callable[["Conf"], tuple[str, str]]], ...] = (
    ("plugins", _plugins), ("data folder", _data), ("disk", _disk), ("store", _store), ("secrets", _secrets),
    ("port", _port), ("workers", _cores), ("clock", _clock), ("open files", _files),
)


def _show(lines: list[Line]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "finding", box=None)
    for line in lines:
        table.add_row(Text(line.level, style=COLOURS[line.level]), line.about, Text(line.text))
    Console(soft_wrap=False).print(table)
