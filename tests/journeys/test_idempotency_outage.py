"""An Idempotency-Key whose claim was left behind by a failing store, or by a client that went, may be used again."""

import asyncio
import time

import aiohttp
import pytest

from smartoken.testing.process import UpstreamProcess
from tests.harness import channel, model, until
from tests.journeys.conftest import SAY
from tests.journeys.faults_kit import fail, faulty_gateway, in_store, until_met

SOON_S = 15                # a claim with a living owner and nobody behind it is waited for ten minutes
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    upstream = UpstreamProcess(tmp_path_factory.mktemp("upstream") / "sent.jsonl")
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    gateway = faulty_gateway(tmp_path_factory.mktemp("gateway"), workers=2)
    gateway.apply(model("m"), channel("c", upstream.at("c"), {"m": "m"}))
    gateway.start()
    yield gateway
    gateway.check_books()
    gateway.close()


@pytest.fixture
def client(gateway, request):
    client = gateway.client(request.node.name)
    assert ask(gateway, client, "warm")[0] == 200
    yield client
    fail(gateway, {})


def ask(gateway, client, key="k", timeout=SOON_S):
    """(status, headers, body); TimeoutError when the client did not wait any longer."""
    async def post():
        headers = {"Authorization": f"Bearer {client.key}", "Idempotency-Key": key}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=timeout)) as http:
            async with http.post(f"{gateway.url}/v1/chat/completions",
                                 json={"model": "m", "messages": SAY, "max_tokens": 5, "user": client.acct}) as answer:
                return answer.status, answer.headers, await answer.read()
    return asyncio.run(post())


def leave(gateway, client):
    with pytest.raises(TimeoutError):
        ask(gateway, client, timeout=0.4)


def check(gateway, client, upstream, calls):
    """The key is free, its next call is made, and the one after gets the same answer."""
    status, _, data = ask(gateway, client)
    assert status == 200, data
    status, headers, again = ask(gateway, client)
    assert (status, again, headers["Idempotency-Replayed"]) == (200, data, "true")
    until(lambda: len(gateway.records(client)) == calls, "the records")
    assert sum(client.acct.encode() in seen["body"] for seen in upstream.seen()) == calls


def test_a_client_that_leaves_while_its_claim_is_written(gateway, client, upstream):
    fail(gateway, {"insert idempotency": "slow"})
    leave(gateway, client)
    until_met(gateway, "insert idempotency")
    fail(gateway, {})
    check(gateway, client, upstream, 2)


@pytest.mark.parametrize("rules", [
    {"insert idempotency": "lost", "get idempotency": "away"}, {"insert idempotency": "late"},
    {"insert idempotency": "late", "get idempotency": "away"}], ids=["lost", "late", "late and away"])
def test_a_claim_that_nobody_knows_of(gateway, client, upstream, rules):
    fail(gateway, rules)
    assert ask(gateway, client)[0] == 503
    fail(gateway, {})
    time.sleep(1.2)                # what comes late has come by then
    check(gateway, client, upstream, 2)


@pytest.mark.parametrize("rule", ["slow", "late"])
def test_a_client_that_leaves_while_an_old_claim_is_taken_over(gateway, client, upstream, rule):
    assert ask(gateway, client)[0] == 200

    async def age(store):
        for doc in await store.find("idempotency"):
            if doc["acct"] == client.acct:
                assert await store.replace("idempotency", {**doc, "at_ms": doc["at_ms"] - DAY_MS,
                                                           "rev": doc["rev"] + 1}, doc["rev"])
    until(lambda: in_store(gateway, lambda store: done(store, client)) == 2, "the kept answers")
    in_store(gateway, age)
    fail(gateway, {"replace idempotency": rule})
    if rule == "slow":
        leave(gateway, client)
        until_met(gateway, "replace idempotency")
        fail(gateway, {})
    check(gateway, client, upstream, 3)


async def done(store, client):
    """How many answers are kept."""
    return sum(doc["acct"] == client.acct and doc["state"] == "done" for doc in await store.find("idempotency"))
