"""The real parts that many rooms' tests share."""

import pytest

from smartoken.testing.process import UpstreamProcess


@pytest.fixture(scope="session")
def upstream_process(tmp_path_factory):
    """A pretend upstream in a process of its own, with its books on file."""
    upstream = UpstreamProcess(tmp_path_factory.mktemp("upstream") / "sent.jsonl")
    yield upstream
    upstream.stop()
