"""T4: a minute without the store costs accounts at work nothing, turns others away with 503, and loses no charge.

A gateway on a MongoDB-wire server behind a proxy that goes dark: it swallows, refuses, or falls silent. A steady load of one
account goes on through it, from its lease; a cold account asks all the time. When the store is back, everything that
was used meanwhile must be there within ten seconds.
"""

import asyncio
import random
import time

import aiohttp
from pymongo import MongoClient

from smartoken.testing.process import UpstreamProcess
from tests.between import Between
from tests.chaos.crowd import mistakes
from tests.chaos.proof import Means, Proof
from tests.harness import Client, Gateway, channel, model, until
from tests.journeys import load

MODES = ("blackhole", "refuse", "half_close")
BACK_S = 10


def prove(means: Means) -> Proof:
    dark_s, rate, modes = (60, 100, MODES) if means.long else (6, 40, MODES[:1])
    server = means.server("mongo")
    between = Between(server.port)
    means.ends.callback(between.stop)
    upstream = UpstreamProcess(means.folder / "sent.jsonl")
    means.ends.callback(upstream.stop)
    gateway = Gateway(means.folder, store=f"mongodb://127.0.0.1:{between.proxy.port}/books")
    means.ends.callback(gateway.close)
    gateway.apply(model("m"), channel("c", upstream.at("c"), {"m": "m"}))
    gateway.start()
    warm = gateway.client("warm", "5000")
    chance = random.Random(means.seed)
    wrong = failed = asked = cold_503 = 0
    calls: list[load.Call] = []
    late_s, p99_light, p99_dark = 0.0, 0.0, 0.0
    asyncio.run(steady(gateway, warm, chance, rate, 3, calls))     # warm up: the lease follows the rate
    until(lambda: stored(server.port) == len(calls), "the warm-up's records", 60)
    for turn, mode in enumerate(modes):
        light: list[float] = []
        asyncio.run(steady(gateway, warm, chance, rate, 3, calls, light))
        cold = gateway.client(f"cold-{mode}", "1")
        between.mode(mode)
        dark: list[float] = []
        strangers = asyncio.run(steady(gateway, warm, chance, rate, dark_s, calls, dark, cold))
        between.mode("pass")
        back = time.monotonic()
        rows = sum(call.status == 200 for call in calls) + turn        # and the turns of the cold accounts so far
        until(lambda rows=rows: stored(server.port) == rows, "all charges after the outage", 60)
        late_s = max(late_s, time.monotonic() - back)
        p99_light, p99_dark = max(p99_light, p99(light)), max(p99_dark, p99(dark))
        wrong += sum(status != 503 for status in strangers)
        cold_503 += len(strangers)
        until(lambda cold=cold: load_one(gateway, cold) == 200, "the cold account's turn", 30)
    asked = len(calls)
    failed = sum(not call.whole for call in calls)
    for call in calls:
        if not call.whole:
            print(f"failed: {call}")
    wrong += failed + (late_s > BACK_S)
    until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls")
    gateway.stop()
    code, said = gateway.reconcile()
    assert code == 0, said
    mine, _, _ = mistakes(calls, gateway.records(warm), {
        id: line for id, line in upstream.attempts().items() if id in {call.upstream for call in calls}})
    wrong += mine
    return Proof("requests", asked, wrong, {
        "store away (s)": dark_s * len(modes), "a second": rate, "failed": failed, "cold accounts, all 503": cold_503,
        "p99 before (ms)": round(p99_light * 1000, 1), "p99 without the store (ms)": round(p99_dark * 1000, 1),
        "all charges there after (s)": round(late_s, 1)})


def stored(port: int) -> int:
    """How many usage rows the server says it has; by its own count, since to read them all is work for it, too."""
    time.sleep(0.25)
    with MongoClient(port=port) as client:
        books = client["books"]
        return sum(books.command("collStats", name)["count"] for name in books.list_collection_names()
                   if name.startswith("usage_"))


def load_one(gateway: Gateway, client: Client) -> int:
    return gateway.post("/v1/chat/completions", load.mixed(1, random.Random(1), "m"), client.key)[0]


def p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100] if took else 0.0


async def steady(gateway: Gateway, client: Client, chance: random.Random, rate: int, seconds: float,
                 calls: list[load.Call], took: list[float] | None = None, cold: Client | None = None) -> list[int]:
    """`rate` calls a second for so long; the statuses that a cold account got meanwhile, asked twice a second."""
    strangers: list[int] = []
    tasks: set[asyncio.Task] = set()

    async def one(http: aiohttp.ClientSession, number: int) -> None:
        body = load.mixed(number, chance, "m")
        body.pop("x_fault", None)
        started = time.monotonic()
        calls.append(await load.call(http, body))
        if took is not None:
            took.append(time.monotonic() - started)

    async def stranger(http: aiohttp.ClientSession) -> None:
        call = await load.call(http, load.mixed(1, random.Random(1), "m"))
        strangers.append(call.status)

    async with (aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {client.key}"},
                                      timeout=aiohttp.ClientTimeout(total=60)) as http,
                aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {cold.key if cold else ''}"},
                                      timeout=aiohttp.ClientTimeout(total=60)) as other):
        begin = time.monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0, begin + number / rate - time.monotonic()))
            tasks.add(asyncio.create_task(one(http, number)))
            if cold is not None and number % max(1, rate // 2) == 0:
                tasks.add(asyncio.create_task(stranger(other)))
        await asyncio.gather(*tasks)
    return strangers
