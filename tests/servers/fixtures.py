"""Fixtures: one server of each kind for the whole run; every test gets a database or a prefix of its own."""

import os
import uuid

import pytest

from tests.servers import URLS, Missing, required, running


def _server(kind, folder):
    if url := os.environ.get(URLS.get(kind, "")):
        yield url.rstrip("/")
        return
    try:
        with running(kind, folder) as server:
            yield server.url
    except Missing as missing:
        (pytest.fail if required(kind) else pytest.skip)(str(missing))


@pytest.fixture(scope="session", params=["mongo", "indexed"])
def mongo_server(request, tmp_path_factory):
    """The URL of each MongoDB-wire server in turn, without a database."""
    yield from _server(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def mongo_url(mongo_server):
    """The URL of an empty database."""
    return f"{mongo_server}/t{uuid.uuid4().hex[:16]}"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """The URL of a Redis server."""
    yield from _server("redis", tmp_path_factory.mktemp("redis"))


@pytest.fixture
def redis_url(redis_server):
    """The URL of a Redis server with a key prefix that nobody else uses."""
    return f"{redis_server}/0?prefix=t{uuid.uuid4().hex[:12]}"
