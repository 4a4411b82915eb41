"""What one process may spend of one limit: pure arithmetic in microseconds of that limit, no clock and no Redis.

A limit's burst is divided: half of it (`reserve`) lies with the live processes in parts from the start, so that the
first requests wait for nobody; the rest (`pool`) and everything that time brings is in Redis, and a process fetches
pieces of it ahead of need. A part that grows is fetched too; one that shrinks is lost, since another process has it.
What is spent is fetched anew before it counts as there again, so all together never spend more than one limiter would
let through. (One exception, since a request may be larger than the pool: see `asking`.)

A call larger than the reserve cannot be granted before it was fetched, so the largest of the last KEEP_US is held ready.
What is held beyond the reserve must not add to a pool that fills up meanwhile: a piece that was taken while Redis was
`ahead` of now would have been whole again after so long, and is void then (`sound`), but for SOUND_US, in which it is
taken anew.

Without Redis each of N processes lets 1/N of the limit through, beginning with nothing at the moment Redis was lost.
What it lets through is owed to Redis (`owed`), so that those who see it again do not find that time unspent.
"""

from smartoken_plugins.redis.gcra import Taking

AHEAD = 4                      # fetch as much as the last AHEAD rounds spent
KEEP_US = 60_000_000           # how long a call is remembered, from the moment at which it may pass
SOUND_US = 1_500_000           # more than a beat and its exchange


