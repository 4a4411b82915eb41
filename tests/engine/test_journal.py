"""The journal on real files: killed processes, torn tails, flipped bytes, a full disk; nothing lost or twice."""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smartoken.domain.account import MAIN, charged_p
from smartoken.domain.catalog import Account
from smartoken.domain.usage import UsageRecord
from smartoken.engine.frames import DoneFrame, Head, OpenFrame, pack, read
from smartoken.engine.journal import Journal
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.engine.replay import examine, replay, replay_neighbours
from smartoken.engine.ship import Shipper
from smartoken.errors import ConfigError, StoreAway
from smartoken.main import orphans, own_remains
from smartoken.testing.lossy import HeldClock, LossyStore, sqlite_in

P = 1_000_000
A = Account("a", "Ann")


def open_frame(rid, **more):
    return OpenFrame(rid=rid, acct="a", key="k", model="m", at_ms=1, input_u=2 * P, output_u=3 * P, input_tokens=5,
                     **more)


def record(rid, hold=None, split=None, **more):
    split = split or {}
    return UsageRecord(rid=rid, acct="a", key="k", model="m", at_ms=1, cost_p=sum(split.values()), split=split,
                       lease=hold.lease.id if hold else "", **more)


class Process:
    """What main.py puts together, without a door: store, ledger, journal, leases, shipper."""

    def __init__(self, folder, store, node="n1", clock=None):
        self.clock = clock or HeldClock()
        self.store = store
        self.ledger = Ledger(store, node, self.clock)
        self.journal = Journal(Path(folder) / "journal" / node, node, self.clock)
        self.leases = Leases(self.ledger, self.clock, f"{node}-{self.journal.boot}", self.journal.intent)
        self.shipped = []
        self.shipper = Shipper(self.journal, self.leases, store, self.tell)

    def tell(self, records, then):
        self.shipped.extend(records)
        then()

    async def begin(self, rid, ceiling_p=100 * P):
        hold = await self.leases.hold(A, "m", ceiling_p)
        return hold, self.journal.begin(open_frame(rid, lease=hold.lease.id, parts=hold.parts))

    def finish(self, rid, hold, slot, cost_p):
        self.journal.done(slot, record(rid, hold, self.leases.settle(hold, cost_p)))

    async def close(self):
        await self.shipper.drain()
        await self.leases.close_all()
        self.journal.close()


async def durable(journal):
    future = asyncio.get_running_loop().create_future()
    journal.durable(lambda: future.set_result(None))
    await future


def run(tmp_path, main):
    async def body():
        async with sqlite_in(tmp_path) as store:
            await main(store)

    asyncio.run(body())


async def books_agree(store):
    state = (await store.head("a")).state
    assert charged_p(state) == await store.usage_cost_p("a")
    return state


def test_a_clean_life(tmp_path):
    async def main(store):
        one = Process(tmp_path, store)
        await one.journal.open()
        await one.ledger.topup("a", 1_000_000, "1")
        for number in range(300):
            hold, slot = await one.begin(f"r{number:03}")
            one.journal.count(slot, 3)
            one.finish(f"r{number:03}", hold, slot, 7 * P + number)
            if number % 60 == 0:
                await one.shipper.ship_once()
        await one.close()
        assert [row.rid for row in one.shipped] == [f"r{n:03}" for n in range(300)]
        state = await books_agree(store)
        assert state["leases"] == {} and charged_p(state) == 300 * 7 * P + sum(range(300))
        assert [path.name for path in one.journal.folder.iterdir()] == ["lock"]
        with pytest.raises(RuntimeError):
            one.journal.done(slot, record("r299"))

    run(tmp_path, main)


def test_a_killed_call_is_paid_by_the_pockets_that_its_hold_had_grown_into(tmp_path):
    async def main(store):
        one = Process(tmp_path, store)
        await one.journal.open()
        slot = one.journal.begin(open_frame("r1", parts=(("v", 10 * P),)))
        one.journal.begun_anew(slot, open_frame("r1", parts=(("v", 10 * P), ("v", 50 * P)), tools={"search": 2},
                                                tools_p=9 * P))
        one.journal.begin(open_frame("r2", parts=(("v", 10 * P),), tools={"search": 1}, tools_p=4 * P))
        one.journal.count(slot, 7)
        one.journal.rotate({})          # what runs stands in the next file, too
        one.journal.count(slot, 8)
        one.journal._write()
        first, second = sorted(examine(one.journal.folder, one.journal.boot).records, key=lambda row: row.rid)
        assert (first.status, first.usage.output, first.tools) == ("killed", 8, {"search": 2})
        assert first.split == {"v": 5 * 2 * P + 8 * 3 * P + 9 * P} == {"v": first.cost_p}
        assert (second.usage.output, second.cost_p, second.tools) == (0, 4 * P, {"search": 1}), "they had run"
        one.journal.close()

    run(tmp_path, main)


