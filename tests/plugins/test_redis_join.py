"""Processes that come, go, die or stand still share one burst on a real Redis: never more than it in all."""

import asyncio
import time

import pytest
from smartoken_plugins.redis.nodes import DEAD_MS, LEASE_US
from smartoken_plugins.redis.quota import Quota

from smartoken.ports import Want
from tests.plugins.redis_kit import LIMIT, WANT, rush


def test_the_first_gets_all_and_then_half(start):
    one = start()
    assert one.limiter.rounds.nodes.part == 1_000_000
    two = start()
    assert [process.limiter.rounds.nodes.part for process in (one, two)] == [500_000, 500_000]
    rush([one, two])


def test_a_process_that_stands_still_while_another_starts(start):
    """Its beat is late, so it does not know of the other when the first burst comes."""
    one = start()
    one.stand_still(2.5)
    two = start()
    rush([one, two])


def test_many_start_at_once_while_one_stands_still(start):
    one = start()
    one.stand_still(2)
    rush([one, *start(4)])


def test_whoever_comes_has_no_burst_of_his_own(start):
    """The limit was whole and known before."""
    one = start()
    began = time.monotonic()
    assert one.run(one._take(0.02)) > 0
    rush([one, *start(3)], already=50, since=began)


def test_whoever_comes_when_all_was_used_finds_nothing(start):
    one = start()
    began = time.monotonic()
    granted = one.taking().result(30)
    assert granted > LIMIT * 2 // 3
    rush([one, *start(2)], granted, began)


def test_whoever_comes_in_the_place_of_one_that_left_has_no_new_burst(start):
    began, granted = time.monotonic(), 0
    one = start()
    for _ in range(5):
        two = start()
        granted += two.taking(0.1).result(30)
        two.run(two.limiter.close())
    rush([one], granted, began)


def test_a_killed_process_keeps_its_part_until_it_counts_as_dead(start):
    one = start()
    one.kill()
    began = time.monotonic()
    two = start()
    assert DEAD_MS / 1000 - 1.5 < time.monotonic() - began < DEAD_MS / 1000 + 2
    assert two.limiter.rounds.nodes.part == 500_000, "a count that falls is believed late"


def test_who_stood_still_so_long_that_it_counts_as_dead_has_no_part(start):
    one, two = start(2)
    assert one.limiter.take([WANT]) is None
    one.stand_still(DEAD_MS / 1000 + 1)
    time.sleep(DEAD_MS / 1000 + 0.5)
    assert one.limiter.rounds.nodes.part_at(one.limiter._now()) == 0 < LEASE_US < DEAD_MS * 1000
    rush([one, two, start()])


def test_what_was_used_beyond_an_estimate_is_waited_for_by_whoever_comes(start):
    want = Want("acct:debt:tpm", 6000, 100, 4)     # 100 a second, a burst of 400
    one = start()
    assert one.limiter.take([want]) is None
    one.loop.call_soon_threadsafe(one.limiter.correct, want, 6000)
    two = start()
    time.sleep(2.5)                                # more than its half of the burst
    assert two.taking(0.2, want).result(30) == 0
    refused = two.limiter.take([want])
    assert 50_000_000 < refused[1] < 60_000_000


def test_who_leaves_tells_of_all_its_limits(start, redis_url):
    async def spend():
        for number in range(15_000):
            one.limiter.take([Want(f"acct:{number}:rpm", 60, 20)])
            if number % 100 == 0:
                await asyncio.sleep(0)

    one = start()
    one.run(spend())
    one.run(one.limiter.close())
    began = time.monotonic()
    two = start()
    assert two.limiter.rounds.nodes.part == 1_000_000 and time.monotonic() - began < 2, "nobody is waited for"


@pytest.mark.parametrize("known", [True, False])
def test_who_stood_still_while_another_came_and_went_has_lost_its_part(start, known):
    one, two = start(2)
    if known:
        assert one.limiter.take([WANT]) is None
    one.stand_still(DEAD_MS / 1000 + 3)
    time.sleep(DEAD_MS / 1000 - 0.5)
    three = start()
    began = time.monotonic()
    granted = three.taking(0.5).result(30)
    three.run(three.limiter.close())
    granted += two.taking(0.5).result(30)
    one.run(asyncio.sleep(1.5))
    rush([one, two], granted, began)


def test_what_was_given_back_is_not_used_up(start):
    """Two have heard of it while it was; a third comes."""
    one = start()
    granted = one.taking().result(30)
    two = start()

    async def give_back():
        for _ in range(granted):
            one.limiter.correct(WANT, 0)

    one.run(give_back())
    time.sleep(2.5)
    three = start()
    three.limiter.take([WANT])
    time.sleep(0.3)
    assert three.limiter.take([WANT]) is None
    assert sum(working.result(30) for working in [process.taking() for process in (one, two, three)]) > LIMIT // 4


@pytest.mark.parametrize(("have", "reserve", "after"), [
    (100, 100, (100, 0)),
    (100, 60, (60, 0)),            # whole: what it has no more part in is lost
    (30, 60, (0, 10)),             # spent: owed
    (100, 130, (100, 0)),          # fetched
])
def test_another_part(have, reserve, after):
    quota = Quota("a", 60, 400, 100, 0)
    quota.have = have
    quota.divide(reserve, 0)
    assert (quota.have, quota.owed) == after and quota.reserve == reserve