class Quota:
    """`have` may be spent now, as far as `usable`; what is beyond the reserve at `sound` at the latest. `spent` since the
    last fetch; `large` is the largest call until `kept`; `least` and `largest` are the smallest and the largest that were
    refused, until `patient`, and `due` is when to ask for them again, 0 for not; `owed` and `back` correct what Redis
    knows; `share_tat` is the GCRA of the time without Redis, 0 when unused; `ahead` is how far Redis was from whole at
    `seen`."""

    __slots__ = ("ahead", "back", "burst", "due", "have", "kept", "key", "large", "largest", "least", "limit", "owed",
                 "patient", "reserve", "seen", "share_tat", "sound", "spent", "used")

    def __init__(self, key: str, limit: int, burst: int, reserve: int, now: int):
        self.key, self.limit, self.burst, self.reserve, self.have = key, limit, burst, reserve, reserve
        self.spent = self.owed = self.back = self.ahead = self.share_tat = 0
        self.large = self.least = self.largest = self.due = 0
        self.seen = self.used = self.sound = self.kept = self.patient = now

    @property
    def pool(self) -> int:
        return self.burst - self.burst // 2

    def begin(self, ahead: int, now: int) -> None:
        """Redis was so far `ahead` when we got our part. Further than the pool: then that is spent, and must be fetched."""
        self.ahead, self.seen = ahead, now
        if ahead > self.pool:
            self.have = 0

    def ahead_at(self, now: int) -> int:
        """How far Redis is from whole, as far as we know."""
        return max(self.ahead - (now - self.seen), 0)

    def free_at(self, now: int) -> int:
        """What all processes together may still take of the burst, supposing that the others have as much as we."""
        mine = self.usable(now) + max(self.pool - self.ahead_at(now) - self.owed, 0)
        return mine * self.burst // (self.reserve + self.pool)

    # -- with Redis

    def usable(self, now: int) -> int:
        """What there is, without what has become void; that is forgotten."""
        if self.have > self.reserve:
            self.have = min(self.have, self.reserve + max(self.sound - now, 0))
        return self.have

    def wait(self, missing: int, now: int) -> int:
        """Microseconds until Redis can give what is missing."""
        room = self.pool if missing <= self.pool else self.burst
        return self.ahead_at(now) + missing - room

    def called(self, total: int, now: int, wait: int = 0) -> None:
        """A call wanted `total`, and may pass after `wait`."""
        if total >= self.large or now >= self.kept:
            self.large, self.kept = total, now + wait + KEEP_US

    def refused(self, total: int, now: int, wait: int) -> None:
        """A call found too little, and may pass after `wait`."""
        self.called(total, now, max(wait, 0))
        self.least, self.largest = min(self.least or total, total), max(self.largest, total)
        self.patient = max(self.patient, now + max(wait, 0) + KEEP_US)

    def waits(self, now: int) -> bool:
        """Whether a call that was refused may still come again."""
        return bool(self.least) and now < self.patient

    def held(self, now: int) -> int:
        """What to have even when nothing was spent lately."""
        return max(self.reserve, self.large if now < self.kept else 0)

    def let_go(self, now: int) -> None:
        """Others wait: hold nothing beyond the reserve until a large call comes again."""
        self.kept = now

    def holds(self, now: int) -> bool:
        """Whether that is more than the reserve, and has to be taken anew from time to time."""
        return self.held(now) > self.reserve

    def divide(self, reserve: int, now: int) -> None:
        """Our part is `reserve` now. What we had no more when it shrank is owed."""
        lost, have = max(self.reserve - reserve, 0), self.usable(now)
        self.reserve = reserve
        self.owed += max(lost - have, 0)
        self.have = max(have - lost, 0)

    def asking(self, reserve: int, now: int) -> Taking | None:
        """What to ask of Redis now, None for nothing; `reserve` is our part. Takes the corrections out; `refund_failed`
        puts them back.

        The smallest call that waits is asked for whole or not at all: pieces that lie with every process, and would
        become void there, help nobody. One larger than the pool is asked for from the whole burst: then up to a reserve
        too much may pass, once per burst.
        """
        self.divide(reserve, now)
        have = self.usable(now)
        if not self.waits(now):
            self.least = self.largest = 0
        whole, beyond = max(self.least - have, 0), self.held(now) - self.reserve
        stale = beyond + SOUND_US - max(self.sound - now, 0) if beyond else 0
        most, shift = max(self._target(now) - have, min(stale, beyond), 0), self.owed - self.back
        if not most and not shift:
            return None
        self.owed = self.back = 0
        large = (whole or beyond) > self.pool
        return Taking(self.key, shift, most, whole, self.burst if large else self.pool, pool=self.pool)

    def correction(self, floor: int = 0) -> Taking:
        """The corrections alone; `floor` is how far from whole Redis must be, should it have forgotten."""
        shift, self.owed, self.back = self.owed - self.back, 0, 0
        return Taking(self.key, shift, 0, 0, self.pool, floor, self.pool)

    def given(self, taken: int, ahead: int, now: int) -> None:
        """`taken` came, and Redis is `ahead` of now. What came to renew what we hold takes its place."""
        had = self.usable(now)
        fresh = now + ahead + SOUND_US
        self.have = max(min(had + taken, self._target(now)), had)
        self.sound = min(self.sound + taken, fresh) if had > self.reserve else fresh
        self.ahead, self.seen = ahead, now
        self.spent = 0
        if self.have >= self.least:            # and now for the others
            self.least = self.largest if self.have < self.largest else 0
            self.largest = self.least

    def refund_failed(self, shift: int) -> None:
        """No answer came. What was owed may have arrived, and is said once more all the same; what was to come back
        may have come, and is not."""
        if shift > 0:
            self.owed += shift

    def give_back(self, now: int, leaving: bool = False) -> None:
        """What an idle process should not sit on. Who leaves owes what it spent of its part: another will have that."""
        more = self.usable(now) - self.reserve
        if more > 0:
            self.back += more
            self.have -= more
        elif leaving:
            self.owed -= more
            self.have = self.reserve

    def _target(self, now: int) -> int:
        return max(self.held(now), AHEAD * self.spent, self.largest)

    # -- without

    def share_wait(self, missing: int, now: int, since: int, processes: int) -> int:
        """Microseconds until our share has what is missing; 0 or less: now."""
        tat = max(self.share_tat or since + self.burst, now)
        return tat + missing * processes - now - self.burst

    def share_take(self, missing: int, now: int, since: int, processes: int) -> None:
        self.share_tat = max(self.share_tat or since + self.burst, now) + missing * processes
        # More than the pool would close the limit for longer than the outage has opened it.
        self.owed = min(self.owed + missing, max(self.pool // processes, missing))

    def share_end(self) -> None:
        self.share_tat = 0

    def share_back(self, amount: int, now: int, processes: int) -> None:
        if self.share_tat:
            self.share_tat = max(self.share_tat - amount * processes, now)
