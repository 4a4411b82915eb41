"""How well each model did of late, for the market: read at most once a minute, kept when the store is away."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartoken.domain.usage import UsageSum
from smartoken.engine import figures
from smartoken.errors import StoreAway

log = logging.getLogger("smartoken.market")

DAYS = 7
FRESH_US = 60_000_000
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Record:
    """Of one model: the calls of the last DAYS days and how many of them failed; the mean time of a whole answer; the
    quickest channel's time to the first byte as all processes see it now. 0 ms is not measured yet."""

    calls: int = 0
    failed: int = 0
    whole_ms: int = 0
    first_ms: int = 0

    @property
    def uptime(self) -> str:
        """'99.98 %'; '' when nothing was measured. Never rounded up to a hundred."""
        if not self.calls:
            return ""
        return "100 %" if not self.failed else f"{(self.calls - self.failed) * 10_000 // self.calls / 100:.2f} %"


NOTHING = Record()


class Measured:
    """One per process; `of` gives the records by slug."""

    def __init__(self, gateway: Any):
        self._gateway = gateway
        self._records: Mapping[str, Record] = {}
        self._read_us = -FRESH_US
        self._lock = asyncio.Lock()

    async def records(self) -> Mapping[str, Record]:
        """{slug: Record}, not much older than a minute."""
        if self._gateway.clock.mono_us() - self._read_us >= FRESH_US and not self._lock.locked():
            async with self._lock:
                try:
                    self._records = await self._read()
                except StoreAway as away:
                    log.info("the market shows what it knew, the store is away: %s", away)
                self._read_us = self._gateway.clock.mono_us()
        return self._records

    async def of(self, slug: str) -> Record:
        return (await self.records()).get(slug, NOTHING)

    async def _read(self) -> dict[str, Record]:
        gateway = self._gateway
        now_ms = gateway.clock.now_ms()
        sums = await gateway.store.usage_sums(("model",), since_day=now_ms // DAY_MS - DAYS + 1, limit=5000)
        first = first_ms(await figures.nodes(gateway.store, now_ms))
        by_slug = {one.model: one for one in sums}
        return {slug: _record(by_slug.get(slug, UsageSum()), first.get(slug, 0))
                for slug in by_slug.keys() | first.keys()}


def first_ms(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """{slug: the least time to a first byte that a process that is up measured on any channel}."""
    found: dict[str, int] = {}
    for node in nodes:
        for row in node["health"] if node["up"] else ():
            if row["first_ms"]:
                found[row["model"]] = min(row["first_ms"], found.get(row["model"], row["first_ms"]))
    return found


def _record(found: UsageSum, first: int) -> Record:
    return Record(found.calls, found.failed, found.total_ms // found.calls if found.calls else 0, first)