def test_one_owner_per_folder(tmp_path):
    async def main(store):
        one, two = Process(tmp_path, store), Process(tmp_path, store)
        await one.journal.open()
        with pytest.raises(ConfigError):
            await two.journal.open(wait_s=0)
        assert await replay(one.journal.folder, store, one.ledger) is None
        one.journal.close()

    run(tmp_path, main)


def test_durable_waits_for_the_sync_and_covers_what_came_before(tmp_path):
    async def main(store):
        one = Process(tmp_path, store)
        await one.journal.open()
        slot = one.journal.begin(open_frame("r1"))
        one.journal.done(slot, record("r1"))
        seen = []
        one.journal.durable(lambda: seen.append([f.record.rid for f in read(one.journal.segment.path)
                                                 if isinstance(f, DoneFrame)]))
        assert seen == []
        await durable(one.journal)
        assert seen == [["r1"]]
        one.journal.durable(lambda: seen.append("at once"))
        assert seen[-1] == "at once"
        one.journal.close()

    run(tmp_path, main)


def test_checkpoint_carries_running_requests_over_segments(tmp_path):
    async def main(store):
        one = Process(tmp_path, store)
        await one.journal.open()
        await one.ledger.topup("a", 1_000_000, "1")
        hold, slot = await one.begin("long")
        short, other = await one.begin("short")
        one.finish("short", short, other, 4 * P)
        await one.shipper.ship_once()
        await durable(one.journal)
        frames = list(read(one.journal.segment.path))
        assert isinstance(frames[0], Head) and frames[0].leases == {hold.lease.id: ("a", {MAIN: 4 * P})}
        assert [f.rid for f in frames if isinstance(f, OpenFrame)] == ["long"]
        assert len(list(one.journal.folder.glob("*.wal"))) == 1
        one.finish("long", hold, slot, 5)
        await one.close()
        await books_agree(store)

    run(tmp_path, main)


@pytest.mark.parametrize("seed", range(6))
def test_shipping_over_a_bad_network(tmp_path, seed):
    async def main(store):
        one = Process(tmp_path, LossyStore(store, seed, lost=0))
        await one.journal.open()
        await one.ledger.topup("a", 1_000_000, "1")
        one.store.lost = 0.3
        luck = random.Random(seed)
        for number in range(40):
            while True:
                try:
                    hold, slot = await one.begin(f"r{number}", P)
                    break
                except Exception as error:
                    assert getattr(error, "status", 0) == 503
            one.finish(f"r{number}", hold, slot, luck.randrange(2 * P))
            if luck.random() < 0.4:
                try:
                    await one.shipper.ship_once()
                except StoreAway:
                    continue
        while True:
            try:
                await one.close()
                break
            except StoreAway:
                continue
        assert one.store.losses and len(one.shipped) == 40
        assert (await books_agree(store))["leases"] == {}

    run(tmp_path, main)


