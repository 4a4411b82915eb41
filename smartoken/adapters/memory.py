"""Limits in this process's memory: GCRA with integer microseconds, one number for each limit and no timers.

A limit's number is its `tat`, the moment at which it is whole again. Taking `cost` of `limit` a minute moves it on by
ceil(cost * 60 s / limit) from now at the earliest, and is allowed while it stays within `burst_s` of now. So a number
at or before now says nothing, and is forgotten: a few are looked at whenever a new key comes.
"""

from collections import deque
from collections.abc import Sequence

from smartoken.adapters.clock import SystemClock
from smartoken.errors import ConfigError
from smartoken.ports import Clock, Want

MINUTE_US = 60_000_000
MAX_KEYS = 1_000_000  # about 200 MB; beyond it the key looked at longest ago is forgotten, at worst one extra burst


def open_memory(url: str) -> "MemoryLimiter":
    """The limiter for memory://."""
    if url != "memory://":
        raise ConfigError(f"'limiter.url': write memory:// and nothing after it, not {url!r}")
    return MemoryLimiter(SystemClock())


class MemoryLimiter:
    """The Limiter port. Limits are at least 1 a minute: who has no limit passes no Want.

    A cost above the whole burst never passes; admission refuses it before, with the number.
    """

    def __init__(self, clock: Clock, max_keys: int = MAX_KEYS):
        self._now = clock.mono_us
        self._max_keys = max_keys
        self._tat: dict[str, int] = {}
        self._queue: deque[str] = deque()  # every key of _tat once: the order in which they are looked at

    def __len__(self) -> int:
        return len(self._tat)

    def take(self, wants: Sequence[Want]) -> tuple[Want, int] | None:
        now = self._now()
        after: dict[str, int] = {}
        refused: tuple[Want, int] | None = None
        for want in wants:
            tat = after.get(want.key) or self._tat.get(want.key, now)
            tat = (tat if tat > now else now) + _us(want, want.cost)
            wait = tat - now - want.burst_s * 1_000_000
            if wait > 0 and (refused is None or wait > refused[1]):
                refused = want, wait
            after[want.key] = tat
        if refused is None:
            for key, tat in after.items():
                self._put(key, tat, now)
        return refused

    def correct(self, want: Want, actual: int) -> None:
        now = self._now()
        tat = max(self._tat.get(want.key, now), now) + _us(want, actual) - _us(want, want.cost)
        if tat > now:
            self._put(want.key, tat, now)
        elif want.key in self._tat:
            self._tat[want.key] = now  # stays until its turn in the queue

    def left(self, want: Want) -> tuple[int, int]:
        now = self._now()
        used_us = max(self._tat.get(want.key, now) - now, 0)
        return max((want.burst_s * 1_000_000 - used_us) * want.limit // MINUTE_US, 0), used_us

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to disconnect from."""

    def _put(self, key: str, tat: int, now: int) -> None:
        if key not in self._tat:
            self._forget(now)
            self._queue.append(key)
        self._tat[key] = tat

    def _forget(self, now: int) -> None:
        """Look at two keys for each one that comes, so that dead ones cannot pile up."""
        for _ in range(min(2, len(self._queue))):
            key = self._queue.popleft()
            if self._tat[key] <= now or len(self._tat) >= self._max_keys:
                del self._tat[key]
            else:
                self._queue.append(key)


def _us(want: Want, cost: int) -> int:
    """Microseconds that a cost takes of a limit, rounded up."""
    return -(-cost * MINUTE_US // want.limit)
