"""What processes that are gone left in their journals: R5 for requests nobody has billed, R8 for damaged files.

Only the journals of this machine can be seen. What a living process writes is passed over: it ships within seconds
what is finished, and what still runs has no final record yet. What a dead one left is brought home by any worker here,
at its start and each half minute (replay.py); it is late when that did not happen for a quarter of an hour.
"""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from smartoken.domain.usage import UsageRecord
from smartoken.engine.export import rows
from smartoken.engine.finding import Page
from smartoken.engine.replay import Remains, examine, left_behind
from smartoken.errors import ConfigError
from smartoken.ports import Store

LATE_MS = 15 * 60 * 1000


async def check_left(root: Path, store: Store, now_ms: int, page: Page) -> None:
    """Look through the folders below `root` (`<data>/journal`); nothing is changed or locked. StoreAway; ConfigError
    when they cannot be read."""
    for folder in await asyncio.to_thread(left_behind, root):
        try:
            for boot in await asyncio.to_thread(_ended, folder):
                remains = await asyncio.to_thread(examine, folder, boot)
                await _check(folder.name, remains, store, now_ms, page)
        except FileNotFoundError:
            continue                    # a worker is just bringing it home
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read ({error.strerror}); give the command as the gateway's user, "
                              "on its machine") from None
    for name, files in await asyncio.to_thread(_damaged, root):
        page.tell("R8", name, f"damaged journal files are kept in quarantine ({files}): records may be lost with them")


def _ended(folder: Path) -> list[str]:
    """The starts of which segments are there and whose process is gone."""
    boots = sorted({path.name.split("-")[1] for path in folder.glob("usage-*-*.wal")})
    return boots[:-1] if _owned(folder) else boots     # they begin with their time: the last is that of the owner


def _owned(folder: Path) -> bool:
    """Whether a living process has the journal; asked of its lock, which stays as it is."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _damaged(root: Path) -> list[tuple[str, str]]:
    """Folders that have files in quarantine, and which."""
    found = [(folder.parent.name, ", ".join(sorted(path.name for path in folder.iterdir())))
             for folder in sorted(root.glob("*/quarantine"))]
    return [(name, files) for name, files in found if files]


async def _check(name: str, remains: Remains, store: Store, now_ms: int, page: Page) -> None:
    late = await _not_stored(store, [row for row in remains.records if row.at_ms + LATE_MS < now_ms])
    if late:
        first = min(late, key=lambda row: row.rid)
        killed = sum(row.status == "killed" for row in late)
        page.differs("R5", name, f"{len(late)} requests of a process that is gone are in no books, {killed} of them "
                                 f"without a final record; the first is {first.rid} of {first.acct}. A gateway on this "
                                 "data folder bills them")


async def _not_stored(store: Store, records: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Those that the store does not have; read as the spans of their accounts."""
    missing = []
    for acct in sorted({record.acct for record in records}):
        own = {record.rid: record for record in records if record.acct == acct}
        times = [record.at_ms for record in own.values()]
        async for row in rows(store, acct, min(times), max(times) + 1):
            own.pop(row.rid, None)
        missing += own.values()
    return missing