# A process under load that says on its standard output what it has promised, to be killed at any moment.
LOAD = """
import asyncio, random, sys
sys.path.insert(0, sys.argv[3])
from test_journal import *

async def main():
    luck = random.Random(int(sys.argv[2]))
    async with sqlite_in(sys.argv[1]) as store:
        one = Process(sys.argv[1], store)
        await one.journal.open()
        await one.ledger.topup("a", 100_000_000, "1")
        say = lambda *words: print(*words, flush=True)
        running, number = {}, 0
        ship = None
        while True:
            number += 1
            rid = f"r{number:06}"
            hold, slot = await one.begin(rid)
            await asyncio.sleep(0)           # one turn: no token can come from an upstream before it
            running[rid] = hold, slot, 0
            for rid in luck.sample(sorted(running), min(len(running), 3)):
                hold, slot, tokens = running[rid]
                running[rid] = hold, slot, tokens + 1
                one.journal.count(slot, tokens + 1)
                say("tokens", rid, tokens + 1)
            if len(running) > 20:
                rid = luck.choice(sorted(running))
                hold, slot, tokens = running.pop(rid)
                cost_p = 10 * P + tokens * 3 * P
                one.finish(rid, hold, slot, cost_p)
                await asyncio.sleep(0)   # one turn: it is written, the client may have its last byte
                say("done", rid, cost_p)
            if number % 40 == 0 and (ship is None or ship.done()):
                ship = asyncio.create_task(one.shipper.ship_once())

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(5))
def test_sigkill_loses_no_finished_request_and_bills_the_open_ones(tmp_path, seed):
    here = str(Path(__file__).parent)
    child = subprocess.Popen([sys.executable, "-c", LOAD, str(tmp_path), str(seed), here], stdout=subprocess.PIPE,
                             text=True)
    said = [child.stdout.readline() for _ in range(200 + 137 * seed)]
    os.kill(child.pid, signal.SIGKILL)
    said += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    done, tokens = {}, {}
    for line in said:
        word, rid, number = line.split() if line.endswith("\n") else ("", "", "")
        if word == "done":
            done[rid] = int(number)
        elif word == "tokens":
            tokens[rid] = int(number)

    async def main(store):
        two = Process(tmp_path, store, node="n2")
        [report] = await replay_neighbours(tmp_path / "journal", store, two.ledger, own="n2")
        again = await replay(tmp_path / "journal/n1", store, two.ledger)
        assert again.records == 0 and report.damaged_bytes == 0 and report.quarantined == []
        rows = {row.rid: row for row in await store.usage("a", limit=100_000)}
        for rid, cost_p in done.items():
            assert rows[rid].cost_p == cost_p and rows[rid].status == "ok"
        for rid, count in tokens.items():
            row = rows[rid]
            if rid not in done and row.status == "killed":
                assert count <= row.usage.output <= count + 1, "what was told, or one event more"
                assert row.cost_p == 10 * P + row.usage.output * 3 * P
        killed = [row for row in rows.values() if row.status == "killed"]
        assert len(killed) == report.killed > 0
        state = await books_agree(store)
        assert state["leases"] == {} and report.uncollected_p == 0
        assert not list((tmp_path / "journal/n1").glob("*.wal"))

    run(tmp_path, main)


def left_behind(tmp_path, rids=("r1", "r2", "r3")):
    """The journal of a process that finished some requests and was then gone; gives its only segment."""
    async def main():
        journal = Journal(tmp_path / "journal/n1", "n1", HeldClock())
        await journal.open()
        slots = [journal.begin(open_frame(rid)) for rid in (*rids, "open", "silent")]
        for rid, slot in zip(rids, slots, strict=False):
            journal.done(slot, record(rid))
        journal.count(slots[-2], 4, 6)
        await durable(journal)
        journal.close()
        return journal.segment.path

    return asyncio.run(main())


def bring_home(tmp_path):
    found = {}

    async def main(store):
        ledger = Ledger(store, "n2", HeldClock())
        found["report"] = await replay(tmp_path / "journal/n1", store, ledger)
        found["rows"] = {row.rid: row for row in await store.usage(limit=100_000)}

    run(tmp_path, main)
    return found["report"], found["rows"]


def test_open_requests_are_billed_from_their_slots(tmp_path):
    left_behind(tmp_path)
    report, rows = bring_home(tmp_path)
    assert (report.records, report.killed) == (5, 2)
    assert (rows["open"].status, rows["open"].usage.input, rows["open"].usage.output) == ("killed", 6, 4)
    assert rows["open"].cost_p == 6 * 2 * P + 4 * 3 * P and rows["open"].split == {MAIN: rows["open"].cost_p}
    assert (rows["silent"].cost_p, rows["silent"].usage.source) == (0, "none")


def test_every_torn_tail_is_cut(tmp_path):
    path = left_behind(tmp_path)
    data = path.read_bytes()
    whole = [frame for frame in read(path) if not isinstance(frame, int)]
    for end in range(len(data)):
        path.write_bytes(data[:end])
        frames = list(read(path))
        assert frames[:-1] == whole[:len(frames) - 1], "a prefix, and nothing else"
        assert 0 <= frames[-1] == end - sum(len(pack(frame)) for frame in frames[:-1])
    path.write_bytes(data[:-3])
    report, rows = bring_home(tmp_path)
    assert report.torn_bytes > 0 and report.quarantined == [] and set(rows) == {"r1", "r2", "r3", "open", "silent"}


def test_a_flipped_byte_costs_one_frame_and_is_kept_in_quarantine(tmp_path):
    path = left_behind(tmp_path)
    data = path.read_bytes()
    whole = list(read(path))[:-1]
    luck = random.Random(1)
    for at in luck.sample(range(len(data)), 60):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << luck.randrange(8))]) + data[at + 1:])
        kept = [frame for frame in read(path) if not isinstance(frame, int)]
        assert len(kept) == len(whole) - 1 and all(frame in whole for frame in kept)
    at = data.index(b"r2", data.index(b"silent"))
    path.write_bytes(data[:at] + b"X" + data[at + 1:])
    report, rows = bring_home(tmp_path)
    assert report.quarantined == [path.name] and report.damaged_bytes > 0
    assert {"r1", "r3", "open", "silent"} <= set(rows)
    assert (path.parent / "quarantine" / path.name).exists() and not path.exists()


FULL = """
import asyncio, json, resource, signal, sys
sys.path.insert(0, sys.argv[2])
from test_journal import *

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal(sys.argv[1] + "/journal/n1", "n1", HeldClock())
    await journal.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))   # from here a write meets EFBIG
    finished = []
    while journal.healthy:
        rid = f"r{len(finished)}"
        journal.done(journal.begin(open_frame(rid)), record(rid))
        finished.append(rid)
        await asyncio.sleep(0)
    assert journal.rotate({}) is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    while not journal.healthy:
        await asyncio.sleep(0.01)
    await durable(journal)
    journal.close()
    print(json.dumps(finished))

