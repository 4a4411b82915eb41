"""The books are exact: against the upstream's own, to the pUSD, also when a worker is killed under load."""

import asyncio
import random

import pytest

from smartoken.testing.process import UpstreamProcess
from tests.harness import PRICE, Gateway, channel, cost_of, model, token_cost_p, until
from tests.journeys import load


@pytest.fixture
def upstream(tmp_path):
    upstream = UpstreamProcess(tmp_path / "sent.jsonl")
    yield upstream
    upstream.stop()


@pytest.fixture
def gateway(tmp_path, upstream):
    gateway = Gateway(tmp_path, workers=2)
    gateway.apply(model("m"), model("long"), channel("c", upstream.at("c"), {"m": "m"}),
                  channel("l", upstream.at("l", "slow?gap_ms=5"), {"long": "long"}))
    gateway.start()
    yield gateway
    gateway.close()


def test_a_thousand_mixed_requests_are_charged_as_the_upstream_counted(gateway, upstream):
    client = gateway.client("busy", "50")
    chance = random.Random(1)
    bodies = [load.mixed(number, chance, "m") for number in range(1000)]
    calls = asyncio.run(load.run(gateway.url, client.key, bodies, 32))
    assert len(calls) == 1000 and all(call.whole and call.got == call.wanted for call in calls)
    records = {record.rid: record for record in gateway.check_books(client)}
    assert set(records) == {call.rid for call in calls}
    sent = upstream.attempts()
    assert len(sent) == 1000
    for call in calls:
        record = records[call.rid]
        assert record.cost_p == cost_of(sent[call.upstream]) == token_cost_p(PRICE, record.usage)
    assert sum(record.cost_p for record in records.values()) == sum(map(cost_of, sent.values()))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(gateway, upstream):
    client = gateway.client("steadfast", "50")
    chance = random.Random(2)
    bodies = [load.mixed(number, chance, "long" if number % 3 else "m") for number in range(600)]

    async def kill_twice() -> None:
        for sent in (5_000, 12_000):
            await asyncio.to_thread(until, lambda sent=sent: _output(upstream) > sent, "load", 60)
            gateway.kill_worker()
            await asyncio.to_thread(until, lambda: len(gateway.worker_pids()) == 2, "a worker in its place")

    calls = asyncio.run(load.run(gateway.url, client.key, bodies, 48, kill_twice()))
    broken = [call for call in calls if not call.whole]
    assert broken, "the kills must have met calls in flight"
    until(gateway.all_ready, "the replay of both")
    rows = gateway.check_books(client)
    records, sent = {record.rid: record for record in rows}, upstream.attempts()
    assert len(records) == len(rows)
    for call in calls:
        if not call.upstream:
            continue
        record, line = records[call.rid], sent[call.upstream]
        if call.whole:
            assert record.cost_p == cost_of(line), "finished: exactly what the upstream sent"
        else:
            assert call.got <= record.usage.output <= line.output, "cut: between received and sent"
    unseen = [line for line in sent.values() if line.id not in {call.upstream for call in calls}]
    known = sum(records[call.rid].usage.output for call in calls if call.upstream)
    rest = sum(record.usage.output for record in rows) - known
    assert 0 <= rest <= sum(line.output for line in unseen), "no call of which nobody heard costs more than was sent"


def _output(upstream) -> int:
    return sum(sums["output"] for sums in upstream.sums().values())
