"""reconcile sees what dead processes left in real journals, and passes over what a living one writes."""

import asyncio

from smartoken.domain.usage import UsageRecord
from smartoken.engine.frames import OpenFrame
from smartoken.engine.journal import Journal
from smartoken.engine.ledger import Ledger
from smartoken.engine.reconcile import reconcile
from smartoken.engine.replay import replay
from smartoken.testing.lossy import HeldClock, sqlite_in


async def begun(root, clock):
    """An open journal in which one request is finished and one still runs."""
    journal = Journal(root / "n1-1", "n1", clock)
    await journal.open()
    slots = [journal.begin(OpenFrame(rid=rid, acct="a", key="k", model="m", at_ms=clock.ms)) for rid in ("r1", "r2")]
    journal.done(slots[0], UsageRecord(rid="r1", acct="a", key="k", model="m", at_ms=clock.ms))
    return journal


def run(work):
    asyncio.run(work())


def test_what_a_dead_process_left_differs_until_it_is_brought_home(tmp_path):
    async def work():
        clock, root = HeldClock(), tmp_path / "journal"
        async with sqlite_in(tmp_path) as store:
            async def said():
                return [(f.rule, f.where, f.text) for f in (await reconcile(store, clock, journals=root)).differences]

            assert await said() == [], "no journal was ever written here"
            journal = await begun(root, clock)
            clock.wait(20 * 60)
            assert await said() == [], "its process lives"
            journal.close()
            [(rule, where, text)] = await said()
            assert (rule, where) == ("R5", "n1-1") and text.startswith("2 requests") and ", 1 of them" in text
            assert "r1 of a" in text
            clock.wait(-20 * 60)
            assert await said() == [], "a worker may still be on its way to it"
            clock.wait(20 * 60)
            after = await begun(root, clock)
            assert len(await said()) == 1, "the next start in the same folder lives, that one does not"
            files = sorted(path.name for path in journal.folder.iterdir())
            assert len(await said()) == 1 and sorted(path.name for path in journal.folder.iterdir()) == files
            await store.put_usage([UsageRecord(rid="r1", acct="a", key="k", model="m", at_ms=clock.ms - 20 * 60_000)])
            [(_, _, text)] = await said()
            assert text.startswith("1 requests") and "r2 of a" in text, "the store has the other"
            await replay(journal.folder, store, Ledger(store, "n1", clock), after)
            assert await said() == []
            after.close()

    run(work)


def test_damaged_files_are_told_of(tmp_path):
    async def work():
        clock, root = HeldClock(), tmp_path / "journal"
        async with sqlite_in(tmp_path) as store:
            journal = await begun(root, clock)
            journal.close()
            path = journal.segment.path
            data = path.read_bytes()
            at = data.index(b"r2")
            path.write_bytes(data[:at] + b"?" + data[at + 1:])
            await replay(journal.folder, store, Ledger(store, "n2", clock))
            page = await reconcile(store, clock, journals=root)
            [finding] = [f for f in page.findings if f.rule == "R8"]
            assert finding.where == "n1-1" and path.name in finding.text and not finding.wrong

    run(work)
