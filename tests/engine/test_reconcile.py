"""reconcile finds nothing in sound books and something in every corrupted one; the reaper tidies what is left."""

import asyncio
import json
import random
import sqlite3
from contextlib import closing

from smartoken.domain.account import change
from smartoken.domain.catalog import Account
from smartoken.domain.usage import Attempt, UsageRecord
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.engine.reaper import Reaper
from smartoken.engine.reconcile import reconcile
from smartoken.testing.lossy import HeldClock, sqlite_in

P = 1_000_000
MUTATIONS = 200


async def fill(store, clock):
    """Two accounts with top-ups, vouchers, requests, flushes, closes, a job and an open lease."""
    for acct in ("a", "b"):
        ledger = Ledger(store, "n1", clock)
        leases = Leases(ledger, clock, f"n1-{acct}")
        await ledger.topup(acct, 5_000_000, "1")
        await ledger.commit(acct, "voucher:v", "redeem", change("redeem", pocket="v", u=30, models=["m"]))
        for number in range(12):
            hold = await leases.hold(Account(acct, acct), "m", 9 * P)
            cost_p = 5 * P + number
            record = UsageRecord(rid=f"{acct}{number:02}", acct=acct, key="k", model="m", at_ms=clock.ms, cost_p=cost_p,
                                 split=leases.settle(hold, cost_p), lease=hold.lease.id)
            await store.put_usage([record])
            if number == 5:
                await leases.flush(leases.cut(everything=True))
        await leases.flush(leases.cut())
        await ledger.commit(acct, "pend:r", "pend", change("pend", rid="r", amt={"main": 50}, at_ms=clock.ms))
        await ledger.adjust(acct, -10, "1", "wrong")


def rules(page):
    return sorted({finding.rule for finding in page.differences})


