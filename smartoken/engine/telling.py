"""Plugins hear of stored usage, each record at least once: what they have not heard of stays in the journal.

It goes on beside the shipping, one batch after the other; what is stored meanwhile makes one larger batch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from smartoken.domain.usage import UsageRecord
from smartoken.engine.beside import start

CLOSE_S = 5.0            # at the end of a process; what is not told by then is told at the next start

log = logging.getLogger(__name__)

Tell = Callable[[Sequence[UsageRecord]], Awaitable[None]]


class Teller:
    """`tell` is Host.usage; None when no plugin listens."""

    def __init__(self, tell: Tell | None):
        self._tell = tell
        self._waiting: list[tuple[Sequence[UsageRecord], Callable[[], object]]] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __call__(self, records: Sequence[UsageRecord], then: Callable[[], object]) -> None:
        """Tell of records that the store has, then call `then`: never, should this process end before."""
        if self._tell is None:
            then()
        elif not self._closed:
            self._waiting.append((records, then))
            if self._task is None:
                self._task = start(self._run())

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._tell([record for records, _ in batch for record in records])
            for _, then in batch:
                try:
                    then()
                except Exception:          # it is told again after the next start
                    log.exception("records that were told of stay in the journal")
        self._task = None

    async def close(self) -> None:
        """Wait for what is under way; the plugins hear of nothing any more after that."""
        task = self._task
        if task is not None and not (await asyncio.wait({task}, timeout=CLOSE_S))[0]:
            log.warning("plugins did not take the last usage within %s s; it is told at the next start", CLOSE_S)
            task.cancel()
            await asyncio.wait({task})
        self._closed = True
