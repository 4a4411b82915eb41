"""What a warm request may cost, in counts: no call to the store, no task, nothing left behind; nor with Redis silent."""

import asyncio
import random
from urllib.parse import urlsplit

import pytest

from tests.between import Between
from tests.harness import Gateway, channel, model, until
from tests.journeys import load

# Runs in the gateway: tasks by what they run, unless they are beside the requests, and the objects there are.
COUNTER = '''
import asyncio, gc
from prometheus_client import Counter, Gauge
from smartoken.engine.beside import is_beside
from smartoken.plugin import hookimpl
tasks = Counter("count_tasks", "Tasks begun for requests.", ["what"])
objects = Gauge("count_objects", "Objects that the collector knows.", multiprocess_mode="liveall")

def factory(loop, work, **more):
    if not is_beside():
        tasks.labels(getattr(work, "__qualname__", "?")).inc()
    return asyncio.Task(work, loop=loop, **more)

@hookimpl
async def smartoken_open(gateway):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    old = gateway.metrics.update
    def update(gateway):
        gc.collect()
        objects.set(len(gc.get_objects()))
        old(gateway)
    gateway.metrics.update = update
'''
PLUGINS = "[plugins]\nenabled = ['*', 'counter']\npaths = ['counting']\n"
CALLS, CLIENTS = 300, 8


def bodies(seed: int) -> list[dict]:
    return [load.mixed(number, random.Random(seed + number), "m") for number in range(CALLS)]


def counted(gateway: Gateway) -> tuple[float, float, float]:
    """(store calls that requests waited for, tasks that the door began, objects)."""
    lines = gateway.get("/metrics")[2].decode().splitlines()
    tasks = sum(float(line.rsplit(" ", 1)[1]) for line in lines
                if line.startswith("count_tasks_total{") and 'what="RequestHandler._execute"' not in line)
    return gateway.metric("smartoken_store_calls_total", by="request"), tasks, gateway.metric("count_objects")


@pytest.fixture
def redis_between(redis_server):
    between = Between(urlsplit(redis_server).port)
    yield between
    between.stop()


@pytest.mark.parametrize("limiter", ["memory", "silent redis"])
def test_a_warm_request_asks_nobody_and_leaves_nothing(tmp_path, upstream_process, request, limiter):
    conf, options = PLUGINS, ("--rpm", "1000000", "--tpm", "1000000000")
    if limiter == "silent redis":
        between = request.getfixturevalue("redis_between")
        conf += f'[limiter]\nurl = "redis://127.0.0.1:{between.proxy.port}/0"\n'
    (tmp_path / "counting").mkdir()
    (tmp_path / "counting" / "counter.py").write_text(COUNTER)
    gateway = Gateway(tmp_path, conf=conf)
    try:
        gateway.apply(model("m"), channel("hot", upstream_process.at("hot-path"), {"m": "up"}))
        client = gateway.client("Hot", "1000", *options)
        gateway.start()
        assert all(call.whole for call in asyncio.run(load.run(gateway.url, client.key, bodies(0), CLIENTS)))
        until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls")
        if limiter == "silent redis":
            between.mode("blackhole")
        before = counted(gateway)
        assert min(before) > 0              # the first calls were cold
        calls = asyncio.run(load.run(gateway.url, client.key, bodies(CALLS), CLIENTS))
        assert all(call.whole for call in calls) and len(calls) == CALLS
        until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls")
        store_calls, tasks, objects = (now - then for now, then in zip(counted(gateway), before, strict=True))
        assert (store_calls, tasks) == (0, 0)
        # Waiting records of the last two seconds are objects, too: about three a call.
        assert objects < 10 * CALLS, objects
        gateway.check_books(client)
    finally:
        gateway.close()
