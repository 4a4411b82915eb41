"""Which processes share the limits: each says every second that it lives and for which limits its calls wait, and hears
how many live, what the others wait for, and its part of what lies with the processes (see beat.lua)."""

import secrets
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from redis.asyncio import Redis

BEAT = (Path(__file__).parent / "beat.lua").read_text(encoding="utf-8")
PARTS = 1_000_000              # all parts together
DEAD_MS = 6_000                # then the part of a silent process is for the others
LEASE_US = 5_000_000           # and so long it counts on it, less by what its clock and Redis' may differ
YOUNG_MS = 2_000               # by then every process has told a new Redis its part
WAITS_MS = 2_500               # how long it is known that calls wait: two beats
KEEP_US = 30_000_000           # a count that falls is believed late: Redis may have lost its list


class Nodes:
    """`count` is the largest number of live processes heard of lately, or `least` before there was any answer. `part` of
    PARTS is in use, for LEASE_US from the last beat; `granted` is what it may become, at once where that is less, by
    `grow` where it is more; `held` is what no other process gets, until `give_up`. `epoch` is a word that stands in Redis
    as long as it keeps what it is told: another one after a restart. `waited_for` are the keys of limits
    that calls of other processes wait for, a thousand at most."""

    def __init__(self, redis: Redis, prefix: str, node: str, least: int, now):
        self._redis, self._node, self._now = redis, node, now
        self.epoch_key, self.used_key = f"{prefix}:epoch", f"{prefix}:used"
        self._keys = f"{prefix}:nodes", f"{prefix}:parts", self.epoch_key, f"{prefix}:waits", self.used_key
        self.epoch = ""
        self.waited_for: frozenset[str] = frozenset()
        self._heard: deque[tuple[int, int]] = deque()          # (when, how many), the largest first
        self._beat_us = 0
        self.count, self.part, self.granted, self.held = least, 0, 0, 0

    def due_s(self, every_s: float) -> float:
        """Seconds until the next of these beats."""
        return max(self._beat_us + every_s * 1_000_000 - self._now(), 0) / 1_000_000

    def part_at(self, now: int) -> int:
        """0 when the others may think us dead."""
        return self.part if now - self._beat_us < LEASE_US else 0

    @property
    def settled(self) -> bool:
        """Whether we may have as large a part as any."""
        return self.granted >= PARTS // self.count

    @property
    def shrunk(self) -> bool:
        return self.held > self.granted

    @property
    def grown(self) -> bool:
        return self.granted > self.part

    async def beat(self, waiting: Sequence[str] = ()) -> None:
        """Say that we live, and which limits our calls wait for; renew what we know of the others."""
        sent, least = self._now(), self.count if self._heard else 0
        answer = await self._redis.eval(BEAT, len(self._keys), *self._keys, self._node, DEAD_MS, self.held, least, PARTS,
                                        YOUNG_MS, secrets.token_hex(8), WAITS_MS, *waiting)
        match answer:
            case [int() as granted, int() as lost, int() as count, bytes() as epoch, list() as waits] \
                    if count > 0 and 0 <= granted <= PARTS and all(type(word) is bytes for word in waits):
                self.epoch = epoch.decode("ascii", "replace")
                told = (word.decode("utf-8", "replace").partition(" ") for word in waits)
                self.waited_for = frozenset(key for node, _, key in told if node != self._node)
            case _:
                raise ValueError(f"Redis gave {str(answer)[:200]!r} for a beat")
        if self._heard and sent - self._beat_us > LEASE_US:
            self._heard = deque([(sent, self.count)])          # we were away, and so may the others be who come back
        while self._heard and self._heard[-1][1] <= count:
            self._heard.pop()
        self._heard.append((sent, count))
        while sent - self._heard[0][0] > KEEP_US:
            self._heard.popleft()
        self.count = self._heard[0][1]
        self._beat_us, self.granted = sent, granted
        self.part, self.held = min(self.part, granted), 0 if lost else max(self.held, granted)

    def grow(self) -> None:
        self.part = self.granted

    async def give_up(self, rest: int) -> None:
        """What we held beyond `rest` is for another."""
        self.held = rest
        await self.beat()

    async def leave(self) -> None:
        await self._redis.pipeline(transaction=False).zrem(self._keys[0], self._node).hdel(
            self._keys[1], self._node).execute()
