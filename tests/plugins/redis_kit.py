"""Processes that share limits over one real Redis, and a rush on one limit by all of them."""

import asyncio
import threading
import time

from smartoken_plugins.redis.limiter import open_redis

from smartoken.ports import Want

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


def rush(processes, already=0, since=None):
    """What all together let through, which is most of a burst and not more than it and what time brings."""
    since = since or time.monotonic()
    granted = already + sum([one.result(30) for one in [process.taking() for process in processes]])
    assert LIMIT * 2 // 3 < granted <= LIMIT + LIMIT * (time.monotonic() - since) / 60 + 1
    return granted