asyncio.run(main())
"""


def test_a_full_disk_stops_paid_requests_and_loses_nothing(tmp_path):
    here = str(Path(__file__).parent)
    out = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), here], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    finished = json.loads(out.stdout)
    report, rows = bring_home(tmp_path)
    assert len(finished) > 50 and set(rows) == set(finished) and report.damaged_bytes == report.torn_bytes == 0


def test_replay_in_pieces_charges_once(tmp_path):
    """The replaying process dies, or loses the store, at every step it can: the next one finishes."""
    async def main(store):
        one = Process(tmp_path, store)
        await one.journal.open()
        await one.ledger.topup("a", 1_000_000, "1")
        for number in range(30):
            hold, slot = await one.begin(f"r{number:02}")
            one.journal.count(slot, 1)
            if number % 3:
                one.finish(f"r{number:02}", hold, slot, 11 * P)
            if number == 15:
                await one.shipper.ship_once()
        await durable(one.journal)
        one.journal.close()

        lossy = LossyStore(store, 5, lost=0.8)
        tries = 0
        while True:
            tries += 1
            try:
                report = await replay(one.journal.folder, lossy, Ledger(lossy, "n2", one.clock))
                break
            except StoreAway:
                continue
        assert tries > 1 and report.killed == 10
        state = await books_agree(store)
        assert charged_p(state) == 20 * 11 * P + 10 * 13 * P and state["leases"] == {}

    run(tmp_path, main)


def test_an_own_earlier_start_is_replayed_beside_the_new_one(tmp_path):
    left_behind(tmp_path)

    async def main(store):
        two = Process(tmp_path, store)
        await two.journal.open()
        report = await replay(two.journal.folder, store, two.ledger, two.journal)
        assert report.records == 5
        assert [path.name for path in two.journal.folder.glob("*.wal")] == [two.journal.segment.path.name]
        two.journal.close()

    run(tmp_path, main)


def test_what_the_start_could_not_bring_home_is_brought_later(tmp_path):
    left_behind(tmp_path)

    async def main(store):
        two = Process(tmp_path, store)
        await two.journal.open()
        away = LossyStore(store, 1, lost=0, away=True)
        ledger = Ledger(away, "n1", two.clock)
        await own_remains(two.journal, away, ledger, None)
        assert await store.usage("a") == []
        later = asyncio.create_task(orphans(tmp_path / "journal", two.journal, away, ledger, None, every_s=0.01))
        await asyncio.sleep(0.1)
        away.away = False
        async with asyncio.timeout(20):
            while len(await store.usage("a")) < 5:
                await asyncio.sleep(0.01)
        later.cancel()
        await asyncio.wait((later,))
        two.journal.close()

    run(tmp_path, main)


def test_file_limits_are_as_they_were():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
