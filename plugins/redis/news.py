"""News of the catalog by pub/sub: whoever finds changes in the store first tells the others, who then ask the store.

A hint and nothing more: messages may be lost, and every process polls the store each second all the same.
"""

import asyncio
import contextlib
import logging
from typing import Any

from smartoken_plugins.redis.link import FAILURES, PATIENCE_S, address, connect, end

log = logging.getLogger("smartoken.catalog")

AGAIN_S = 1.0                  # between two tries to reach a Redis that is away


class CatalogNews:
    """`keeper` is a SnapshotKeeper. `heard` counts the messages that made it ask, `told` those sent; `listening` says
    whether messages arrive at present."""

    def __init__(self, url: str, keeper: Any):
        self._address, self._keeper = address(url), keeper
        self._channel = f"{self._address.prefix}:changes"
        self._known = 0                            # the newest change that anybody told of, or that we told
        self._tell, self._tasks = asyncio.Event(), set()
        self._found = 0
        self.heard = self.told = 0
        self.listening = False

    def open(self) -> None:
        self._keeper.listen(self._note)
        self._tasks = {asyncio.create_task(self._hear_for_ever()), asyncio.create_task(self._tell_for_ever())}

    async def close(self) -> None:
        await end(*self._tasks)

    async def _note(self, batch: Any) -> None:
        """Called by the keeper with what it found in the store."""
        if batch.changes and batch.seq > self._known:
            self._found = batch.seq
            self._tell.set()

    async def _tell_for_ever(self) -> None:
        redis = connect(self._address.url)
        async with contextlib.aclosing(redis):
            while True:
                await self._tell.wait()
                self._tell.clear()
                self._known = max(self._known, self._found)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await redis.publish(self._channel, self._found)
                    self.told += 1
                except FAILURES as error:
                    log.info("the others will find the change by themselves: %s", error)

    async def _hear_for_ever(self) -> None:
        away = False
        while True:
            try:
                await self._hear()
            except FAILURES as error:
                if not away:
                    log.warning("no news of the catalog from Redis, only what polling finds: %s", error)
                away = True
            self.listening = False
            await asyncio.sleep(AGAIN_S)

    async def _hear(self) -> None:
        redis = connect(self._address.url, patience_s=None)
        news = redis.pubsub()
        async with contextlib.aclosing(redis), contextlib.aclosing(news):
            await news.subscribe(self._channel)
            async for message in news.listen():
                if message["type"] == "subscribe":
                    self.listening = True
                    self._keeper.poke()            # for what was told while we did not listen
                elif message["data"].isdigit() and int(message["data"]) > self._known:
                    self._known = int(message["data"])
                    self.heard += 1
                    self._keeper.poke()
