"""Which account owns a stored answer, and which channel keeps it: GET, DELETE and follow-ups go there and nowhere else.

Known here at once; written to the store behind the answer, so that every other process and a later start can read it.
A row is kept as long as OpenAI keeps its response. What cannot be written is remembered here only.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from typing import NamedTuple

from smartoken.engine import beside
from smartoken.errors import StoreAway
from smartoken.ports import Clock, Store

log = logging.getLogger("smartoken.answers")

COLLECTION = "answers"
IN_MEMORY = 50_000
WAITING = 10_000         # rows that wait for a store which is away; later ones are not written
KEPT_DAYS = 31
SWEPT_DAYS = 7           # how many days a gateway may be off and still clear away its old rows
DAY_MS = 86_400_000
AGAIN_S = (0.0, 0.1, 0.3, 0.6)  # another process writes its row within a moment: look again before saying no


class Origin(NamedTuple):
    """Who asked, which channel answered, and for which model."""

    acct: str
    channel: str
    slug: str


class Answers:
    """`note` and `find` are plain and quick; `fetch` asks the store."""

    def __init__(self, store: Store, clock: Clock):
        self._store, self._clock = store, clock
        self._known: OrderedDict[str, Origin] = OrderedDict()
        self._waiting: deque[tuple[str, Origin]] = deque()
        self._task: asyncio.Task | None = None
        self._swept_day = 0

    def note(self, id: str, acct: str, channel: str, slug: str) -> None:
        """An answer was begun."""
        origin = Origin(acct, channel, slug)
        self._remember(id, origin)
        if len(self._waiting) < WAITING:
            self._waiting.append((id, origin))
            if self._task is None or self._task.done():
                self._task = beside.start(self._write())

    def find(self, id: str) -> Origin | None:
        """From memory only."""
        return self._known.get(id)

    async def fetch(self, id: str) -> Origin | None:
        """From memory or the store, None when nobody here has made it. StoreAway when that cannot be told."""
        for wait_s in AGAIN_S:
            await asyncio.sleep(wait_s)
            found = self._known.get(id)
            if found is None and (doc := await self._store.get(COLLECTION, id)) is not None:
                found = Origin(doc["acct"], doc["channel"], doc["slug"])
                self._remember(id, found)
            if found is not None:
                return found
        return None

    async def close(self) -> None:
        """Write what waits; what the store does not take within two seconds is given up."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self._task

    def _remember(self, id: str, origin: Origin) -> None:
        self._known[id] = origin
        if len(self._known) > IN_MEMORY:
            self._known.popitem(last=False)

    async def _write(self) -> None:
        pause_s = 0.5
        while self._waiting:
            id, origin = self._waiting[0]
            day = self._clock.now_ms() // DAY_MS
            try:
                await self._store.insert(COLLECTION, {"_id": id, "rev": 1, "day": day, **origin._asdict()})
                self._waiting.popleft()
                await self._sweep(day)
            except StoreAway as error:
                log.warning("answers are not written for now, the store is away: %s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 30)

    async def _sweep(self, today: int) -> None:
        """Once a day: rows of the days before the first that is kept."""
        if self._swept_day == today:
            return
        self._swept_day = today
        for day in range(today - KEPT_DAYS - SWEPT_DAYS, today - KEPT_DAYS):
            while old := await self._store.find(COLLECTION, {"day": day}):
                for doc in old:
                    await self._store.remove(COLLECTION, doc["_id"], doc["rev"])
