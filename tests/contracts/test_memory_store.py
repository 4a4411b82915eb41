"""The store that interleaving tests run on is a store like any other."""

import asyncio
import random

import pytest

from smartoken.testing.memory_store import MemoryStore, tables
from smartoken.testing.store_suite import CHECKS, check


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.__name__)
def test_contract(one):
    database = tables()
    asyncio.run(check(one, lambda: MemoryStore(database, random.Random(1))))
