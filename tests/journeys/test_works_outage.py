"""Long work while the store fails: claims go on, and what a client was told is what it pays for."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from smartoken.testing.process import UpstreamProcess
from tests.harness import until
from tests.journeys import works_kit
from tests.journeys.faults_kit import fail, faulty_gateway, in_store, until_met
from tests.journeys.works_kit import FILM, PICTURE_U, SECOND_U, call, film, jobs, maker, picture

COST_U = 5 * SECOND_U
PATH = "/v1/videos/generations"
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    upstream = UpstreamProcess(tmp_path_factory.mktemp("works") / "sent.jsonl", work_ms=1500, small=True)
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    slow = UpstreamProcess(tmp_path_factory.mktemp("slow") / "sent.jsonl", work_ms=30_000, small=True)
    yield slow
    slow.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream, slow):
    gateway = faulty_gateway(tmp_path_factory.mktemp("gateway"))
    gateway.apply(film("f"), film("f-slow"), film("f-reset"), maker("c", upstream.at("c"), {"f": "f"}),
                  maker("c-slow", slow.at("c"), {"f-slow": "f-slow"}),
                  maker("c-reset", upstream.at("c-reset", "reset_before"), {"f-reset": "x"}))
    gateway.start()
    yield gateway
    try:
        until(lambda: works_kit.settled(gateway), "the end of all jobs", 60)
        gateway.stop()
        code, text = gateway.reconcile()
        assert code == 0, text
    finally:
        gateway.close()


@pytest.fixture
def client(gateway, request):
    yield gateway.client(request.node.name, "1")
    fail(gateway, {})


def post(gateway, client, model="f", **headers):
    return call(f"{gateway.url}{PATH}", client.key, {"model": model, **FILM}, **headers)


def shown(gateway, client, id):
    return call(f"{gateway.url}{PATH}/{id}", client.key)[2]


def rewrite(gateway, id, **changes):
    """Change a job in the store, as another process would."""
    async def work(store):
        doc = await store.get("jobs", id)
        assert await store.replace("jobs", {**doc, **changes, "rev": doc["rev"] + 1}, doc["rev"])
    in_store(gateway, work)


def settled(gateway, client):
    """What the client has paid, in µUSD, once nothing is held for it any more."""
    until(lambda: (books := works_kit.balance(gateway, client)).held_u == 0 and books, "the settlement", 40)
    until(lambda: all(not job.open for job in jobs(gateway).values() if job.acct == client.acct), "the end", 40)
    books = works_kit.balance(gateway, client)
    assert books.held_u == 0
    return client.credit_u - books.balance_u


def test_claims_are_renewed_though_another_job_was_taken_over_in_an_outage(gateway, client):
    quick = post(gateway, client, **ASYNC)[2]["id"]
    long = post(gateway, client, "f-slow", **ASYNC)[2]["id"]
    for id in (quick, long):
        until(lambda id=id: jobs(gateway)[id].state == "running", "the create call")
    fail(gateway, {"replace jobs": "away"})
    until_met(gateway, "replace jobs")
    # By then the claim of the quick one is to be renewed, too, while its driver still tries to write.
    until(lambda: jobs(gateway)[quick].until_ms < time.time() * 1000 + 5000, "the end of a claim")
    rewrite(gateway, quick, owner="other", until_ms=2**52)
    fail(gateway, {})
    until(lambda: jobs(gateway)[long].until_ms > time.time() * 1000 + 10_000, "a renewed claim")
    time.sleep(8)
    until(lambda: jobs(gateway)[long].until_ms > time.time() * 1000 + 10_000, "a renewed claim, again")
    rewrite(gateway, quick, owner="", until_ms=0)
    assert settled(gateway, client) == 2 * COST_U


def test_a_job_that_cannot_be_read_keeps_nobody_from_the_others(gateway, client):
    bad = {"_id": "0bad", "rev": 1, "open": 1, "until_ms": 0, "state": 7}
    in_store(gateway, lambda store: store.insert("jobs", bad))
    try:
        status, headers, _ = post(gateway, client, "f-reset")
        assert status == 503
        gateway.run("job", "release", headers["x-request-id"])
        until(lambda: works_kit.balance(gateway, client).held_u == 0, "the release")
    finally:
        in_store(gateway, lambda store: store.remove("jobs", "0bad", 1))


def test_a_picture_that_is_being_made_outlives_an_outage_longer_than_its_claim(tmp_path, upstream):
    """Its owner is asked first when the store is back, whoever else looks for jobs."""
    gateway = faulty_gateway(tmp_path, workers=2)
    try:
        gateway.apply(picture("p"), maker("c", upstream.at("c", "slow?delay_ms=21000"), {"p": "dall-e-3"}))
        gateway.start()
        client = gateway.client("patient", "1")
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(call, f"{gateway.url}/v1/images/generations", client.key,
                                   {"model": "p", "prompt": "a cat"}, timeout=90)
            job = until(lambda: next((job for job in jobs(gateway).values() if job.state == "sending"), None), "a job")
            fail(gateway, {"*": "away"})
            until(lambda: job.until_ms + 1500 < time.time() * 1000, "the end of its claim")
            fail(gateway, {})
            assert asked.result()[0] == 200
        assert settled(gateway, client) == PICTURE_U
        gateway.stop()
        code, text = gateway.reconcile()
        assert code == 0, text
    finally:
        gateway.close()
