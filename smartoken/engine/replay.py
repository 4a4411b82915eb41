"""What a dead process left behind: its finished requests are stored, its open ones billed as far as they got.

Everything here may be done twice, by whoever comes next after a crash in the middle: rows are keyed by rid, and a lease
is closed under one op with a spend that is a function of the files alone.
"""

import asyncio
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from smartoken.domain.account import Declined, change
from smartoken.domain.hold import split_cost
from smartoken.domain.usage import COUNTED, NONE, Usage, UsageRecord
from smartoken.engine.frames import DoneFrame, Head, Intent, OpenFrame, read
from smartoken.engine.journal import Journal, lock_folder
from smartoken.engine.ledger import Ledger
from smartoken.engine.slots import CELLS, counters
from smartoken.engine.telling import Tell
from smartoken.ports import Store

ROWS = 500

log = logging.getLogger(__name__)


@dataclass
class Report:
    """What a replay found: `killed` of the `records` had not finished; `quarantined` files hold damaged bytes."""

    folder: str
    records: int = 0
    killed: int = 0
    cost_p: int = 0
    leases: int = 0
    torn_bytes: int = 0
    damaged_bytes: int = 0
    uncollected_p: int = 0
    quarantined: list[str] = field(default_factory=list)


@dataclass
class Remains:
    """One start of one process, read from its files."""

    boot: str
    paths: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    records: list[UsageRecord] = field(default_factory=list)
    killed: int = 0
    leases: dict[str, tuple[str, dict[str, int]]] = field(default_factory=dict)    # lease: account, cumulative spend
    torn_bytes: int = 0
    damaged_bytes: int = 0

    def add(self, record: UsageRecord) -> None:
        self.records.append(record)
        if record.lease:
            _, spent = self.leases.setdefault(record.lease, (record.acct, {}))
            for name, part in record.split.items():
                spent[name] = spent.get(name, 0) + part


def killed_record(open: OpenFrame, output: int, input: int) -> UsageRecord:
    """The record of a request that was killed: nothing delivered costs nothing but the tools that had run for it, else
    the prompt and what came of it as well."""
    usage = Usage(source=NONE)
    if output:
        usage = Usage(input=input - 1 if input else open.input_tokens, output=output, source=COUNTED)
    cost_p = usage.input * open.input_u + usage.output * open.output_u + open.tools_p
    return UsageRecord(rid=open.rid, acct=open.acct, key=open.key, model=open.model, at_ms=open.at_ms, wire=open.wire,
                       status="killed", http_status=0, usage=usage, price_rev=open.price_rev, cost_p=cost_p,
                       lease=open.lease, split=split_cost(list(open.parts), cost_p), stream=open.stream,
                       tools=open.tools)


def examine(folder: Path, boot: str) -> Remains:
    """Read all segments of a boot, in order, and its slots."""
    remains = Remains(boot, sorted(folder.glob(f"usage-{boot}-*.wal")))
    running: dict[str, OpenFrame] = {}
    finished: set[str] = set()
    for path in remains.paths:
        frames = list(read(path))
        torn = frames.pop()
        if path is remains.paths[-1]:
            remains.torn_bytes += torn
        elif torn:
            frames.append(torn)
        for frame in frames:
            if isinstance(frame, OpenFrame):
                running[frame.rid] = frame
            elif isinstance(frame, DoneFrame):
                finished.add(frame.record.rid)
                remains.add(frame.record)
            elif isinstance(frame, Intent):
                remains.leases.setdefault(frame.lease, (frame.acct, {}))
            elif isinstance(frame, Head):
                remains.leases |= {lease: (acct, dict(spent)) for lease, (acct, spent) in frame.leases.items()}
            else:
                remains.damaged_bytes += frame
                remains.damaged.append(path)
    cells = counters(folder / f"slots-{boot}.map")
    for rid, frame in running.items():
        if rid not in finished:
            at = frame.slot * CELLS
            mine = cells is not None and cells[at] == frame.serial
            remains.add(killed_record(frame, *((cells[at + 1], cells[at + 2]) if mine else (0, 0))))
            remains.killed += 1
    return remains


async def replay(folder: Path | str, store: Store, ledger: Ledger, journal: Journal | None = None,
                 tell: Tell | None = None) -> Report | None:
    """Bring home what is left in a folder: the own one (give its open `journal`), or a dead neighbour's. Plugins are
    told by `tell` of all of it, also of what they may have heard of before.

    None when a living process has the folder. StoreAway: nothing was removed, try again later.
    """
    folder = Path(folder)
    lock = None
    if journal is None:
        lock = lock_folder(folder)
        if lock is None:
            return None
    try:
        boots = {path.name.split("-")[1] for path in folder.glob("usage-*-*.wal")}
        report = Report(str(folder))
        for boot in sorted(boots - ({journal.boot} if journal else set())):
            await _bring_home(folder, await asyncio.to_thread(examine, folder, boot), store, ledger, report, tell)
        return report
    finally:
        if lock is not None:
            os.close(lock)


async def _bring_home(folder: Path, remains: Remains, store: Store, ledger: Ledger, report: Report,
                      tell: Tell | None) -> None:
    for start in range(0, len(remains.records), ROWS):
        await store.put_usage(remains.records[start:start + ROWS])
    for lease, (acct, spent) in sorted(remains.leases.items()):
        delta = {"lease": lease, "spent_p": spent, "at_ms": ledger.clock.now_ms()}
        try:
            entry = await ledger.commit(acct, f"close:{lease}", "close", change("close", **delta))
            booked = entry.delta["spent_p"]
            report.leases += 1
        except Declined:
            booked = {}  # it was asked for and never given, or its tombstone is gone after a week
        missing_p = sum(max(0, part - booked.get(name, 0)) for name, part in spent.items())
        if missing_p:
            report.uncollected_p += missing_p
            log.error("lease %s of %s: %s pUSD could not be collected", lease, acct, missing_p)
    if tell is not None and remains.records:
        await tell(remains.records)        # in one batch: a start waits for it, and each has its time limit
    for path in dict.fromkeys(remains.damaged):
        (folder / "quarantine").mkdir(exist_ok=True)
        path.rename(folder / "quarantine" / path.name)
        report.quarantined.append(path.name)
        log.critical("journal file %s was damaged; it is kept in quarantine", path)
    for path in (*remains.paths, folder / f"slots-{remains.boot}.map"):
        path.unlink(missing_ok=True)
    report.records += len(remains.records)
    report.killed += remains.killed
    report.cost_p += sum(record.cost_p for record in remains.records)
    report.torn_bytes += remains.torn_bytes
    report.damaged_bytes += remains.damaged_bytes


def left_behind(root: Path, own: str = "") -> list[Path]:
    """The folders below `root` that hold segments, but the one called `own`."""
    return sorted({path.parent for path in root.glob("*/usage-*.wal") if path.parent.name != own})


async def replay_neighbours(root: Path | str, store: Store, ledger: Ledger, own: str = "",
                            tell: Tell | None = None) -> list[Report]:
    """Replay every folder below `root` (`<data>/journal`) whose owner is dead, but the one called `own`."""
    reports = [await replay(folder, store, ledger, tell=tell) for folder in left_behind(Path(root), own)]
    return [report for report in reports if report is not None]
