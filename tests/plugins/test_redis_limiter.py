"""The limiter on a real Redis: what it grants alone and in company, and what it does when Redis is lost."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest
from smartoken_plugins.redis.limiter import RedisLimiter, open_redis

from smartoken.adapters.clock import SystemClock
from smartoken.errors import ConfigError
from smartoken.ports import Want
from smartoken.testing.proxy import FaultProxy

WANT = Want("acct:a:rpm", 600, 1)          # ten a second, a burst of 600


async def until(what, within_s=20.0):
    """Wait until `what()` is true, and fail if it never is."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.02)


def with_limiters(url, count, main):
    """Run `main(*limiters)` on opened limiters that know of each other."""
    async def body():
        limiters = [open_redis(url) for _ in range(count)]
        await asyncio.gather(*(limiter.open() for limiter in limiters))
        try:
            await until(lambda: all(limiter.processes == count for limiter in limiters))
            await main(*limiters)
        finally:
            for limiter in limiters:
                await limiter.close()

    asyncio.run(body())


async def drain(limiters, want, patience=50):
    """Take by turns until nobody was granted anything in `patience` rounds; (how many, seconds it took)."""
    granted, started, misses = 0, time.monotonic(), 0
    while misses < patience:
        some = sum(limiter.take([want]) is None for limiter in limiters)
        granted, misses = granted + some, 0 if some else misses + 1
        await asyncio.sleep(0.01)
    return granted, time.monotonic() - started


@pytest.mark.parametrize("url", ["redis://", "redis:///0", "redis://h/0?prefix=", "redis://h/0?prefix={x}",
                                 "redis://h/0?processes=0", "redis://h/0?processes=many", "redis://h:port/0"])
def test_bad_url(url):
    with pytest.raises(ConfigError, match=r"limiter\.url"):
        open_redis(url)


@pytest.mark.parametrize("count", [1, 3])
def test_the_whole_burst_is_granted_and_no_more(redis_url, count):
    slow = Want("acct:slow:rpm", 6, 1, 600)     # one in ten seconds, a burst of 60

    async def main(*limiters):
        granted, seconds = await drain(limiters, slow)
        assert 60 <= granted <= 60 + seconds / 10 + 1
        refused = limiters[0].take([slow])
        assert refused[0] == slow and 0 < refused[1] <= 10_000_000
        assert limiters[0].left(slow)[0] == 0

    with_limiters(redis_url, count, main)


def test_a_want_as_large_as_the_limit_passes(redis_url):
    async def main(one, two):
        large = Want("acct:large:tpm", 1000, 1000)
        await until(lambda: one.take([large]) is None)
        assert two.take([large]) is not None
        assert one.take([large])[1] > 30_000_000

    with_limiters(redis_url, 2, main)


def test_a_limit_that_is_lowered_lets_through_what_it_now_allows(redis_url):
    """One call of the new limit costs more than the whole burst of the old one."""
    async def main(limiter):
        await until(lambda: limiter.take([Want("channel:c:rpm", 600, 1, 1)]) is None)
        await until(lambda: limiter.take([Want("channel:c:rpm", 40, 1, 3)]) is None)

    with_limiters(redis_url, 1, main)


def test_all_or_none(redis_url):
    async def main(limiter):
        few = Want("acct:few:rpm", 2, 1)
        await until(lambda: limiter.take([few]) is None)
        before = limiter.left(WANT)
        await until(lambda: limiter.take([few]) is not None)
        for _ in range(20):
            assert limiter.take([WANT, few]) is not None
        assert limiter.left(WANT) == before

    with_limiters(redis_url, 1, main)


def test_what_was_not_used_comes_back_and_what_was_used_beyond_is_owed(redis_url):
    async def main(one, two):
        want = Want("acct:tpm", 1000, 900)
        await until(lambda: one.take([want]) is None)
        one.correct(want, 100)
        await until(lambda: two.take([Want("acct:tpm", 1000, 300)]) is None)
        two.correct(Want("acct:tpm", 1000, 300), 5000)
        await until(lambda: two.left(want)[0] == 0)
        await until(lambda: (one.take([Want("acct:tpm", 1000, 300)]) or (None, 0))[1] > 60_000_000)

    with_limiters(redis_url, 2, main)


def test_who_leaves_gives_back(redis_url):
    async def main(one):
        two = open_redis(redis_url)
        await two.open()
        want = Want("acct:left:tpm", 100, 90)
        await until(lambda: two.take([want]) is None)
        two.correct(want, 0)
        await two.close()
        await until(lambda: one.take([want]) is None)

    with_limiters(redis_url, 1, main)


def test_a_restart_of_redis_that_forgets_the_script(redis_url, redis_server):
    from redis import Redis

    async def main(limiter):
        assert limiter.take([WANT]) is None
        Redis.from_url(redis_server).script_flush()
        some = Want("acct:after:rpm", 600, 400)    # more than the reserve: it must be fetched
        await until(lambda: limiter.take([some]) is None)
        assert not limiter.alone

    with_limiters(redis_url, 1, main)


def test_what_redis_forgets_it_is_told_again(redis_url, redis_server):
    from redis import Redis

    slow = Want("acct:slow:rpm", 6, 1, 600)     # one in ten seconds, a burst of 60

    async def main(*limiters):
        granted, seconds = await drain(limiters, slow)
        Redis.from_url(redis_server).flushall()
        again, more = await drain(limiters, slow)
        assert granted + again <= 60 + (seconds + more) / 10 + 1

    with_limiters(redis_url, 2, main)


def test_without_redis_each_keeps_to_its_share_and_comes_back(redis_url):
    async def body():
        parts = urlsplit(redis_url)
        proxy = FaultProxy(parts.hostname, parts.port)
        await proxy.start()
        url = f"redis://127.0.0.1:{proxy.port}{parts.path}?{parts.query}&processes=2"
        one, two = (RedisLimiter(url, SystemClock(), alone_us=1_000_000) for _ in range(2))
        await asyncio.gather(one.open(), two.open())
        used = await drain((one, two), WANT, patience=5)
        proxy.mode = "refuse"
        await proxy.cut()
        await until(lambda: one.alone and two.alone)
        granted, started = [0, 0], time.monotonic()
        while time.monotonic() - started < 2:
            for number, limiter in enumerate((one, two)):
                granted[number] += limiter.take([WANT]) is None
            await asyncio.sleep(0.01)
        seconds = time.monotonic() - started
        assert all(0 < some <= 5 * (seconds + 1) + 1 for some in granted), "five a second each, ten in all"
        assert used[0] + sum(granted) <= 600 + 10 * (used[1] + seconds + 3)
        proxy.mode = "pass"
        await until(lambda: not one.alone and not two.alone)
        await until(lambda: one.take([WANT]) is None)
        await one.close()
        await two.close()
        await proxy.stop()

    asyncio.run(body())


def test_starting_without_redis_is_a_share_of_the_processes_named(tmp_path):
    async def body():
        limiter = open_redis("redis://127.0.0.1:9/0?processes=3")
        await limiter.open()
        assert limiter.alone and limiter.processes == 3
        assert limiter.take([WANT]) is not None, "nothing has come together yet"
        await until(lambda: limiter.take([WANT]) is None)
        await limiter.close()

    asyncio.run(body())


def test_idle_keys_are_forgotten_and_memory_is_bounded(redis_url):
    async def body():
        limiter = RedisLimiter(redis_url, SystemClock(), max_keys=100)
        await limiter.open()
        for number in range(1000):
            limiter.take([Want(f"acct:{number}:rpm", 60, 1)])
        assert len(limiter) <= 100
        await limiter.close()

    asyncio.run(body())
