"""Clients for the proofs that need a whole gateway: many at once, each call remembered as its client saw it."""

import asyncio
import random
from collections.abc import Callable

import aiohttp

from smartoken.domain.usage import UsageRecord
from smartoken.testing.counts import Line
from tests.harness import PRICE, cost_of, token_cost_p
from tests.journeys import load


class Crowd:
    """`size` clients that call one of `urls()` at a time, as long as `run` lasts. `calls` are all of theirs."""

    def __init__(self, urls: Callable[[], list[str]], key: str, size: int, chance: random.Random,
                 body: Callable[[int], dict]):
        self._urls, self._key, self._size, self._chance, self._body = urls, key, size, chance, body
        self.calls: list[load.Call] = []
        self._number = 0

    async def run(self, during) -> None:
        """Until the coroutine `during` has ended; calls under way are then finished."""
        ended = asyncio.create_task(during)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._key}"},
                                         connector=aiohttp.TCPConnector(limit=self._size),
                                         timeout=aiohttp.ClientTimeout(total=60)) as http:
            await asyncio.gather(*(self._client(http, ended) for _ in range(self._size)))
        await ended

    async def _client(self, http: aiohttp.ClientSession, ended: asyncio.Task) -> None:
        await asyncio.sleep(self._chance.random())
        while not ended.done():
            self._number += 1
            call = await load.call(http, self._body(self._number), self._chance.choice(self._urls()))
            self.calls.append(call)
            if not call.status:
                await asyncio.sleep(0.05)      # nobody there at the moment


def mistakes(calls: list[load.Call], rows: list[UsageRecord], sent: dict[str, Line]) -> tuple[int, int, int]:
    """(calls whose charge is not what the client got and the upstream sent, whole ones, cut ones).

    Whole: charged exactly what the upstream counted. Cut: received <= charged <= sent. A call that no client heard of
    costs no more than what was sent beside all of these, and no call has two records or none.
    """
    records = {row.rid: row for row in rows}
    wrong, whole, cut = len(rows) - len(records), 0, 0
    heard = {call.upstream for call in calls if call.upstream}
    for call in calls:
        if not call.upstream:
            continue
        record, line = records.get(call.rid), sent[call.upstream]
        if record is None or record.cost_p != token_cost_p(PRICE, record.usage):
            wrong += 1
        elif call.whole:
            whole += 1
            wrong += record.cost_p != cost_of(line)
        else:
            cut += 1
            wrong += not call.got <= record.usage.output <= line.output
    known = sum(records[call.rid].usage.output for call in calls if call.upstream and call.rid in records)
    unheard = sum(line.output for line in sent.values() if line.id not in heard)
    wrong += not 0 <= sum(row.usage.output for row in rows) - known <= unheard
    return wrong, whole, cut
