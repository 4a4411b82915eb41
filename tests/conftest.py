"""The real parts that many rooms' tests share."""

import pytest

from smartoken.testing.process import UpstreamProcess
from tests.servers.fixtures import mongo_server, mongo_url, redis_server, redis_url  # noqa: F401


@pytest.fixture(scope="session")
def upstream_process(tmp_path_factory):
    """A pretend upstream in a process of its own, with its books on file."""
    upstream = UpstreamProcess(tmp_path_factory.mktemp("upstream") / "sent.jsonl")
    yield upstream
    upstream.stop()
