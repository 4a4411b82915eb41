"""The limits' processes, stopped at the end of a test."""

import asyncio

import pytest

from tests.plugins.redis_kit import Process


@pytest.fixture
def start(redis_url):
    """Processes of one Redis, opened at once: start() gives one, start(3) a list of three."""
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
