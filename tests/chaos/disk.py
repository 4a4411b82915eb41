"""T9: a disk that tears, flips, fills up or fails loses no acknowledged record that is still legible, and is noticed.

A journal with finished and running requests is damaged at random (bytes flipped, blocks zeroed, the tail torn) and
replayed: every record whose bytes are whole must arrive, once, and damage must be reported. A full disk and an fsync
that fails (injected into the system call by strace, where there is one) must stop paid requests.
"""

import asyncio
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from smartoken.engine.frames import DoneFrame, pack, read
from smartoken.engine.ledger import Ledger
from smartoken.engine.replay import replay
from smartoken.testing.lossy import HeldClock
from smartoken.testing.memory_store import MemoryStore, tables
from tests.chaos.proof import Means, Proof
from tests.engine import test_journal as journals

RECORDS = 60

FAILING = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from test_journal import *

async def main():
    journal = Journal(sys.argv[1] + "/journal/n1", "n1", HeldClock())
    await journal.open()
    told = []
    for number in range(400):
        rid = f"r{number}"
        slot = journal.begin(open_frame(rid))
        journal.done(slot, record(rid))
        journal.durable(lambda rid=rid: told.append(rid))
        await asyncio.sleep(0.001)
        if not journal.healthy:
            break
    print("sound" if journal.healthy else "refuses", len(told), number)

asyncio.run(main())
"""


def damage(data: bytes, luck: random.Random) -> tuple[bytes, list[tuple[int, int]]]:
    """Some damage of one kind, and the spans [from, to) that were touched."""
    kind = luck.choice(["flip", "flips", "zero", "tear"])
    if kind == "tear":
        end = luck.randrange(len(data))
        return data[:end], [(end, len(data))]
    if kind == "zero":
        at = luck.randrange(len(data))
        to = min(len(data), at + luck.choice([16, 512]))
        return data[:at] + bytes(to - at) + data[to:], [(at, to)]
    out, spans = bytearray(data), []
    for _ in range(1 if kind == "flip" else luck.randrange(2, 9)):
        at = luck.randrange(len(out))
        out[at] ^= 1 << luck.randrange(8)
        spans.append((at, at + 1))
    return bytes(out), spans


def whole_records(data: bytes, spans: list[tuple[int, int]], path: Path) -> set[str]:
    """The finished requests whose frames were not touched."""
    path.write_bytes(data)
    at, rids = 0, set()
    for frame in read(path):
        if isinstance(frame, int):
            break
        end = at + len(pack(frame))
        if isinstance(frame, DoneFrame) and not any(start < end and at < to for start, to in spans):
            rids.add(frame.record.rid)
        at = end
    return rids


async def replayed(folder: Path) -> tuple[set[str], object]:
    store = MemoryStore(tables())
    report = await replay(folder, store, Ledger(store, "n2", HeldClock()))
    return {row.rid for row in await store.usage(limit=100_000)}, report


def prove(means: Means) -> Proof:
    tries = 3000 if means.long else 100
    sound = means.folder / "sound"
    path = journals.left_behind(sound, tuple(f"r{number:03}" for number in range(RECORDS)))
    data, luck, wrong = path.read_bytes(), random.Random(means.seed), 0
    here = means.folder / "damaged"
    reported = 0
    for _ in range(tries):
        spoilt, spans = damage(data, luck)
        expected = whole_records(data, spans, means.folder / "whole.wal")
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(path.parent, here)
        (here / path.name).write_bytes(spoilt)
        got, report = asyncio.run(replayed(here))
        wrong += not expected <= got
        noticed = report.damaged_bytes or report.torn_bytes or report.quarantined
        wrong += spoilt != data and len(spoilt) == len(data) and not noticed
        reported += bool(noticed)
    figures = {"damage reported": reported}
    engine = str(Path(journals.__file__).parent)
    full = subprocess.run([sys.executable, "-c", journals.FULL, str(means.folder / "full"), engine],
                          capture_output=True, text=True, timeout=120, check=False)
    wrong += full.returncode != 0
    figures["kept through a full disk"] = len(json.loads(full.stdout)) if full.returncode == 0 else full.stderr[-300:]
    strace = shutil.which("strace")
    if strace is None:
        figures["fsync EIO"] = "not tried: no strace here"
    else:
        failing = subprocess.run([strace, "-f", "-qq", "-e", "trace=fdatasync", "-e",
                                  "inject=fdatasync:error=EIO:when=5+", "-o", "/dev/null", sys.executable, "-c", FAILING,
                                  str(means.folder / "eio"), engine], capture_output=True, text=True, timeout=120,
                                 check=False)
        said = failing.stdout.split()
        refused = said[:1] == ["refuses"] and int(said[1]) <= int(said[2])
        wrong += not refused
        figures["fsync EIO"] = f"stopped after {said[2]} records" if refused else f"went on: {failing.stderr[-300:]}"
    return Proof("damaged journals", tries, wrong, figures)
