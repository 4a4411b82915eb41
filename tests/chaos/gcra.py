"""The limiter in Lua decides as the one in memory, in every answer and every microsecond.

Both get the same random wants, corrections and steps of the clock. Each decision is compared whole: granted or not, who
refused, how long to wait, how far every limit is from whole.
"""

import asyncio
import random

from redis.asyncio import Redis
from smartoken_plugins.redis.gcra import SOURCE, Taking, cost_us, read, words

from smartoken.adapters.memory import MemoryLimiter
from smartoken.ports import Want
from tests.chaos.proof import Means, Proof

LIMITS = ((1, 60), (7, 60), (60, 60), (600, 5), (10_000, 60), (1_000_003, 60), (150_000_000, 5))
BATCH = 500


class HeldClock:
    us = 1_700_000_000_000_000

    def mono_us(self) -> int:
        return self.us

    def now_ms(self) -> int:
        return self.us // 1000


def _event(rng: random.Random):
    """('take', wants) | ('correct', want, actual), and the microseconds before it."""
    def want() -> Want:
        limit, burst_s = rng.choice(LIMITS)
        cost = rng.choice((0, 1, 1, rng.randint(0, 2 * limit), rng.randint(0, limit * burst_s // 60 + 1)))
        return Want(f"{limit}:{rng.randrange(3)}", limit, cost, burst_s)

    step = rng.choice((0, 0, rng.randrange(1000), rng.randrange(100_000), rng.randrange(5_000_000),
                       rng.choice((0, 3_600_000_000, 60_000_000))))
    if rng.random() < 0.25:
        one = want()
        return step, "correct", [one], rng.randint(0, 2 * one.cost + 2)
    return step, "take", [want() for _ in range(rng.choice((1, 1, 2, 3, 5)))], 0


async def _compare(url: str, seed: int, count: int) -> tuple[int, int, int]:
    """(decisions, differences, refusals)."""
    rng, clock = random.Random(seed), HeldClock()
    memory, redis = MemoryLimiter(clock), Redis.from_url(url, socket_timeout=30)
    digest = await redis.script_load(SOURCE)
    wrong = refusals = done = 0
    while done < count:
        pipe, expected = redis.pipeline(transaction=False), []
        for _ in range(min(BATCH, count - done)):
            step, kind, wants, actual = _event(rng)
            clock.us += step
            if kind == "take":
                refused = memory.take(wants)
                costs = [cost_us(want.limit, want.cost) for want in wants]
                takings = [Taking(want.key, 0, us, us, want.burst_s * 1_000_000)
                           for want, us in zip(wants, costs, strict=True)]
            else:
                want, refused = wants[0], None
                memory.correct(want, actual)
                shift = cost_us(want.limit, actual) - cost_us(want.limit, want.cost)
                takings = [Taking(want.key, shift, 0, -2**50, want.burst_s * 1_000_000)]
            ahead = tuple(memory.left(want)[1] for want in wants)
            expected.append((wants, refused, ahead))
            pipe.evalsha(digest, *words(takings, clock.us))
        for (wants, refused, ahead), answer in zip(expected, await pipe.execute(), strict=True):
            taken = read(answer, len(wants))
            said = None if taken.refused < 0 else (wants[taken.refused], taken.wait)
            wrong += said != refused or taken.ahead != ahead
            refusals += refused is not None
        done += len(expected)
    await redis.aclose()
    return done, wrong, refusals


def prove(means: Means) -> Proof:
    server = means.server("redis")
    done, wrong, refusals = asyncio.run(_compare(server.url, means.seed, 1_000_000 if means.long else 20_000))
    return Proof("decisions", done, wrong, {"refused": refusals})
