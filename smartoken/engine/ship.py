"""Finished requests from the journal to the store: usage rows first, then what their leases spent, then the files go.

The order is the promise: a row that is in the store twice is there once, a spend is cumulative, and a file leaves the
disk only when the store has said yes to both and the plugins have been told. Whatever breaks in between is done again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from smartoken.domain.usage import UsageRecord
from smartoken.engine.frames import DoneFrame, read
from smartoken.engine.journal import Journal, Segment
from smartoken.engine.leases import Cut, Leases
from smartoken.errors import StoreAway
from smartoken.ports import Store

PERIOD_S = 2.0
ROWS = 500                     # in one write

log = logging.getLogger(__name__)


class Shipper:
    """`tell(records, then)` hears of every batch after it is safe, and calls `then` when its file may go: a batch whose
    telling a crash cuts short is told again by replay."""

    def __init__(self, journal: Journal, leases: Leases, store: Store,
                 tell: Callable[[Sequence[UsageRecord], Callable[[], object]], object] = lambda records, then: then()):
        self._journal, self._leases, self._store, self._tell = journal, leases, store, tell
        self._batch: tuple[Segment | None, list[Cut]] | None = None
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Ship until cancelled."""
        away = False
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.ship_once()
                if away:
                    log.info("the store is back, %s is shipped", self._journal.folder)
                away = False
            except StoreAway as error:
                if not away:
                    log.warning("the journal waits for the store: %s", error)
                away = True
            except Exception:              # a fault of ours or of an adapter: the batch stays and is tried again
                log.exception("shipping failed")

    async def ship_once(self) -> int:
        """Ship what was finished until now; gives the number of records. StoreAway: nothing is lost, try again."""
        async with self._turn:
            if self._batch is None:
                self._batch = self._take()
            if self._batch is None:
                return 0
            segment, cuts = self._batch
            records = await self._records(segment) if segment else []
            for start in range(0, len(records), ROWS):
                await self._store.put_usage(records[start:start + ROWS])
            await self._leases.flush(cuts)
            self._batch = None
            if segment:
                self._tell(records, partial(self._journal.remove, [segment]))
        return len(records)

    def _take(self) -> tuple[Segment | None, list[Cut]] | None:
        """A segment and what the leases had spent at its end: one moment, no await between."""
        segment = None
        if self._journal.segment.count:
            segment = self._journal.rotate(self._leases.spent())
            if segment is None:
                return None
        cuts = self._leases.cut()
        return (segment, cuts) if segment or cuts else None

    @staticmethod
    async def _records(segment: Segment) -> list[UsageRecord]:
        if segment.records is not None:
            return segment.records
        frames = await asyncio.to_thread(lambda: list(read(segment.path)))
        return [frame.record for frame in frames if isinstance(frame, DoneFrame)]

    async def drain(self) -> None:
        """Ship until there is nothing: at the end of a process, before Leases.close_all. StoreAway."""
        while await self.ship_once():
            pass
