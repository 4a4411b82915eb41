"""However many limits there are, the limiter's task looks at few of them between two turns of the event loop."""

import asyncio
import contextlib
import sys
from urllib.parse import urlsplit

from redis import Redis
from smartoken_plugins.redis.limiter import RedisLimiter
from smartoken_plugins.redis.quota import Quota

from smartoken.adapters.clock import SystemClock
from smartoken.ports import Want
from smartoken.testing.proxy import FaultProxy
from tests.plugins.test_redis_limiter import until

LIMITS = 3000
MOST = 1000                    # a slice of 200, and what is done with each

TURN = asyncio.BaseEventLoop._run_once.__code__
QUOTA = {function.__code__ for function in vars(Quota).values() if hasattr(function, "__code__")}


@contextlib.contextmanager
def counted():
    """Gives a list: how often anything was asked of a Quota in each turn of the loop."""
    turns = [0]

    def note(frame, event, _):
        if event == "call" and frame.f_code is TURN:
            turns.append(0)
        elif event == "call" and frame.f_code in QUOTA and frame.f_back.f_code not in QUOTA:
            turns[-1] += 1

    sys.setprofile(note)
    try:
        yield turns
    finally:
        sys.setprofile(None)


async def take_all(limiter):
    for number in range(LIMITS):
        limiter.take([Want(f"acct:{number}:rpm", 60, 10)])
        if number % 100 == 99:
            await asyncio.sleep(0)


def test_few_limits_between_two_turns(redis_url, redis_server):
    async def body():
        parts = urlsplit(redis_url)
        proxy = FaultProxy(parts.hostname, parts.port)
        await proxy.start()
        limiter = RedisLimiter(f"redis://127.0.0.1:{proxy.port}{parts.path}?{parts.query}", SystemClock(),
                               alone_us=1_000_000)
        await limiter.open()
        prefix = parts.query.partition("=")[2]
        redis = Redis.from_url(redis_server)

        def known():
            return sum(1 for _ in redis.scan_iter(f"{prefix}:{{acct:*", 1000))

        await take_all(limiter)
        await until(lambda: known() == LIMITS)
        with counted() as turns:
            redis.flushall()
            await until(lambda: known() > LIMITS * 9 // 10)         # it was told again
        assert sum(turns) > LIMITS and max(turns) <= MOST, max(turns)

        await take_all(limiter)
        with counted() as turns:
            await asyncio.sleep(3)                                  # idle: given back
        assert sum(turns) > LIMITS and max(turns) <= MOST, max(turns)

        proxy.mode = "refuse"
        await proxy.cut()
        await until(lambda: limiter.alone)
        await take_all(limiter)
        with counted() as turns:
            proxy.mode = "pass"
            await until(lambda: not limiter.alone)
            await asyncio.sleep(0.5)
        assert sum(turns) > LIMITS and max(turns) <= MOST, max(turns)
        await limiter.close()
        await proxy.stop()

    asyncio.run(body())
