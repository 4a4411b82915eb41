"""Limits with a call that was refused: when to ask Redis for them again, and which to name to the other processes."""

import heapq
from collections.abc import Mapping

from smartoken_plugins.redis.quota import Quota

ROUND_US = 50_000              # a round and its answer: by so much any wait we name is longer than what Redis needs
SLICE = 200                    # limits looked at between two turns of the event loop


class Waits:
    """`others` are limits for which Redis had too little: somebody may hold it."""

    def __init__(self):
        self._due: list[tuple[int, str]] = []      # a heap; an entry counts while it is its quota's `due`
        self.others: dict[str, Quota] = {}

    def ask_at(self, quota: Quota, at: int) -> None:
        """By what Redis said, there will be enough `at` that moment."""
        if not quota.due or at < quota.due - ROUND_US:
            quota.due = at
            heapq.heappush(self._due, (at, quota.key))

    def heard(self, quota: Quota, now: int) -> None:
        """Redis has answered."""
        if quota.least:
            self.others[quota.key] = quota
            self.ask_at(quota, now + max(quota.wait(quota.least - quota.usable(now), now), ROUND_US))

    def due_s(self, now: int, most: float) -> float:
        """Seconds until the next is due."""
        return min(max(self._due[0][0] - now, 0) / 1_000_000, most) if self._due else most

    def due(self, now: int, quotas: Mapping[str, Quota]) -> dict[str, Quota]:
        """Those to ask for now, a slice at most."""
        found = {}
        for _ in range(SLICE):
            if not self._due or self._due[0][0] > now:
                break
            at, key = heapq.heappop(self._due)
            quota = quotas.get(key)
            if quota is not None and quota.due == at:
                quota.due = 0
                if quota.least:
                    found[key] = quota
        return found

    def still(self, some: list[str], now: int) -> dict[str, Quota]:
        """Those of `some` others that still wait; the rest is forgotten."""
        still = {}
        for key in some:
            quota = self.others[key]
            if quota.waits(now):
                still[key] = quota
            else:
                del self.others[key]
        return still
