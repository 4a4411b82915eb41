"""What Redis forgot, or is too far away or too full to tell, bends no limit and keeps no process out."""

import asyncio
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

from redis import Redis

from smartoken.ports import Want
from smartoken.testing.proxy import FaultProxy
from tests.plugins.redis_kit import LIMIT, rush
from tests.servers import Server, find


def _behind(redis_url, **knobs):
    """(the URL of a proxy in front of it, the proxy, its loop)."""
    async def begin():
        await proxy.start()
        return proxy.port

    where, loop = urlsplit(redis_url), asyncio.new_event_loop()
    proxy = FaultProxy(where.hostname, where.port, **knobs)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    port = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    return where._replace(netloc=f"127.0.0.1:{port}").geturl(), proxy, loop


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
    async def work():
        for number in range(100_000):
            one.limiter.take([Want(f"acct:{number % 50}:tpm", 10_000_000, 1)])
            await asyncio.sleep(0.001)

    one = start(url=_behind(redis_url, latency_s=0.002)[0])
    working = asyncio.run_coroutine_threadsafe(work(), one.loop)
    time.sleep(1)
    two = start()
    working.cancel()
    assert [process.limiter.rounds.nodes.part for process in (one, two)] == [500_000, 500_000]


def test_a_redis_that_forgets_while_a_process_leaves(start, redis_server):
    one, two = start(2)
    began = time.monotonic()
    granted = one.taking().result(30)
    Redis.from_url(redis_server).flushall()
    one.run(one.limiter.close())
    rush([two], granted, began)


def test_very_many_used_up_limits_keep_nobody_out(start, redis_url, redis_server):
    redis, prefix = Redis.from_url(redis_server), redis_url.partition("prefix=")[2]
    one, later = start(), (int(time.time()) + 120) * 1_000_000
    for number in range(0, 60_000, 5000):
        redis.zadd(f"{prefix}:used", {f"{prefix}:{{acct:{number + more}}}:rpm": later for more in range(5000)})
    two = start()
    assert not two.limiter.alone
    assert [process.limiter.rounds.nodes.part for process in (one, two)] == [500_000, 500_000]


def test_one_failure_while_a_process_leaves_does_not_make_it_a_killed_one(start, redis_url, redis_server):
    url, proxy, loop = _behind(redis_url)
    one, two = start(), start(url=url)
    began = time.monotonic()
    granted = sum(working.result(30) for working in [process.taking() for process in (one, two)])
    proxy.mode = "refuse"
    asyncio.run_coroutine_threadsafe(proxy.cut(), loop).result(5)
    leaving = asyncio.run_coroutine_threadsafe(two.limiter.close(), two.loop)
    time.sleep(0.3)
    proxy.mode = "pass"
    leaving.result(10)
    assert Redis.from_url(redis_server).zcard(redis_url.partition("prefix=")[2] + ":nodes") == 1
    rush([one, start()], granted, began)
