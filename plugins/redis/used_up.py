"""Which limits the others had used up when our part began or grew: what they spent of it, none can spend again."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis.asyncio import Redis

PAGE = 1000


class UsedUp:
    """How far limits, by their names in Redis, were ahead of now at `since`, in microseconds."""

    def __init__(self, ahead: Mapping[str, int], since: int):
        self._ahead, self._since = ahead, since
        self._until = since + max(ahead.values(), default=0)

    def ahead_at(self, name: str, now: int) -> int:
        if now >= self._until:
            self._ahead = {}                           # all have come back
        return max(self._ahead.get(name, 0) - (now - self._since), 0)


async def look(redis: Redis, key: str, now: Callable[[], int],
               exchange: Callable[[Awaitable[Any]], Awaitable[Any]]) -> UsedUp:
    """What Redis knows, which keeps those that are further ahead than their pool in a set of their own (gcra.lua)."""
    second, microsecond = await exchange(redis.time())
    since, time_us, cursor = now(), second * 1_000_000 + microsecond, -1
    ahead: dict[str, int] = {}
    while cursor:
        cursor, limits = await exchange(redis.zscan(key, max(cursor, 0), count=PAGE))
        ahead |= {name.decode("utf-8", "replace"): int(tat) - time_us for name, tat in limits if tat > time_us}
    return UsedUp(ahead, since)