def test_sound_books_have_no_difference_and_late_things_are_found(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            await fill(store, clock)
            page = await reconcile(store, clock)
            assert page.differences == [] and (page.accounts, page.rows) == (2, 24)
            assert page.charged_p == 2 * sum(5 * P + n for n in range(12))
            assert (await reconcile(store, clock)).seal == page.seal
            clock.wait(25 * 3600)
            late = await reconcile(store, clock)
            assert rules(late) == ["R5"] and len(late.differences) == 4
            ledger = Ledger(store, "n2", clock)
            reaper = Reaper(store, ledger, Leases(ledger, clock, "n2-b"), "n2-b", clock)
            await reaper.beat()
            assert len(await reaper.sweep()) == 2 and await reaper.sweep() == []
            for acct in "ab":
                await ledger.commit(acct, "void:r", "void", change("void", rid="r", at_ms=clock.ms))
            page = await reconcile(store, clock)
            assert page.differences == [] and [f.rule for f in page.findings] == ["R8", "R8"]

    asyncio.run(main())


def test_the_reaper_spares_living_owners(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            ledger = Ledger(store, "n1", clock)
            leases = Leases(ledger, clock, "n1-b")
            mine = Reaper(store, ledger, leases, "n1-b", clock)
            other = Reaper(store, Ledger(store, "n2", clock), Leases(ledger, clock, "n2-b"), "n2-b", clock)
            await ledger.topup("a", 1000, "1")
            hold = await leases.hold(Account("a", "Ann"), "m", 5 * P)
            await ledger.commit("a", "lease:n1-b-77", "lease", change(
                "lease", lease="n1-b-77", node="n1", amt={"main": 7}, exp_ms=clock.ms))
            clock.wait(2000)
            await mine.beat()
            assert await other.sweep() == [], "its heart beats"
            assert await mine.sweep() == ["n1-b-77"], "but that one it never got"
            clock.wait(301)
            assert await other.sweep() == [hold.lease.id]
            leases.settle(hold, 3 * P)
            await leases.flush(leases.cut())
            assert (await ledger.balance("a")).charged_p == 3 * P
            await leases.close_all()

    asyncio.run(main())


STRANGE = (None, True, "?", 1.5, [], [1], {}, {"?": 1})


def corrupt(path, luck):
    """Change one thing in the file behind the store's back; gives what."""
    with closing(sqlite3.connect(path)) as db, db:         # closed, or its log would be read with the next file, too
        kind = luck.choice(["cost", "body", "lost", "form", "entry", "state", "gone", "missing", "type"])
        if kind in ("cost", "body", "lost", "form"):
            rid, body = luck.choice(db.execute("SELECT rid, body FROM usage").fetchall())
            row = json.loads(body)
            by = luck.choice([-1, 1, 1000])
            if kind == "cost":
                db.execute("UPDATE usage SET cost_p = cost_p + ? WHERE rid = ?", (by, rid))
            elif kind == "lost":
                db.execute("DELETE FROM usage WHERE rid = ?", (rid,))
            elif kind == "form":
                at, name = luck.choice(fields(row))
                at[name] = luck.choice([other for other in STRANGE if type(other) is not type(at[name])])
                db.execute("UPDATE usage SET body = ? WHERE rid = ?", (json.dumps(row), rid))
            else:
                name = luck.choice(sorted(row["split"]))
                row["split"][name] += by
                row["cost_p"] += luck.choice([0, by])
                db.execute("UPDATE usage SET body = ? WHERE rid = ?", (json.dumps(row), rid))
            return kind, rid
        links = db.execute("SELECT chain, seq, body FROM entries").fetchall()
        last = {chain: seq for chain, seq, _ in sorted(links)}
        chain, seq, body = luck.choice([link for link in links if kind != "gone" or link[1] != last[link[0]]])
        link = json.loads(body)
        if kind == "gone":
            db.execute("DELETE FROM entries WHERE chain = ? AND seq = ?", (chain, seq))
            return kind, chain, seq
        there = [(at, name) for at, name in fields(link["state"] if kind == "state" else link)
                 if kind in ("missing", "type") or type(at[name]) is int]
        # The first entry follows on nothing: without that nothing it says the same.
        at, name = luck.choice([(at, name) for at, name in there if (seq, name) != (1, "prev_hash")])
        if kind == "missing":
            del at[name]
        elif kind == "type":
            at[name] = luck.choice([other for other in STRANGE if type(other) is not type(at[name])])
        else:
            at[name] += luck.choice([-1, 1, 1000])
        db.execute("UPDATE entries SET body = ? WHERE chain = ? AND seq = ?", (json.dumps(link), chain, seq))
        return kind, chain, seq, name


def fields(value):
    """Every (object, name) of a document, inner ones too."""
    return [found for name, part in value.items()
            for found in [(value, name), *(fields(part) if type(part) is dict else [])]]


def test_every_corruption_is_found(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            await fill(store, clock)
        sound = (tmp_path / "store.db").read_bytes()
        for seed in range(MUTATIONS):
            assert [file.name for file in tmp_path.iterdir()] == ["store.db"], "nothing of the last one is left"
            (tmp_path / "store.db").write_bytes(sound)
            what = corrupt(tmp_path / "store.db", random.Random(seed))
            async with sqlite_in(tmp_path) as store:
                page = await reconcile(store, clock)
                assert page.differences and page.accounts == 2, (seed, what)

    asyncio.run(main())


def test_a_head_that_is_no_state_is_a_finding_of_its_account(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            await fill(store, clock)
        with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
            [body] = db.execute("SELECT body FROM entries WHERE chain = 'a' ORDER BY seq DESC LIMIT 1").fetchone()
            link = json.loads(body) | {"state": {"pockets": {}}}
            db.execute("UPDATE entries SET body = ? WHERE chain = 'a' AND seq = ?", (json.dumps(link), link["seq"]))
        async with sqlite_in(tmp_path) as store:
            page = await reconcile(store, clock)
            assert page.accounts == 2 and {f.where for f in page.differences} == {f"a:{link['seq']}"}
            assert any("posted_u" in f.text or "leases" in f.text for f in page.differences)
            assert page.charged_p == sum(5 * P + n for n in range(12)), "the other account's is known"

    asyncio.run(main())


def test_bytes_that_are_no_entry_or_row_are_findings(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            await fill(store, clock)
        with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
            db.execute("UPDATE entries SET body = '{' WHERE chain = 'a' AND seq = 3")
            db.execute("UPDATE usage SET body = '[]' WHERE rid = 'b07'")
        async with sqlite_in(tmp_path) as store:
            page = await reconcile(store, clock)
            said = {(f.rule, f.where): f.text for f in page.differences}
            assert "the entry after 2" in said.pop(("R1", "a"))
            assert "the row after this one" in said.pop(("R3", "b06")) and "rows" in said.pop(("R3", "b"))
            assert not said and page.accounts == 2

    asyncio.run(main())


class Circling:
    """A store that has had enough of being read when a test has been in circles long since."""

    def __init__(self, store):
        self.store, self.reads = store, 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def usage(self, *args, **where):
        self.reads += 1
        assert self.reads < 50, "it goes in circles"
        return await self.store.usage(*args, **where)


def test_a_row_that_names_another_rid_or_account_is_found(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            await fill(store, clock)
            with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                [body] = db.execute("SELECT body FROM usage WHERE rid = 'b10'").fetchone()
            for name, wrong, text in (("rid", "a00", "names a00"), ("acct", "a", "is kept as a row of b and names a")):
                with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                    changed = json.dumps(json.loads(body) | {name: wrong})
                    db.execute("UPDATE usage SET body = ? WHERE rid = 'b10'", (changed,))
                assert any(text in f.text for f in (await reconcile(store, clock)).differences), name
            with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                changed = json.dumps(json.loads(body) | {"rid": "a00"})
                db.execute("UPDATE usage SET body = ? WHERE rid = 'b10'", (changed,))
                db.execute("UPDATE usage SET body = '[]' WHERE rid = 'b11'")
            page = await reconcile(Circling(store), clock)
            assert any("names a00" in f.text for f in page.differences), "looked for one by one"

    asyncio.run(main())


class Busy:
    """A store of which nobody can read a page of rows but another request is stored and charged first."""

    def __init__(self, store, ledger):
        self.store, self.ledger, self.number = store, ledger, 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def usage(self, acct="", **where):
        assert self.number < 50, "it does not come to an end"
        if acct:
            self.number += 1
            record = UsageRecord(rid=f"n{self.number:02}", acct=acct, key="k", model="m", at_ms=0, cost_p=P,
                                 split={"main": P}, lease="busy")
            await self.store.put_usage([record])
            await self.ledger.commit(acct, f"flush:busy:{self.number}", "flush", change(
                "flush", lease="busy", spent_p={"main": self.number * P}, exp_ms=self.ledger.clock.ms, at_ms=0))
        return await self.store.usage(acct, **where)


def test_it_comes_to_an_end_while_rows_keep_coming(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            ledger = Ledger(store, "n1", clock)
            await ledger.topup("a", 5_000_000, "1")
            await ledger.commit("a", "lease:busy", "lease", change(
                "lease", lease="busy", node="n1", amt={"main": 1_000_000}, exp_ms=clock.ms))
            busy = Busy(store, ledger)
            await busy.usage("a")
            # Costs are told apart by where they stand: what was looked at first is no longer all there is.
            with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                db.execute("UPDATE usage SET cost_p = cost_p + 1 WHERE rid = 'n01'")
            assert rules(await reconcile(busy, clock, patience_s=1)) == ["R3"], "the store's sum is not that of the rows"
            with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                db.execute("UPDATE usage SET cost_p = cost_p - 1 WHERE rid = 'n01'")
            assert (await reconcile(busy, clock, patience_s=1)).differences == []

    asyncio.run(main())


def test_attempts_that_no_client_paid_for_are_figures_of_their_channel(tmp_path):
    async def main():
        clock = HeldClock()
        async with sqlite_in(tmp_path) as store:
            await fill(store, clock)
            assert not [f for f in (await reconcile(store, clock)).findings if f.rule == "R9"]
            lost, good = Attempt("c1", "timeout"), Attempt("c2", "ok", 200, 5, 7 * P)
            rows = {"x1": ([lost, lost, good], "ok"), "x2": ([lost, good], "ok"), "x3": ([good], "void"), "x4": ([], "ok"),
                    "x5": ([Attempt("c1", "ok", cost_p=P), Attempt("c1", "ok")], "failed")}
            await store.put_usage([UsageRecord(
                rid=rid, acct="c", key="k", model="m", at_ms=1, attempts=attempts, status=status, lease="l",
                cost_p=P * (status == "ok"), split={"main": P} if status == "ok" else {})
                for rid, (attempts, status) in rows.items()])
            said = {f.where: f.text for f in (await reconcile(store, clock)).findings if f.rule == "R9" and not f.wrong}
            assert said["c1"].startswith("5 attempts were paid by no client: 3 before another one answered, 2 of calls")
            assert "cost 0.000001 USD by what is known of 1" in said["c1"]
            assert said["c2"].startswith("1 attempts") and "0.000007 USD by what is known of 1" in said["c2"]

    asyncio.run(main())
