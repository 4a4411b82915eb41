"""Which limits the others had used up when this process started: a part of those is spent already, and no part of ours."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

PAGE = 1000
LOOK_US = 1_000_000            # longer is for a Redis full of other things; then any limit may be used up


class UsedUp:
    """What Redis knew at `since`; `until` then none of it matters any more. None of it known: every limit may be."""

    def __init__(self):
        self.since = self.until = 0
        self._ahead: dict[str, int] | None = {}

    async def look(self, redis: Redis, prefix: str, now: Callable[[], int],
                   exchange: Callable[[Awaitable[Any]], Awaitable[Any]]) -> None:
        """Read how far all limits are from whole, once our part is ours."""
        self.since, self._ahead = now(), None
        ahead: dict[str, int] = {}
        pattern, cursor = re.sub(r"([\\*?\[\]])", r"\\\1", prefix) + ":{*", 0
        while now() - self.since < LOOK_US:
            cursor, keys = await exchange(redis.scan(cursor, pattern, PAGE))
            if keys:
                (second, microsecond), tats = await exchange(
                    redis.pipeline(transaction=False).time().mget(keys).execute())
                ahead |= {key.decode("utf-8", "replace"): int(tat) - second * 1_000_000 - microsecond
                          for key, tat in zip(keys, tats, strict=True) if tat}
            if not cursor:
                self._ahead, self.until = ahead, self.since + max(ahead.values(), default=0)
                break

    def has(self, name: str, burst: int, now: int) -> bool:
        """Whether what we would have of a limit may have been spent, and not have come back since."""
        pool = burst - burst // 2
        if now - self.since >= pool:
            return False
        return self._ahead is None or self._ahead.get(name, 0) > pool

    def forget(self, now: int) -> None:
        if self._ahead and now >= self.until:
            self._ahead = {}
