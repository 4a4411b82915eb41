"""The Limiter on Redis. `take` decides from what this process has (quota.py); a task fetches more (rounds.py)."""

from collections import deque
from collections.abc import Sequence

from smartoken_plugins.redis.gcra import MINUTE_US, cost_us
from smartoken_plugins.redis.link import address
from smartoken_plugins.redis.quota import Quota
from smartoken_plugins.redis.rounds import ALONE_US, Rounds
from smartoken_plugins.redis.waits import ROUND_US

from smartoken.plugin import Clock, SystemClock, Want

FORGET_US = 60_000_000
MAX_KEYS = 1_000_000


def open_redis(url: str) -> "RedisLimiter":
    """The limiter for redis:// and rediss://, not connected yet; see link.address for our options in the URL."""
    return RedisLimiter(url, SystemClock())


class RedisLimiter:
    """The Limiter port. `alone` says whether Redis counts as lost; `processes` how many share a limit."""

    def __init__(self, url: str, clock: Clock, max_keys: int = MAX_KEYS, alone_us: int = ALONE_US):
        self._now, self._max_keys = clock.mono_us, max_keys
        self.rounds = Rounds(address(url), clock.mono_us, alone_us)
        self._quotas = self.rounds.quotas
        self._queue: deque[str] = deque()              # every key of _quotas once: the order of looking at them

    # -- the port

    def take(self, wants: Sequence[Want]) -> tuple[Want, int] | None:
        now = self._now()
        need: dict[str, int] = {}
        refused: tuple[Want, int] | None = None
        for want in wants:
            quota = self._quota(want, now)
            need[want.key] = total = need.get(want.key, 0) + cost_us(want.limit, want.cost)
            missing = total - quota.usable(now)
            if missing <= 0:
                continue
            if self.alone:
                wait = quota.share_wait(missing, now, self.rounds.since, self.processes)
                if wait <= 0:
                    continue
            else:
                wait = max(quota.wait(missing, now), 0)
                quota.refused(total, now, wait)
                self.rounds.used(quota, now)
                self.rounds.refused(quota, now + wait, hurry=not wait)
                wait += ROUND_US
            if refused is None or wait > refused[1]:
                refused = want, wait
        if refused is None:
            for key, total in need.items():
                self._spend(self._quotas[key], total, now)
        return refused

    def correct(self, want: Want, actual: int) -> None:
        now = self._now()
        quota = self._quota(want, now)
        more = cost_us(want.limit, actual) - cost_us(want.limit, want.cost)
        if more > 0:
            quota.owed += more
            if self.alone:
                quota.share_back(-more, now, self.processes)
        elif more < 0:
            kept = min(quota.owed, -more)
            quota.owed -= kept
            quota.back += -more - kept
            if self.alone:
                quota.share_back(-more, now, self.processes)
        if more:
            self.rounds.ask(quota)

    def left(self, want: Want) -> tuple[int, int]:
        now = self._now()
        quota = self._quotas.get(want.key)
        burst = want.burst_s * 1_000_000
        if quota is None:
            free = burst
        elif self.alone:
            free = quota.usable(now) + max(-quota.share_wait(0, now, self.rounds.since, self.processes), 0) // self.processes
        else:
            free = quota.free_at(now)
        free = max(min(free, burst), 0)
        return free * want.limit // MINUTE_US, burst - free

    async def open(self) -> None:
        await self.rounds.open()

    async def close(self) -> None:
        await self.rounds.close()

    @property
    def alone(self) -> bool:
        return self.rounds.alone

    @property
    def processes(self) -> int:
        return self.rounds.nodes.count

    def __len__(self) -> int:
        return len(self._quotas)

    # -- what take does

    def _quota(self, want: Want, now: int) -> Quota:
        quota, burst = self._quotas.get(want.key), want.burst_s * 1_000_000
        if quota is None:
            self._forget(now)
            self._queue.append(want.key)
            return self.rounds.begin(want.key, want.limit, burst, now)
        if quota.limit != want.limit or quota.burst != burst:
            quota.limit, quota.burst = want.limit, burst       # the operator changed it; microseconds stay what they are
            quota.large = quota.least = quota.largest = 0      # but calls of the old limit may never fit the new one
        reserve = self.rounds.reserve(burst, now)
        if quota.reserve != reserve:
            quota.divide(reserve, now)
        return quota

    def _spend(self, quota: Quota, total: int, now: int) -> None:
        own = min(quota.have, total)
        quota.have -= own
        quota.spent += own
        quota.called(total, now)
        if total > own:
            quota.share_take(total - own, now, self.rounds.since, self.rounds.nodes.count)
        self.rounds.used(quota, now)
        self.rounds.ask(quota)

    def _forget(self, now: int) -> None:
        """Look at two keys for each one that comes, so that dead ones cannot pile up. One is dead when a new one in its
        place could do no more than it."""
        for _ in range(min(2, len(self._queue))):
            key = self._queue.popleft()
            quota = self._quotas[key]
            idle = now - quota.used > FORGET_US and not self.alone
            whole = quota.have >= self.rounds.reserve(quota.burst, now) and not quota.owed
            if (idle and whole) or len(self._quotas) >= self._max_keys:
                del self._quotas[key]
                continue
            self._queue.append(key)
            if idle:
                self.rounds.ask(quota)
