"""Long work while the store fails: claims go on, and what a client was told is what it pays for."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from smartoken.testing.picture import png
from smartoken.testing.process import UpstreamProcess
from tests.harness import Client, until
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
    gateway.apply(film("f"), film("f-slow"), film("f-reset"), picture("p"),
                  maker("c", upstream.at("c"), {"f": "f", "p": "dall-e-3"}),
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


def post(gateway, client, model="f", query="", **headers):
    return call(f"{gateway.url}{PATH}{query}", client.key, {"model": model, **FILM}, **headers)


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


# -- what the client is told

@pytest.mark.parametrize("how", ["away", "lost", "late"])
def test_a_film_whose_money_is_unclear_is_not_refused_and_paid_once(gateway, client, upstream, how):
    before = len(upstream.made())
    fail(gateway, {"append pend": how})
    status, _, told = post(gateway, client, **ASYNC)
    assert (status, told["status"]) == (202, "queued")
    until_met(gateway, "append pend")
    fail(gateway, {})
    until(lambda: shown(gateway, client, told["id"])["status"] == "completed", "the film")
    assert settled(gateway, client) == COST_U
    assert len(upstream.made()) == before + 1


def test_a_client_that_waits_gets_its_film_when_the_store_is_back(gateway, client):
    fail(gateway, {"append pend": "away"})
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(post, gateway, client)
        until_met(gateway, "append pend", 4)
        fail(gateway, {})
        assert asked.result()[0] == 200
    assert settled(gateway, client) == COST_U


def test_a_film_that_may_not_be_written_down_is_refused_and_never_made(gateway, client, upstream):
    """The insert comes after its time is over, when the client was told no and may have called again."""
    before = len(upstream.made())
    fail(gateway, {"insert jobs": "late"})
    status, _, told = post(gateway, client)
    assert (status, told["error"]["code"]) == (503, "store_away")
    fail(gateway, {})
    job = until(lambda: next((job for job in jobs(gateway).values() if job.acct == client.acct), None), "the document")
    until(lambda: not jobs(gateway)[job.id].open, "its end", 40)
    ended = jobs(gateway)[job.id]
    assert (ended.state, ended.fault.code) == ("failed", "never_begun")
    assert settled(gateway, client) == 0
    assert len(upstream.made()) == before


def test_a_call_with_a_key_that_was_not_written_down_in_time_is_made_once(gateway, client, upstream):
    before = len(upstream.made())
    fail(gateway, {"insert jobs": "late"})
    key = {"Idempotency-Key": "k"}
    assert post(gateway, client, **key)[0] == 503
    fail(gateway, {})
    time.sleep(1.2)
    assert post(gateway, client, **key)[0] == 200
    assert settled(gateway, client) == COST_U
    assert len(upstream.made()) == before + 1


def test_an_account_with_an_overdraft_is_not_refused_after_all(gateway):
    acct = json.loads(gateway.run("account", "create", "overdrawn", "--overdraft", "1", "--json"))["id"]
    made = json.loads(gateway.run("key", "create", acct, "--json"))
    client = Client(acct, made["key"], made["kid"], 0)
    fail(gateway, {"append pend": "away"})
    status, _, told = post(gateway, client, **ASYNC)
    until_met(gateway, "append pend")
    fail(gateway, {})
    assert status == 202
    until(lambda: shown(gateway, client, told["id"])["status"] == "completed", "the film")
    assert settled(gateway, client) == COST_U


def test_a_job_nobody_sent_in_time_ends_free_when_its_process_dies(gateway, client, upstream):
    before = len(upstream.made())
    fail(gateway, {"append pend": "away"})
    status, _, told = post(gateway, client, **ASYNC)
    assert status == 202
    gateway.kill_worker()
    fail(gateway, {})
    until(lambda: gateway.all_ready(), "a new worker", 60)
    until(lambda: shown(gateway, client, told["id"]).get("status") == "failed", "its end", 40)
    assert shown(gateway, client, told["id"])["error"]["code"] == "never_begun"
    assert settled(gateway, client) == 0
    assert len(upstream.made()) == before


def test_uploads_of_calls_that_were_refused_are_not_kept_in_memory(gateway, client):
    """Forty times four megabytes, while nothing can be written down."""
    def resident():
        with open(f"/proc/{gateway.worker_pids()[0]}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    def edit():
        with pytest.raises(openai.InternalServerError) as refused:
            sdk.images.edit(model="p", image=("cat.png", png(8, 8) + bytes(4 << 20), "image/png"), prompt="a hat")
        assert refused.value.code == "store_away"

    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=client.key, max_retries=0) as sdk:
        fail(gateway, {"insert jobs": "away"})
        edit()
        before = resident()
        for _ in range(40):
            edit()
        assert resident() - before < 60 << 20


def test_what_each_client_was_told_is_what_it_paid(tmp_path, upstream):
    """Forty films without a key, over two workers, while one call in five to the store loses its reply or never comes."""
    gateway = faulty_gateway(tmp_path, workers=2)
    try:
        gateway.apply(film("f"), maker("c", upstream.at("lossy"), {"f": "f"}))
        gateway.start()
        client = gateway.client("told", "20")
        assert post(gateway, client, query="?quote=1")[0] == 200
        fail(gateway, {"*": "lossy"})

        def ask(number):
            status, _, told = call(f"{gateway.url}{PATH}", client.key, {**FILM, "model": "f", "prompt": str(number)},
                                   timeout=90)
            return status, told.get("error", {}).get("code")

        with ThreadPoolExecutor(40) as threads:
            told = list(threads.map(ask, range(40)))
        fail(gateway, {})
        paid_u = settled(gateway, client)
        done = {works_kit.prompt_of(job) for job in jobs(gateway).values() if job.state == "done"}
        assert done == {str(number) for number, (status, _) in enumerate(told) if status in (200, 202)}, told
        assert {row for row in told if row[0] not in (200, 202)} <= {(503, "store_away")}
        assert len(done) > 20
        assert paid_u == len(done) * COST_U
        assert sorted(made["prompt"] for made in upstream.made() if made["at"] == "lossy") == sorted(done)
        gateway.stop()
        code, text = gateway.reconcile()
        assert code == 0, text
    finally:
        gateway.close()
