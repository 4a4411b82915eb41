"""What one process may spend of one limit: pure arithmetic in microseconds of that limit, no clock and no Redis.

A limit's burst is divided: half of it (`reserve`) lies with the live processes in equal parts from the start, so that
the first requests wait for nobody; the rest (`pool`) and everything that time brings is in Redis, and a process fetches
pieces of it ahead of need. What is spent is fetched anew before it counts as there again, so all together never spend
more than one limiter would let through. (One exception, since a request may be larger than the pool: see `asking`.)

Without Redis each of N processes lets 1/N of the limit through, beginning with nothing at the moment Redis was lost.
What it lets through is owed to Redis (`owed`), so that those who see it again do not find that time unspent.
"""

from smartoken_plugins.redis.gcra import Taking

AHEAD = 4                      # fetch as much as the last AHEAD rounds spent


class Quota:
    """`have` may be spent now. `spent` since the last fetch; `short` is the largest want that found too little;
    `owed` and `back` correct what Redis knows; `share_tat` is the GCRA of the time without Redis, 0 when unused;
    `ahead` is how far Redis was from whole at `seen`."""

    __slots__ = ("ahead", "back", "burst", "have", "key", "limit", "owed", "reserve", "seen", "share_tat", "short",
                 "spent", "used")

    def __init__(self, key: str, limit: int, burst: int, reserve: int, now: int):
        self.key, self.limit, self.burst, self.reserve, self.have = key, limit, burst, reserve, reserve
        self.spent = self.short = self.owed = self.back = self.ahead = self.share_tat = 0
        self.seen = self.used = now

    @property
    def pool(self) -> int:
        return self.burst - self.burst // 2

    def ahead_at(self, now: int) -> int:
        """How far Redis is from whole, as far as we know."""
        return max(self.ahead - (now - self.seen), 0)

    def free_at(self, now: int) -> int:
        """What all processes together may still take of the burst, supposing that the others have as much as we."""
        mine = self.have + max(self.pool - self.ahead_at(now) - self.owed, 0)
        return mine * self.burst // (self.reserve + self.pool)

    # -- with Redis

    def wait(self, missing: int, now: int) -> int:
        """Microseconds until Redis can give what is missing."""
        room = self.pool if missing <= self.pool else self.burst
        return self.ahead_at(now) + missing - room

    def asking(self, reserve: int) -> Taking | None:
        """What to ask of Redis now, None for nothing; `reserve` is our part as things stand. Takes the corrections out;
        `refund_failed` puts them back.

        A want larger than the pool is asked for whole or not at all, and from the whole burst: then up to a reserve
        too much may pass, once per burst.
        """
        self.reserve = reserve
        target = max(reserve, AHEAD * self.spent, self.have + self.short)
        most, shift = max(target - self.have, 0), self.owed - self.back
        if not most and not shift:
            return None
        self.owed = self.back = 0
        whole = most if self.short > self.pool else 0
        return Taking(self.key, shift, most, whole, self.burst if whole else self.pool)

    def correction(self, floor: int = 0) -> Taking:
        """The corrections alone; `floor` is how far from whole Redis must be, should it have forgotten."""
        shift, self.owed, self.back = self.owed - self.back, 0, 0
        return Taking(self.key, shift, 0, 0, self.pool, floor)

    def given(self, taken: int, ahead: int, now: int) -> None:
        self.have += taken
        self.ahead, self.seen = ahead, now
        self.spent = self.short = 0

    def refund_failed(self, shift: int) -> None:
        """No answer came. What was owed may have arrived, and is said once more all the same; what was to come back
        may have come, and is not."""
        if shift > 0:
            self.owed += shift

    def surplus(self) -> int:
        """Take out what an idle process should not sit on, to be given back."""
        more = max(self.have - self.reserve, 0)
        self.have -= more
        return more

    # -- without

    def share_wait(self, missing: int, now: int, since: int, processes: int) -> int:
        """Microseconds until our share has what is missing; 0 or less: now."""
        tat = max(self.share_tat or since + self.burst, now)
        return tat + missing * processes - now - self.burst

    def share_take(self, missing: int, now: int, since: int, processes: int) -> None:
        self.share_tat = max(self.share_tat or since + self.burst, now) + missing * processes
        # More than the pool would close the limit for longer than the outage has opened it.
        self.owed = min(self.owed + missing, max(self.pool // processes, missing))

    def share_back(self, amount: int, now: int, processes: int) -> None:
        if self.share_tat:
            self.share_tat = max(self.share_tat - amount * processes, now)
