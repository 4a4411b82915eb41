"""The wait that a refusal names, on a real Redis: who sleeps exactly so long, in whole seconds, then passes."""

import asyncio
import time

import pytest

from smartoken.ports import Want
from tests.plugins.test_redis_limiter import drain, until, with_limiters


def seconds(refused):
    """Retry-After, as engine/admission.py makes it of a wait."""
    return max(1, -(-refused[1] // 1_000_000))


@pytest.mark.parametrize(("percent", "pause_s"), [(20, 2.5), (30, 3), (30, 1), (60, 3), (100, 1)])
def test_a_large_call_on_an_untouched_limit_passes_when_it_comes_again(redis_url, percent, pause_s):
    """Four processes: nobody's part is large enough for it."""
    large = Want("acct:a:tpm", 100_000, percent * 1000)

    async def main(one, *_):
        refused = one.take([large])
        assert refused[0] == large and seconds(refused) == 1
        await asyncio.sleep(pause_s)
        assert one.take([large]) is None

    with_limiters(redis_url, 4, main)


def test_a_large_call_is_held_ready_for_the_next(redis_url):
    large = Want("acct:a:tpm", 100_000, 20_000)

    async def main(one, *_):
        assert seconds(one.take([large])) == 1
        for _ in range(3):
            await asyncio.sleep(3)
            assert one.take([large]) is None

    with_limiters(redis_url, 4, main)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("cost", [1, 6])
def test_on_a_limit_that_is_used_up_the_wait_is_right_to_the_second(redis_url, count, cost):
    want = Want("acct:a:rpm", 60, cost)         # one comes back each second

    async def main(one, *_):
        await drain((one,), Want(want.key, want.limit, 1))
        for _ in range(3):
            refused = one.take([want])
            assert refused[0] == want and seconds(refused) <= cost + 1
            await asyncio.sleep(seconds(refused))
            assert one.take([want]) is None

    with_limiters(redis_url, count, main)


async def in_a_rush(limiters, want):
    """Take from all as fast as it goes; (how many, seconds it took)."""
    granted, started = 0, time.monotonic()
    for _ in range(60):
        granted += sum(limiter.take([want]) is None for limiter in limiters for _ in range(50))
        await asyncio.sleep(0.01)
    return granted, time.monotonic() - started


def test_what_is_held_for_large_calls_is_not_more_than_the_burst(redis_url):
    """Redis would be whole again soon after two processes took what they hold; they must not have it besides."""
    small, large = Want("channel:a:tpm", 6000, 1, 10), Want("channel:a:tpm", 6000, 300, 10)

    async def main(*limiters):
        for limiter in limiters[:2]:
            assert limiter.take([large]) is not None
        await asyncio.sleep(6)
        granted, took_s = await in_a_rush(limiters, small)
        assert 700 < granted <= 1000 + 100 * (took_s + 1.5) + 1

    with_limiters(redis_url, 4, main)


def test_what_was_fetched_ahead_does_not_add_to_what_time_brings(redis_url):
    """One process spent much at once, fetched as much ahead, and then needs little, but is never idle."""
    small = Want("channel:a:tpm", 6000, 1, 10)

    async def main(*limiters):
        assert [limiters[0].take([small]) for _ in range(120)] == [None] * 120
        for _ in range(15):
            await asyncio.sleep(0.4)
            limiters[0].take([small])
        granted, took_s = await in_a_rush(limiters, small)
        assert 700 < granted <= 1000 + 100 * (took_s + 1.5) + 1

    with_limiters(redis_url, 4, main)


def test_who_waits_gets_what_another_holds(redis_url):
    large = Want("acct:a:tpm", 1000, 900)

    async def main(one, two):
        await until(lambda: one.take([large]) is None)
        one.correct(large, 0)
        await asyncio.sleep(2)
        await until(lambda: two.take([large]) is None)

    with_limiters(redis_url, 2, main)


def test_who_asks_again_in_every_turn_of_the_loop_is_heard(redis_url):
    """Redis has enough, and the process has not; so each refusal is due at once."""
    want = Want("acct:a:rpm", 600, 290)

    async def main(one, _):
        async def insist():
            until_s = time.monotonic() + 5
            while (refused := one.take([want])) and time.monotonic() < until_s:
                await asyncio.sleep(0)
            return not refused

        assert any(await asyncio.gather(*(insist() for _ in range(3))))

    with_limiters(redis_url, 2, main)
