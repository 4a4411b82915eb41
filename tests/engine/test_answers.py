"""Stored answers find their way back: over processes, over restarts, to their owner's channel; and affinity."""

import asyncio
import collections

import pytest

from smartoken.adapters.sqlite import open_sqlite
from smartoken.domain.catalog import Channel, Route
from smartoken.engine import routing
from smartoken.engine.answers import COLLECTION, DAY_MS, KEPT_DAYS, Answers, Origin
from smartoken.engine.health import HealthBook
from smartoken.errors import StoreAway
from smartoken.plugin.types import ELSEWHERE, Provider


class Day:
    """A clock that stands on a day."""

    def __init__(self, day: int):
        self.day = day

    def now_ms(self) -> int:
        return self.day * DAY_MS

    def mono_us(self) -> int:
        return 0


def run(tmp_path, work) -> None:
    async def main() -> None:
        store = open_sqlite(f"sqlite:///{tmp_path}/s.db")
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()
    asyncio.run(main())


def test_what_one_process_notes_another_finds(tmp_path):
    async def work(store) -> None:
        one, other = Answers(store, Day(100)), Answers(store, Day(100))
        asking = asyncio.create_task(other.fetch("resp_1"))    # before it is written: it looks again
        await asyncio.sleep(0)
        one.note("resp_1", "acct", "channel", "slug")
        assert one.find("resp_1") == Origin("acct", "channel", "slug")
        assert await asking == Origin("acct", "channel", "slug") == other.find("resp_1")
        assert await other.fetch("resp_2") is None
        await one.close()
    run(tmp_path, work)


def test_rows_past_their_time_are_cleared_away(tmp_path):
    async def work(store) -> None:
        days = (100, 101, 110)
        for day in days:
            answers = Answers(store, Day(day))
            answers.note(f"resp_{day}", "acct", "channel", "slug")
            await answers.close()
        late = Answers(store, Day(101 + KEPT_DAYS))
        late.note("resp_late", "acct", "channel", "slug")
        await late.close()
        assert [doc["_id"] for doc in await store.find(COLLECTION)] == ["resp_101", "resp_110", "resp_late"]
    run(tmp_path, work)


def test_a_store_that_is_away_is_no_unknown_answer(tmp_path):
    async def main() -> None:
        store = open_sqlite(f"sqlite:///{tmp_path}/none/there/s.db")
        answers = Answers(store, Day(1))
        with pytest.raises(StoreAway):
            await answers.fetch("resp_1")
    asyncio.run(main())


def route(name: str, weight: int = 100) -> Route:
    return Route(Channel(name, Provider(name), "http://x", weight=weight), "w", "/", "m")


def test_equal_texts_meet_the_same_channel_and_keep_it_when_another_goes():
    book, routes = HealthBook(), tuple(route(name) for name in "abcd")
    picks = {text: routing.pick(book, "m", routes, [], 0, text)[0] for text in map(str, range(400))}
    assert all(routing.pick(HealthBook(), "m", routes[::-1], [], 0, text)[0] is one for text, one in picks.items())
    shares = collections.Counter(one.channel.name for one in picks.values())
    assert min(shares.values()) > 60
    left = [one for one in routes if one.channel.name != "a"]
    moved = [text for text, one in picks.items() if routing.pick(book, "m", left, [], 0, text)[0] is not one]
    assert {picks[text].channel.name for text in moved} == {"a"}


def test_weights_share_texts():
    big, small = route("a", 900), route("b", 100)
    seen = collections.Counter(routing.pick(HealthBook(), "m", (big, small), [], 0, str(text))[0].channel.name
                               for text in range(2000))
    assert 1700 < seen["a"] < 1900


def test_what_another_made_is_held_against_nobody():
    book, one = HealthBook(), route("a")
    for _ in range(50):
        book.failed(one, book.of(one, "m"), 0, ELSEWHERE, None, "not mine")
    assert routing.pick(book, "m", (one,), [], 0)[0] is one and not book.alarms
