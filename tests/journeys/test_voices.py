"""The price of cloning a voice: set aside before the call, charged once when the voice exists, and never otherwise."""

import csv

import httpx
import pytest

from tests.harness import Gateway, until
from tests.journeys import voices as kit
from tests.journeys import works_kit
from tests.journeys.voices import VOICE_U, clone, cloner, speaker, voices

FAILS = {"v-400": ("400", 400), "v-500": ("500", 503), "v-reset": ("reset_before", 503), "v-html": ("html", 503),
         "v-429": ("429", 503)}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream_process):
    gateway = Gateway(tmp_path_factory.mktemp("voices"), workers=2)
    gateway.env["UPSTREAM_KEY"] = "sk-upstream"
    at = upstream_process.at
    gateway.apply(
        *(speaker(slug) for slug in ("v", "v-two", "v-late", "v-checked", *FAILS)), speaker("v-free", per_voice=False),
        cloner("c-v", at("c-v"), "v", "v-free"), cloner("c-late", at("c-late", "delay?delay_ms=1500"), "v-late"),
        cloner("c-two-1", at("c-two-1", "429"), "v-two", priority=0), cloner("c-two-2", at("c-two-2"), "v-two", priority=1),
        cloner("c-checked", f"{upstream_process.url}/compatible-mode/v1", "v-checked", provider="dashscope",
               bridges=["speech"]),
        *(cloner(f"c-{slug}", at(f"c-{slug}", play), slug) for slug, (play, _) in FAILS.items()))
    gateway.start()
    yield gateway
    try:
        until(lambda: works_kit.settled(gateway), "the end of all jobs")
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture
def client(gateway):
    return gateway.client("cloner", "10")


def spent_u(gateway, client) -> int:
    books = works_kit.balance(gateway, client)
    assert books.held_u == 0, "something is still set aside"
    return client.credit_u - books.balance_u


@pytest.mark.parametrize("model", ["v", "v-two", "v-checked"])
def test_a_voice_costs_its_price_once(gateway, client, model):
    status, headers, made = clone(gateway, client.key, model, query="?cost=1")
    assert (status, made["status"], made["usage"]) == (201, "ready", {"cost_micro_usd": VOICE_U})
    assert spent_u(gateway, client) == VOICE_U
    record = gateway.record(headers["x-request-id"])
    assert (record.usage.voices, record.cost_p, record.wire, record.status) == \
        (1, VOICE_U * 1_000_000, "openai.voices", "ok")
    names, line = csv.reader(gateway.run("usage", "export", "--account", client.acct).splitlines())
    sold = dict(zip(names, line, strict=True))
    assert (sold["voices"], sold["cost_p"]) == ("1", str(record.cost_p)), "what was paid for stands beside the cost"


def test_without_a_price_it_is_free(gateway):
    poor = gateway.client("nothing", "")
    status, headers, _ = clone(gateway, poor.key, "v-free")
    assert status == 201
    assert (gateway.record(headers["x-request-id"]).cost_p, spent_u(gateway, poor)) == (0, 0)


def test_it_can_be_quoted(gateway, client):
    got = httpx.post(f"{gateway.url}/v1/audio/voices?quote=1", files={"model": (None, "v")},
                     headers={"Authorization": f"Bearer {client.key}"})
    assert got.json() == {"object": "quote", "model": "v", "cost_micro_usd": VOICE_U}
    assert (spent_u(gateway, client), voices(gateway, client.key)) == (0, {})


def test_who_cannot_pay_is_refused_before_anything_is_sent(gateway, upstream_process):
    poor, before = gateway.client("poor", "1"), len(upstream_process.seen())
    status, _, answer = clone(gateway, poor.key, "v")
    assert (status, answer["error"]["type"]) == (402, "insufficient_balance")
    assert (len(upstream_process.seen()), voices(gateway, poor.key)) == (before, {})
    assert spent_u(gateway, poor) == 0


@pytest.mark.parametrize("model", FAILS)
def test_a_clone_that_fails_costs_nothing(gateway, client, model):
    status, headers, answer = clone(gateway, client.key, model, Idempotency_Key="once")
    assert status == FAILS[model][1], answer
    assert voices(gateway, client.key)["Mine"]["status"] == "failed"
    until(lambda: works_kit.settled(gateway), "the release")
    assert spent_u(gateway, client) == 0
    assert gateway.record(headers["x-request-id"]).cost_p == 0
    assert clone(gateway, client.key, model, Idempotency_Key="once")[0] == status, "the same key, the same end"


def test_the_same_key_is_the_same_voice(gateway, client):
    first = clone(gateway, client.key, "v", Idempotency_Key="one")[2]
    again = clone(gateway, client.key, "v", Idempotency_Key="one")
    assert (again[0], again[2]) == (201, first)
    status, _, answer = clone(gateway, client.key, "v", "Another", Idempotency_Key="one")
    assert (status, answer["error"]["code"]) == (409, "idempotency_key_reused")
    assert spent_u(gateway, client) == VOICE_U


def test_a_client_that_leaves_gets_what_it_paid_for(gateway, client):
    assert clone(gateway, client.key, "v-late", timeout=0.5)[0] == 0
    until(lambda: voices(gateway, client.key).get("Mine", {}).get("status") == "ready", "the voice")
    until(lambda: works_kit.settled(gateway), "the settlement")
    assert spent_u(gateway, client) == VOICE_U


def test_a_voice_in_the_making_is_not_deleted(gateway, client):
    assert clone(gateway, client.key, "v-late", timeout=0.5)[0] == 0
    made = until(lambda: voices(gateway, client.key).get("Mine"), "the voice")
    where, who = f"{gateway.url}/v1/audio/voices/{made['id']}", {"Authorization": f"Bearer {client.key}"}
    early = httpx.delete(where, headers=who)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "voice_processing")
    until(lambda: httpx.delete(where, headers=who).status_code == 200, "the deletion")
    until(lambda: works_kit.settled(gateway), "the settlement")
    assert (spent_u(gateway, client), voices(gateway, client.key)) == (VOICE_U, {})


def test_killed_workers_neither_double_nor_lose_one(tmp_path):
    ended = kit.run(tmp_path, count=14, kills=4)
    assert ended["done"] >= 5, ended
