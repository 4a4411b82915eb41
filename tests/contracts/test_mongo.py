"""MongoDB's wire against the contract, on a real server, and what is the adapter's own."""

import asyncio

import pytest

from smartoken.errors import ConfigError, StoreAway
from smartoken.testing.store_suite import CHECKS, check, entry
from smartoken_plugins.mongo.store import open_mongo


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.__name__)
def test_contract(one, mongo_url):
    asyncio.run(check(one, lambda: open_mongo(mongo_url)))
