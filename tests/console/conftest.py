"""One gateway with an owner for the quiet tests; those that change people start their own."""

import pytest

from tests.console.kit import Person, model
from tests.console.market_kit import open_market
from tests.harness import Gateway, until


@pytest.fixture(scope="session")
def console(tmp_path_factory, upstream_process):
    """A gateway of two workers on an empty store, with its first owner `ada` in `console.owner`."""
    gateway = Gateway(tmp_path_factory.mktemp("console"), workers=2)
    gateway.start()
    gateway.owner = Person(gateway).first_owner()
    channel = {"provider": "vllm", "base_url": upstream_process.at("well"), "wire_api": ["chat"],
               "models": {"m": "up-m"}}
    assert gateway.owner.api("PUT", "/channels/well", {"channel": channel, "rev": 0}).status_code == 200
    assert gateway.owner.api("PUT", "/models/m", {"model": model("m"), "rev": 0}).status_code == 200
    # The worker that is told knows at once, the other within a second; each connection may reach either.
    until(lambda: all(b'"m"' in gateway.get("/v1/models")[2] for _ in range(16)), "the model on both workers")
    yield gateway
    gateway.owner.close()
    try:
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture
def owner(console) -> Person:
    return console.owner


@pytest.fixture
def new_gateway(tmp_path):
    """A gateway of one's own on an empty store."""
    gateway = Gateway(tmp_path)
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def market(tmp_path_factory):
    """A gateway that sells something of every type and lets anybody sign up; see market_kit.py."""
    gateway = open_market(tmp_path_factory.mktemp("market"))
    yield gateway
    gateway.owner.close()
    try:
        gateway.check_books()
    finally:
        gateway.close()
