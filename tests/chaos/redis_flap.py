"""Limits hold while Redis flaps, hangs, forgets and lies: never more than the limit and one burst, and nobody waits.

Four limiters (a connection each, as four processes have) are asked as often as the machine can for limits that they
share, while a proxy in front of Redis goes up and down each half second in changing ways, and Redis itself is killed
and started anew. Every grant is noted; afterwards each window of time is compared with what GCRA allows in it.
"""

import asyncio
import random
import time

from smartoken_plugins.redis.limiter import open_redis

from smartoken.ports import Want
from smartoken.testing.proxy import FaultProxy
from tests.chaos.proof import Means, Proof
from tests.servers import Server

LIMITERS = 4
WANTS = (Want("acct:a:rpm", 60, 1, 60), Want("acct:b:rpm", 6_000, 1, 60), Want("acct:c:tpm", 1_000_000, 0, 60),
         Want("channel:d:rpm", 1_200, 1, 5))
WRONG_ANSWERS = (b"-ERR out of order\r\n", b"$5\r\nwrong\r\n", b":-1\r\n", b"*2\r\n:1\r\n:1\r\n",
                 b"HTTP/1.1 200 OK\r\n\r\n")


class Liar:
    """A server on a port of its own that answers whatever is sent with something else."""

    async def start(self, rng: random.Random) -> None:
        self._rng = rng
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _answer(self, reader, writer) -> None:
        try:
            while await reader.read(65536):
                writer.write(self._rng.choice(WRONG_ANSWERS) * 3)
        except OSError:
            writer.close()             # the client hung up on us, as it should
        finally:
            writer.close()

    async def stop(self) -> None:
        self._server.close()


def excess(grants: list[tuple[float, int]], limit: int) -> float:
    """The largest burst: over all windows, what was granted in it beyond `limit` a minute."""
    level = worst = 0.0
    before = grants[0][0] if grants else 0.0
    for at, cost in grants:
        level = max(level - (at - before) * limit / 60, 0) + cost
        before, worst = at, max(worst, level)
    return worst


class Crowd:
    """Asks all limiters for all limits until it is stopped, and notes every grant and how long each answer took."""

    def __init__(self, limiters, rng: random.Random):
        self._limiters, self._rng = limiters, rng
        self.grants: dict[str, list[tuple[float, int]]] = {want.key: [] for want in WANTS}
        self.took_ns: list[int] = []
        self.asked = 0

    async def run(self) -> None:
        while True:
            limiter, want = self._rng.choice(self._limiters), self._rng.choice(WANTS)
            if want.key == "acct:c:tpm":
                want = Want(want.key, want.limit, self._rng.choice((200, 3_000, 40_000)), want.burst_s)
            started = time.perf_counter_ns()
            refused = limiter.take((want,))
            self.took_ns.append(time.perf_counter_ns() - started)
            self.asked += 1
            if refused is None:
                self.grants[want.key].append((time.monotonic(), want.cost))
            # Half of the time quicker than any limit, else slower than most.
            await asyncio.sleep(0 if self._rng.random() < 0.9 else 0.01)


async def _flap(proxy: FaultProxy, liar: Liar, server: Server, rng: random.Random, seconds: float) -> int:
    """Half a second up, half a second down in some way; sometimes long enough up to come back. How often."""
    until, downs, real = time.monotonic() + seconds, 0, proxy.target_port
    while time.monotonic() < until:
        await asyncio.sleep(rng.choice((0.5, 0.5, 0.5, 7.0 if seconds > 60 else 0.5)))
        way = rng.choice(("refuse", "reset", "blackhole", "half_close", "slow", "lie", "restart"))
        if way == "slow":
            proxy.latency_s = 0.4
        elif way == "lie":
            proxy.target_port = liar.port
            await proxy.cut()
        elif way == "restart":
            await asyncio.to_thread(server.restart)
        else:
            proxy.mode = way
            await proxy.cut()
        await asyncio.sleep(0.5)
        proxy.mode, proxy.latency_s, proxy.target_port = "pass", 0.0, real
        await proxy.cut()
        downs += 1
    return downs


async def _run(means: Means, server: Server) -> Proof:
    rng = random.Random(means.seed)
    proxy, liar = FaultProxy("127.0.0.1", server.port, seed=means.seed), Liar()
    await proxy.start()
    await liar.start(rng)
    limiters = [open_redis(f"redis://127.0.0.1:{proxy.port}/0?processes={LIMITERS}") for _ in range(LIMITERS)]
    await asyncio.gather(*(limiter.open() for limiter in limiters))
    crowd = Crowd(limiters, random.Random(means.seed + 1))
    asking = asyncio.create_task(crowd.run())
    downs = await _flap(proxy, liar, server, rng, 600 if means.long else 6)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    for limiter in limiters:
        await limiter.close()
    await liar.stop()
    await proxy.stop()
    wrong, figures = 0, {}
    for want in WANTS:
        burst = want.limit * want.burst_s / 60
        share = excess(crowd.grants[want.key], want.limit) / burst
        wrong += share > 2 or not crowd.grants[want.key]
        figures[f"largest burst {want.key}"] = f"{share:.2f} of 2"
    took = sorted(crowd.took_ns)
    figures |= {"granted": sum(len(grants) for grants in crowd.grants.values()), "downs": downs,
                "went alone": sum(limiter.rounds.switches for limiter in limiters),
                "take p50 us": f"{took[len(took) // 2] / 1000:.1f}",
                "take p99 us": f"{took[len(took) * 99 // 100] / 1000:.1f}"}
    return Proof("answers", crowd.asked, wrong, figures)


def prove(means: Means) -> Proof:
    return asyncio.run(_run(means, means.server("redis")))
