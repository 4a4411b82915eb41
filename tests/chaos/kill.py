"""T1: SIGKILL at random points under 300 concurrent streams loses no charge, doubles none, and cuts bill what was sent.

Two machines (a supervisor and a worker each) on one store serve a mixed load; one of them is killed at a random moment,
supervisor and all or the worker alone, started again, and replays its journal; then the next. At the end every call as
its client saw it is compared with the books and with the upstream's own count.
"""

import asyncio
import os
import random
import signal

from smartoken.testing.process import UpstreamProcess
from tests.chaos.crowd import Crowd, mistakes
from tests.chaos.proof import Means, Proof
from tests.harness import Gateway, channel, model, until
from tests.journeys import load


def prove(means: Means) -> Proof:
    kills, clients = (200, 300) if means.long else (6, 60)
    upstream = UpstreamProcess(means.folder / "sent.jsonl")
    means.ends.callback(upstream.stop)
    pair = [Gateway(means.folder, node=node) for node in "ab"]
    for gateway in pair:
        means.ends.callback(gateway.close)
    pair[0].apply(model("m"), model("long"), channel("c", upstream.at("c"), {"m": "m"}),
                  channel("l", upstream.at("l", f"slow?gap_ms={60 if means.long else 20}"), {"long": "long"}))
    for gateway in pair:
        gateway.start()
    client = pair[0].client("crowd", "1000")
    chance = random.Random(means.seed)

    async def kill_them() -> None:
        for number in range(kills):
            gateway = pair[number % 2]
            await asyncio.sleep(chance.uniform(0.1, 1.2))
            await asyncio.to_thread(kill, gateway, whole=number % 4 > 1)

    def kill(gateway: Gateway, whole: bool) -> None:
        if whole:
            gateway.close()
            gateway.start()
            return
        pid = gateway.worker_pids()[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in gateway.worker_pids() and gateway.get("/readyz")[0] == 200, "a worker in its place", 60)

    crowd = Crowd(lambda: [gateway.url for gateway in pair], client.key, clients, chance,
                  lambda number: load.mixed(number, chance, "long" if number % 3 else "m"))
    asyncio.run(crowd.run(kill_them()))
    for gateway in pair:
        until(lambda gateway=gateway: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls", 90)
        gateway.stop()
    code, said = pair[0].reconcile()
    rows = pair[0].records(client)
    wrong, whole, cut = mistakes(crowd.calls, rows, upstream.attempts())
    shown = pair[0].account(client)
    cost_p = sum(row.cost_p for row in rows)
    wrong += code != 0
    wrong += client.credit_u - shown["balance_u"] != cost_p // 10**6 or shown["balance_u"] != shown["available_u"]
    killed = sum(row.status == "killed" for row in rows)
    assert code == 0, said
    return Proof("calls", len(rows), wrong, {"SIGKILLs": kills, "clients at once": clients, "whole": whole, "cut": cut,
                                             "billed by replay": killed, "charged pUSD": cost_p})
