"""What every Store must do: CHECKS, functions that `await check(one, make)` runs on two stores over one database.

`make()` returns a new, unopened Store; both that a check asks for must be on the same, at first empty, database.
A plugin author's whole test is a loop over CHECKS: see tests/contracts/test_sqlite.py.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from smartoken.domain.usage import Attempt, Usage, UsageRecord, UsageSum, regroup, sum_of
from smartoken.ports import APPENDED, OP_TAKEN, SEQ_TAKEN, Entry, Store

Make = Callable[[], Store]
BIG = 2**63 - 1


def entry(chain: str, seq: int, op: str, **more) -> Entry:
    """An Entry with something in every field."""
    return Entry(chain=chain, seq=seq, op=op, kind="test", at_ms=1_700_000_000_000, node="n1", delta={"u": BIG},
                 state={"pockets": {"main": {"u": -BIG, "models": ["a/b", "é☃"]}}, "none": {}}, **more)


def record(rid: str, acct: str = "a1", cost_p: int = 7, at_ms: int = 1000) -> UsageRecord:
    """A UsageRecord with something in most fields."""
    return UsageRecord(rid=rid, acct=acct, key="kid", model="m/x", at_ms=at_ms, cost_p=cost_p, usage=Usage(3, 4, 5),
                       split={"main": cost_p}, lease="n.b.1", attempts=[Attempt("c1", "ok", 200, 12, 3)])


async def documents(store: Store, other: Store) -> None:
    """insert, get, replace and remove by revision, each seen by the other store at once."""
    doc = {"_id": "k1", "rev": 1, "acct": "a1", "n": BIG, "list": [1, {"x": None}], "text": "é☃"}
    assert await store.insert("keys", doc) is True
    assert await other.get("keys", "k1") == doc
    assert await store.insert("keys", {"_id": "k1", "rev": 9}) is False
    assert await store.get("keys", "k1") == doc
    assert await store.get("keys", "nobody") is None
    newer = {**doc, "rev": 2, "text": "new"}
    assert await other.replace("keys", newer, rev=7) is False
    assert await other.replace("keys", newer, rev=1) is True
    assert await store.replace("keys", {**doc, "rev": 2}, rev=1) is False
    assert await store.get("keys", "k1") == newer
    assert await store.replace("keys", {"_id": "absent", "rev": 2}, rev=1) is False
    assert await store.remove("keys", "k1", rev=1) is False
    assert await store.remove("keys", "k1", rev=2) is True
    assert await store.remove("keys", "k1", rev=2) is False
    assert await other.get("keys", "k1") is None


async def finding(store: Store, other: Store) -> None:
    """find filters by equality, sorts by _id, and pages with after and limit."""
    for number in range(7):
        await store.insert("keys", {"_id": f"k{number}", "rev": 1, "acct": f"a{number % 2}", "n": number})
    ids = lambda docs: [doc["_id"] for doc in docs]
    assert ids(await other.find("keys")) == [f"k{n}" for n in range(7)]
    assert ids(await other.find("keys", {"acct": "a1"})) == ["k1", "k3", "k5"]
    assert ids(await other.find("keys", {"acct": "a1", "n": 3})) == ["k3"]
    assert ids(await other.find("keys", {"acct": "a0"}, after="k2", limit=1)) == ["k4"]
    assert await other.find("keys", {"n": "3"}) == []
    assert await other.find("models") == []
    for bad in ({"$where": "1"}, {"acct": {"$gt": ""}}, {"a' OR 1=1 --": "x"}):
        try:
            await other.find("keys", bad)
        except ValueError:
            continue
        raise AssertionError(f"find accepted {bad}")


async def chains(store: Store, other: Store) -> None:
    """append is exact about seq and op; head, entry_by_op, entries and chains read what it wrote; what is removed is gone for all of them."""
    assert await store.head("a1") is None
    one, two = entry("a1", 1, "op:1", hash="h1"), entry("a1", 2, "op:2", prev_hash="h1", hash="h2")
    assert await store.append(one) == APPENDED
    assert await other.append(two) == APPENDED
    assert await other.append(entry("a1", 2, "op:3")) == SEQ_TAKEN
    assert await other.append(entry("a1", 3, "op:2")) == OP_TAKEN
    assert await other.append(entry("a1", 2, "op:1")) == OP_TAKEN, "op wins when both are taken"
    assert await store.append(entry("a2", 1, "op:1")) == APPENDED
    assert await store.head("a1") == two
    assert await other.entry_by_op("a1", "op:1") == one
    assert await other.entry_by_op("a1", "op:9") is None
    assert await other.entries("a1") == [one, two]
    assert await other.entries("a1", after=1) == [two]
    assert await other.entries("a1", limit=1) == [one]
    assert await store.chains() == ["a1", "a2"]
    for seq in range(3, 8):
        assert await store.append(entry("a1", seq, f"op:{seq}")) == APPENDED
    for _ in range(2):
        await other.remove_entries("a1", [2, 4, 5, 99])
    assert [link.seq for link in await store.entries("a1")] == [1, 3, 6, 7]
    assert (await store.head("a1")).seq == 7 and await store.entry_by_op("a1", "op:4") is None
    assert [link.seq for link in await store.entries("a2")] == [1], "another chain's entries stay"
    assert await store.chains(after="a1") == ["a2"]
    assert await store.chains(limit=1) == ["a1"]


async def racing(store: Store, other: Store) -> None:
    """Many appenders on two stores race for each seq: exactly one gets it, and no neighbour of a loser suffers."""
    async def race(seq: int) -> list[str]:
        return await asyncio.gather(*((store, other)[n % 2].append(entry("a1", seq, f"op:{seq}:{n}"))
                                      for n in range(16)))

    for seq, outcomes in enumerate(await asyncio.gather(*(race(seq) for seq in range(1, 21))), 1):
        assert sorted(outcomes) == [APPENDED] + [SEQ_TAKEN] * 15, (seq, outcomes)
    assert [link.seq for link in await store.entries("a1")] == list(range(1, 21))

    same = await asyncio.gather(*((store, other)[n % 2].append(entry("a2", n + 1, "op:same")) for n in range(16)))
    assert sorted(same) == [APPENDED] + [OP_TAKEN] * 15
    inserted = await asyncio.gather(*((store, other)[n % 2].insert("nodes", {"_id": "n", "rev": n + 1})
                                      for n in range(16)))
    assert sum(inserted) == 1
    rev = (await store.get("nodes", "n"))["rev"]
    replaced = await asyncio.gather(*((store, other)[n % 2].replace("nodes", {"_id": "n", "rev": 100 + n}, rev)
                                      for n in range(16)))
    assert sum(replaced) == 1


async def usage(store: Store, other: Store) -> None:
    """Rows are written once, read by account, time and rid, and summed exactly, past int64 too."""
    rows = [record(f"r{n}", f"a{n % 2}", at_ms=1000 + n) for n in range(6)]
    assert await store.put_usage(rows) == 6
    assert await other.put_usage([rows[0], record("r6"), record("r1", cost_p=999)]) == 1
    assert await store.put_usage([]) == 0
    assert await other.usage("a0") == rows[0::2]
    rids = lambda records: [row.rid for row in records]
    assert rids(await other.usage()) == [f"r{n}" for n in range(7)]
    assert rids(await other.usage("a1", since_ms=1001, until_ms=1005)) == ["r1", "r3"]
    assert rids(await other.usage("", after="r2", limit=2)) == ["r3", "r4"]
    assert await store.usage_cost_p("a0") == 21
    assert await store.usage_cost_p("nobody") == 0
    await store.put_usage([record(f"s{n}", "rich", cost_p=BIG) for n in range(3)])
    assert await other.usage_cost_p("rich") == 3 * BIG


async def pages(store: Store, other: Store) -> None:
    """Rows for people: newest first, found by any of their fields."""
    rows = [UsageRecord(rid=f"r{n}", acct=f"a{n % 2}", key=f"k{n % 3}", model=f"m/{n % 2}", at_ms=1000 + n,
                        channel="c" if n else "", status="failed" if n == 4 else "ok", cost_p=n) for n in range(6)]
    await store.put_usage(rows)
    rids = lambda found: [row.rid for row in found]
    assert await other.usage_page() == rows[::-1]
    assert rids(await other.usage_page(limit=2)) == ["r5", "r4"]
    assert rids(await other.usage_page(before="r4", limit=2)) == ["r3", "r2"]
    assert rids(await other.usage_page({"acct": "a1"})) == ["r5", "r3", "r1"]
    assert rids(await other.usage_page({"key": "k0", "model": "m/1"})) == ["r3"]
    assert rids(await other.usage_page({"channel": ""})) == ["r0"]
    assert rids(await other.usage_page({"status": "failed"})) == ["r4"]
    assert rids(await other.usage_page({"status": "ok"}, since_ms=1002, until_ms=1004)) == ["r3", "r2"]
    assert rids(await other.usage_page({"rid": "r2"})) == ["r2"]
    assert await other.usage_page({"rid": "nothing"}) == []


async def sums(store: Store, other: Store) -> None:
    """Sums by any fields, each row once however often it is written, exact past int64."""
    day = 86_400_000
    rows = [UsageRecord(rid=f"r{n}", acct=f"a{n % 2}", key=f"k{n % 3}", model=f"m/{n % 2}", at_ms=day * (n // 3) + n,
                        channel="c" if n else "", status="broken" if n == 4 else "ok", cost_p=10 + n,
                        usage=Usage(input=1, output=2, cache_read=n), total_ms=5,
                        attempts=[Attempt("b", "failed", cost_p=1), Attempt("c", "ok", cost_p=2)]) for n in range(6)]
    await store.put_usage(rows)
    await store.put_usage(rows)
    (every,) = await other.usage_sums(())
    assert every == UsageSum(calls=6, failed=1, input=6, output=12, cache_read=15, cost_p=75, upstream_p=18, total_ms=30)
    assert [(one.day, one.calls, one.cost_p) for one in await other.usage_sums(("day",))] == [(0, 3, 33), (1, 3, 42)]
    assert [(one.day, one.calls) for one in await other.usage_sums(("day",), since_day=1, until_day=2)] == [(1, 3)]
    assert [(one.acct, one.cost_p) for one in await other.usage_sums(("acct",))] == [("a1", 39), ("a0", 36)]
    assert [(one.key, one.calls) for one in await other.usage_sums(("key",), {"acct": "a0"})] == [
        ("k1", 1), ("k2", 1), ("k0", 1)]
    assert [(one.day, one.model, one.channel, one.calls) for one in
            await other.usage_sums(("day", "model", "channel"), {"model": "m/0"})] == [
        (0, "m/0", "", 1), (0, "m/0", "c", 1), (1, "m/0", "c", 1)]
    assert [one.acct for one in await other.usage_sums(("acct",), limit=1)] == ["a1"]
    assert await other.usage_sums((), {"acct": "nobody"}) == []
    assert await other.usage_sums(("day",), since_day=9) == []
    await store.put_usage([record(f"s{n}", "rich", cost_p=BIG) for n in range(3)])
    (rich,) = await other.usage_sums((), {"acct": "rich"})
    assert rich.cost_p == 3 * BIG


async def spans(store: Store, other: Store) -> None:
    """Sums over any days, also when rows come after somebody asked, and those of this minute at once."""
    day, now = 86_400_000, time.time_ns() // 1_000_000
    today = now // day

    def rows(some: range, at_ms: Callable[[int], int]) -> list[UsageRecord]:
        return [UsageRecord(rid=f"s{n:03}", acct=f"a{n % 3}", key=f"k{n % 6}", model=f"m/{n % 2}", channel=f"c{n % 4}",
                            at_ms=at_ms(n), cost_p=n, status="failed" if n % 5 == 0 else "ok",
                            usage=Usage(input=n), total_ms=1) for n in some]

    stored: list[UsageRecord] = []
    # Seven weeks, with gaps; then late ones among them; then today's, then this minute's.
    for some in (rows(range(24), lambda n: 2 * n * day + n), rows(range(24, 34), lambda n: (n - 20) * day + n),
                 rows(range(34, 38), lambda n: today * day + n), rows(range(38, 40), lambda n: now)):
        await store.put_usage(some)
        stored += some
        for by, where in (((), {}), (("acct",), {}), (("day", "model"), {}), (("model", "channel"), {"channel": "c1"}),
                          (("key",), {"acct": "a1"}), (("day",), {"key": "k2"}), (("day", "acct"), {"model": "m/1"})):
            for since, until in ((0, today + 1), (3, 17), (14, 21)):
                found = await other.usage_sums(by, where, since_day=since, until_day=until)
                wanted = regroup(map(sum_of, stored), by, where, since, until)
                assert sorted(found, key=repr) == sorted(wanted, key=repr), (by, where, since, until)


async def neighbours(store: Store, other: Store) -> None:
    """A write that cannot be stored fails alone."""
    outcomes = await asyncio.gather(
        *(store.insert("nodes", {"_id": f"n{n}", "rev": 1}) for n in range(8)),
        store.put_usage([record("fine"), record("huge", cost_p=2**70)]),
        *(store.insert("nodes", {"_id": f"m{n}", "rev": 1}) for n in range(8)), return_exceptions=True)
    assert [o for o in outcomes if o is not True] == [outcomes[8]] and isinstance(outcomes[8], Exception)
    assert await other.usage() == [], "all or nothing"
    assert len(await other.find("nodes")) == 16


async def reopening(store: Store, other: Store) -> None:
    """What was answered is there after close and open; open finds the tables made."""
    await store.insert("models", {"_id": "m", "rev": 1})
    await store.append(entry("a1", 1, "op:1"))
    await store.close()
    await store.open()
    await store.ping()
    assert await store.get("models", "m") == {"_id": "m", "rev": 1}
    assert await store.append(entry("a1", 1, "op:1")) == OP_TAKEN


Check = Callable[[Store, Store], Awaitable[None]]
CHECKS: tuple[Check, ...] = (documents, finding, chains, racing, usage, pages, sums, spans, neighbours, reopening)


async def check(one: Check, make: Make) -> None:
    """Run one of CHECKS on two stores from `make`, opened at the same moment and closed whatever happens."""
    stores = make(), make()
    try:
        await asyncio.gather(*(store.open() for store in stores))
        await one(*stores)
    finally:
        for store in stores:
            await store.close()
