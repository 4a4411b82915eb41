"""What an operator changes is live on every worker within 3 s: then every worker is asked, many times."""

import json
import time

import pytest

from tests.harness import Gateway, channel, model
from tests.journeys.conftest import SAY

LIVE_S = 3
ASKED = 24  # connections of their own in a row; the kernel spreads them over the workers


def ask(gateway: Gateway, key: str, slug: str = "m") -> int:
    """The status of a chat call on a new connection."""
    return gateway.post("/v1/chat/completions", {"model": slug, "messages": SAY, "max_tokens": 1}, key)[0]


def live(gateway: Gateway, key: str, status: int, slug: str = "m") -> bool:
    """Wait out the 3 s, then every answer on every worker must be the new one."""
    deadline = time.monotonic() + LIVE_S
    while time.monotonic() < deadline and {ask(gateway, key, slug) for _ in range(4)} != {status}:
        time.sleep(0.1)
    time.sleep(max(deadline - time.monotonic(), 0))
    return {ask(gateway, key, slug) for _ in range(ASKED)} == {status}


@pytest.fixture
def gateway(tmp_path, upstream_process):
    gateway = Gateway(tmp_path, workers=2)
    gateway.apply(model("m"), channel("c", upstream_process.at("changes"), {"m": "x"}))
    gateway.start()
    yield gateway
    gateway.close()


def test_a_revoked_key_is_refused_everywhere(gateway):
    client = gateway.client("leaver")
    assert {ask(gateway, client.key) for _ in range(ASKED)} == {200}
    gateway.run("key", "revoke", client.kid)
    assert live(gateway, client.key, 401)
    gateway.check_books(client)


def test_a_changed_catalog_is_live_everywhere(gateway, upstream_process):
    client = gateway.client("stayer")
    assert ask(gateway, client.key, "new") == 404
    both = channel("c", upstream_process.at("changes"), {"m": "x", "new": "y"})
    gateway.apply(model("m"), model("new"), both)
    assert live(gateway, client.key, 200, "new")
    listed = {found["id"] for found in json.loads(gateway.get("/v1/models")[2])["data"]}
    assert listed == {"m", "new"}
    gateway.check_books(client)


def test_a_new_price_charges_new_calls_only(gateway, upstream_process):
    client = gateway.client("payer")
    assert ask(gateway, client.key) == 200
    dear = model("m").replace("output_per_mtok = 1100000", "output_per_mtok = 2200000")
    gateway.apply(dear, channel("c", upstream_process.at("changes"), {"m": "x"}))
    deadline = time.monotonic() + LIVE_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
    assert ask(gateway, client.key) == 200
    first, last = gateway.check_books(client)
    assert last.cost_p - first.cost_p == 1_100_000 and first.price_rev != last.price_rev
