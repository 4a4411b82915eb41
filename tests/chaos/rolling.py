"""T8: a rolling restart by SIGTERM under load fails no call and leaves no lease open.

Two machines on one store; each in turn is told to go while its clients call on, drains, and starts again. A client
that is told to come again (503, a closed connection) before it has an answer goes to the other machine, as a load
balancer would send it: what must not be is a call that had begun and was not answered in full.
"""

import asyncio
import random
import time

from smartoken.testing.process import UpstreamProcess
from tests.chaos.crowd import Crowd, mistakes
from tests.chaos.poor import states
from tests.chaos.proof import Means, Proof
from tests.harness import Gateway, channel, model
from tests.journeys import load


def prove(means: Means) -> Proof:
    restarts, clients = (30, 100) if means.long else (2, 20)
    upstream = UpstreamProcess(means.folder / "sent.jsonl")
    means.ends.callback(upstream.stop)
    pair = [Gateway(means.folder, node=node) for node in "ab"]
    for gateway in pair:
        means.ends.callback(gateway.close)
    pair[0].apply(model("m"), model("long"), channel("c", upstream.at("c"), {"m": "m"}),
                  channel("l", upstream.at("l", "slow?gap_ms=15"), {"long": "long"}))
    for gateway in pair:
        gateway.start()
    client = pair[0].client("crowd", "1000")
    chance = random.Random(means.seed)
    slowest_s, open_leases = 0.0, 0

    def restart(gateway: Gateway) -> None:
        nonlocal slowest_s, open_leases
        began = time.monotonic()
        gateway.stop()
        slowest_s = max(slowest_s, time.monotonic() - began)
        leases = states(gateway)[-1]["leases"].values()
        open_leases += sum(lease["node"].startswith(f"{node_of(gateway)}-") for lease in leases)
        gateway.start()

    async def restart_them() -> None:
        for number in range(restarts):
            await asyncio.sleep(chance.uniform(0.3, 1.0))
            await asyncio.to_thread(restart, pair[number % 2])
        await asyncio.sleep(0.5)

    crowd = Crowd(lambda: [gateway.url for gateway in pair], client.key, clients, chance,
                  lambda number: load.mixed(number, chance, "long" if number % 2 else "m"))
    asyncio.run(crowd.run(restart_them()))
    for gateway in pair:
        gateway.stop()
    code, said = pair[0].reconcile()
    assert code == 0, said
    rows = pair[0].records(client)
    wrong, whole, cut = mistakes(crowd.calls, rows, upstream.attempts())
    failed = sum(call.status == 200 and not call.whole for call in crowd.calls)
    elsewhere = sum(call.status in (0, 503) for call in crowd.calls)
    wrong += failed + open_leases + sum(call.status not in (0, 200, 503) for call in crowd.calls)
    wrong += bool(states(pair[0])[-1]["leases"])
    return Proof("calls", len(crowd.calls), wrong, {
        "restarts": restarts, "clients at once": clients, "whole": whole, "broken off": failed + cut,
        "sent to the other machine": elsewhere, "slowest stop (s)": round(slowest_s, 1),
        "leases open after a stop": open_leases})


def node_of(gateway: Gateway) -> str:
    return gateway.conf.stem.removeprefix("smartoken")
