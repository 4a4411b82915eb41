"""Processes that come, go, die or stand still share one burst on a real Redis: never more than it in all."""

import asyncio
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from redis import Redis
from smartoken_plugins.redis.limiter import open_redis
from smartoken_plugins.redis.nodes import DEAD_MS, LEASE_US
from smartoken_plugins.redis.quota import Quota

from smartoken.ports import Want
from smartoken.testing.proxy import FaultProxy
from tests.servers import Server, find

LIMIT = 600
WANT = Want("acct:a:rpm", LIMIT, 1)        # ten a second, a burst of 600


class Process:
    """A limiter on an event loop of its own, in a thread, so that it may stand still while others go on."""

    def __init__(self, url):
        self.loop = asyncio.new_event_loop()
        self.limiter = open_redis(url)
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work, within_s=30):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    def stand_still(self, seconds):
        self.loop.call_soon_threadsafe(time.sleep, seconds)

    async def _take(self, for_s, want=WANT):
        granted, until_s = 0, time.monotonic() + for_s
        while time.monotonic() < until_s:
            granted += sum(self.limiter.take([want]) is None for _ in range(50))
            await asyncio.sleep(0.005)
        return granted

    def taking(self, for_s=1.0, want=WANT):
        return asyncio.run_coroutine_threadsafe(self._take(for_s, want), self.loop)

    async def _kill(self):
        self.limiter.rounds._task.cancel()
        await self.limiter.rounds._redis.aclose()

    def kill(self):
        self.run(self._kill())


@pytest.fixture
def start(redis_url):
    processes = []

    def start(count=1, url=redis_url):
        some = [Process(url) for _ in range(count)]
        processes.extend(some)
        for opening in [asyncio.run_coroutine_threadsafe(one.limiter.open(), one.loop) for one in some]:
            opening.result(30)
        return some if count > 1 else some[0]

    yield start
    for process in processes:
        process.run(process.limiter.close())
        process.loop.call_soon_threadsafe(process.loop.stop)


def rush(processes, already=0, since=None):
    """What all together let through, which is most of a burst and not more than it and what time brings."""
    since = since or time.monotonic()
    granted = already + sum([one.result(30) for one in [process.taking() for process in processes]])
    assert LIMIT * 2 // 3 < granted <= LIMIT + LIMIT * (time.monotonic() - since) / 60 + 1
    return granted


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


def test_a_redis_that_forgets_who_lives_while_another_starts(start, redis_server):
    one, two = start(2)
    Redis.from_url(redis_server).flushall()
    rush([one, two, start()])


def test_a_redis_that_forgets_what_was_used_up_while_another_starts(start, redis_server):
    """Who knows it gives up a part in the same beat."""
    one = start()
    began = time.monotonic()
    granted = one.taking().result(30)
    time.sleep(1.1)                                 # idle: it has told everything
    Redis.from_url(redis_server).flushall()
    rush([one, start()], granted, began)


def test_a_redis_killed_and_started_again_from_an_old_disk(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server("redis", [find("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)],
                    port)
    server.start()
    try:
        two = start(2, server.url)
        Redis.from_url(server.url).save()
        began = time.monotonic()
        granted = sum(one.result(30) for one in [process.taking(0.5) for process in two])
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.start()
        granted += sum(one.result(30) for one in [process.taking(10) for process in two])
        assert LIMIT < granted <= LIMIT + LIMIT * (time.monotonic() - began) / 60 + 1
        for process in two:
            process.run(process.limiter.close())
    finally:
        server.stop()


def test_a_busy_process_far_from_redis_gives_up_its_part(start, redis_url):
    """Something is always to be told, so that its rounds never come to an end by themselves."""
    where = urlsplit(redis_url)

    async def proxy():
        proxy = FaultProxy(where.hostname, where.port, latency_s=0.002)
        await proxy.start()
        return proxy

    async def work():
        for number in range(100_000):
            one.limiter.take([Want(f"acct:{number % 50}:tpm", 10_000_000, 1)])
            await asyncio.sleep(0.001)

    aside = asyncio.new_event_loop()
    threading.Thread(target=aside.run_forever, daemon=True).start()
    port = asyncio.run_coroutine_threadsafe(proxy(), aside).result(10).port
    one = start(url=where._replace(netloc=f"127.0.0.1:{port}").geturl())
    working = asyncio.run_coroutine_threadsafe(work(), one.loop)
    time.sleep(1)
    two = start()
    working.cancel()
    assert [process.limiter.rounds.nodes.part for process in (one, two)] == [500_000, 500_000]


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
