"""T10: power lost at any moment costs no acknowledged record under `strict`, and 10 ms of finished ones otherwise.

A journal runs under strace, which writes down every write and every fdatasync in their order. For each of many moments
the disk is rebuilt as it may be after a power cut: of each file what had been synced by then, and of the rest any part
that the disk happened to have. Every record whose acknowledgement had been given must be in it.
"""

import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from smartoken.engine.frames import DoneFrame, read
from tests.chaos.proof import Means, Proof
from tests.engine import test_journal as journals
from tests.servers import Missing

LOAD = """
import asyncio, os, random, sys
sys.path.insert(0, sys.argv[2])
from test_journal import *

async def main():
    journal, luck = Journal(sys.argv[1] + "/journal/n1", "n1", HeldClock()), random.Random(int(sys.argv[3]))
    await journal.open()
    for number in range(int(sys.argv[4])):
        rid = f"r{number:05}"
        slot = journal.begin(open_frame(rid))
        await asyncio.sleep(luck.choice([0, 0, 0.001, 0.004]))
        journal.done(slot, record(rid))
        journal.written(lambda rid=rid: os.write(1, b"done %b\\n" % rid.encode()))
        journal.durable(lambda rid=rid: os.write(1, b"acked %b\\n" % rid.encode()))
        if luck.random() < 0.01:
            journal.rotate({})
    await asyncio.sleep(0)
    await durable(journal)

asyncio.run(main())
"""
LINE = re.compile(r"(?P<pid>\d+) +(?P<at>[\d.]+) (?P<call>.*)")
CALL = re.compile(r'(?P<name>write|fdatasync|fsync|openat)\((?P<rest>.*)')


@dataclass
class Disk:
    """Files by name: what was written to each, and how much of that is safe."""

    data: dict[str, bytearray] = field(default_factory=dict)
    safe: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)       # files whose name is safe: their folder was synced after it

    def after_a_cut(self, folder: Path, luck: random.Random) -> None:
        """Write into `folder` what may be left now."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in self.data.items():
            safe = self.safe[name]
            if name in self.named or luck.random() < 0.5:
                (folder / name).write_bytes(data[:safe + luck.randrange(len(data) - safe + 1)])


def prove(means: Means) -> Proof:
    strace = shutil.which("strace")
    if strace is None:
        raise Missing("strace", "strace")
    requests, cuts = (3000, 1500) if means.long else (300, 150)
    trace = means.folder / "trace"
    subprocess.run([strace, "-f", "-qq", "-ttt", "-xx", "-s", "1000000", "-e", "trace=write,fdatasync,fsync,openat",
                    "-o", str(trace), sys.executable, "-c", LOAD, str(means.folder),
                    str(Path(journals.__file__).parent), str(means.seed), str(requests)],
                   stdout=subprocess.DEVNULL, check=True, timeout=900)
    events = [match.groupdict() for line in trace.read_text().splitlines() if (match := LINE.match(line))]
    luck = random.Random(means.seed)
    moments = set(luck.sample(range(len(events) // 10, len(events)), min(cuts, len(events) * 9 // 10)))
    disk, fds, waiting = Disk(), {}, {}
    done: dict[str, float] = {}
    acked: set[str] = set()
    lost = late = 0
    slowest_ms = 0.0
    for number, event in enumerate(events):
        pid, at, said = event["pid"], float(event["at"]), event["call"]
        if said.startswith("<..."):
            _finish(disk, fds, waiting.pop(pid, None), said)
        elif (match := CALL.match(said)) and "<unfinished" in said:
            waiting[pid] = _begin(disk, fds, match)
        elif match:
            _finish(disk, fds, _begin(disk, fds, match), said)
        if 'write(1, "' in said:
            word, rid = _text(said).split()
            if word == "done":
                done[rid] = at
            elif rid in done:
                acked.add(rid)
                slowest_ms = max(slowest_ms, (at - done[rid]) * 1000)
        if number in moments:
            disk.after_a_cut(means.folder / "cut", luck)
            left = {frame.record.rid for path in (means.folder / "cut").glob("*.wal") for frame in read(path)
                    if isinstance(frame, DoneFrame)}
            lost += len(acked - left)
            late = max(late, len(set(done) - left))
    return Proof("power cuts", len(moments), lost, {
        "requests": requests, "acknowledged and lost": lost, "finished, not acknowledged and lost, at most": late,
        "slowest acknowledgement under strace (ms)": round(slowest_ms, 1)})


def _text(said: str) -> str:
    return bytes.fromhex(said.split('"')[1].replace("\\x", "")).decode()


def _begin(disk: Disk, fds: dict[str, str], match: re.Match) -> tuple | None:
    """What a call will have done once it has come back; what a sync covers is decided as it begins."""
    name, rest = match["name"], match["rest"]
    if name == "openat":
        path = bytes.fromhex(rest.split('"')[1].replace("\\x", "")).decode(errors="replace")
        return ("open", path)
    fd = re.match(r"\d+", rest)[0]
    where = fds.get(fd, "")
    if name == "write":
        if not where.endswith(".wal"):
            return None
        return ("write", Path(where).name, bytes.fromhex(rest.split('"')[1].replace("\\x", "")))
    if where.endswith(".wal"):
        return ("sync", Path(where).name, len(disk.data[Path(where).name]))
    if name == "fsync" and where.endswith("journal/n1"):
        return ("folder", set(disk.data))
    return None


def _finish(disk: Disk, fds: dict[str, str], begun: tuple | None, said: str) -> None:
    result = said.rpartition("= ")[2].split(" ")[0]
    if begun is None or not result.lstrip("-").isdigit() or int(result) < 0:
        return
    if begun[0] == "open":
        fds[result] = begun[1]
        if begun[1].endswith(".wal"):
            disk.data[Path(begun[1]).name], disk.safe[Path(begun[1]).name] = bytearray(), 0
    elif begun[0] == "write":
        disk.data[begun[1]] += begun[2][:int(result)]
    elif begun[0] == "sync":
        disk.safe[begun[1]] = max(disk.safe[begun[1]], begun[2])
    else:
        disk.named |= begun[1]
