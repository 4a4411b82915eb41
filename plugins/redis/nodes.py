"""Which processes share the limits: each says every second that it lives and for which limits its calls wait, and hears
how many live and what the others wait for."""

import secrets
from collections import deque
from collections.abc import Sequence

from redis.asyncio import Redis

BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if not redis.call('GET', KEYS[2]) then redis.call('SET', KEYS[2], ARGV[3]) end
for i = 5, #ARGV do redis.call('ZADD', KEYS[3], now, ARGV[1] .. ' ' .. ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[4])
if #ARGV > 4 then redis.call('PEXPIRE', KEYS[3], ARGV[4]) end
return {redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('ZRANGE', KEYS[3], 0, 999)}
"""
DEAD_MS = 10_000
WAITS_MS = 2_500               # how long it is known that calls wait: two beats
KEEP_US = 30_000_000           # a count that falls is believed late: Redis may have lost its list
JOIN_US = 1_200_000            # by then every neighbour's beat has counted us


class Nodes:
    """`count` is the largest number of live processes heard of lately, or `least` before there was any answer. `epoch`
    is a word that stands in Redis as long as it keeps what it is told: another one after a restart without a disk.
    `waited_for` are the keys of limits that calls of other processes wait for, a thousand at most."""

    def __init__(self, redis: Redis, prefix: str, node: str, least: int, now):
        self._redis, self._node, self._now = redis, node, now
        self._key, self.epoch_key, self._waits_key = f"{prefix}:nodes", f"{prefix}:epoch", f"{prefix}:waits"
        self.epoch = ""
        self.waited_for: frozenset[str] = frozenset()
        self._heard: deque[tuple[int, int]] = deque()          # (when, how many), the largest first
        self._beat_us = self._joined_us = 0
        self.count = least

    def due(self, every_s: float) -> bool:
        return self._now() - self._beat_us >= every_s * 1_000_000

    def join_s(self) -> float:
        """Seconds until all others know of us; they count from the first beat that reached Redis."""
        return max(self._joined_us + JOIN_US - self._now(), 0) / 1_000_000

    def known_to_others(self) -> bool:
        return bool(self._joined_us) and self._now() - self._joined_us >= JOIN_US

    async def beat(self, waiting: Sequence[str] = ()) -> None:
        """Say that we live, and which limits our calls wait for; renew what we know of the others."""
        answer = await self._redis.eval(BEAT, 3, self._key, self.epoch_key, self._waits_key, self._node, DEAD_MS,
                                        secrets.token_hex(8), WAITS_MS, *waiting)
        match answer:
            case [int() as count, bytes() as epoch, list() as waits] if count > 0 and all(type(x) is bytes for x in waits):
                self.epoch = epoch.decode("ascii", "replace")
                told = (word.decode("utf-8", "replace").partition(" ") for word in waits)
                self.waited_for = frozenset(key for node, _, key in told if node != self._node)
            case _:
                raise ValueError(f"Redis gave {str(answer)[:200]!r} for the number of processes")
        now = self._now()
        self._beat_us = now
        self._joined_us = self._joined_us or now
        while self._heard and (self._heard[-1][1] <= count):
            self._heard.pop()
        self._heard.append((now, count))
        while now - self._heard[0][0] > KEEP_US:
            self._heard.popleft()
        self.count = self._heard[0][1]

    async def leave(self) -> None:
        await self._redis.zrem(self._key, self._node)
