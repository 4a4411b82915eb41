"""Limits hold while the processes that share them start, stop, stand still and are killed on a machine without rest.

Real processes, each with a limiter on one Redis, ask as often as they can: for a limit that is always used up, for
limits that nobody has seen before, and for limits that come round again. Every grant is written down before the next;
afterwards each window of time is compared with what one limiter would have let through in it, and what README.md of the
plugin allows besides: 1.5 s' worth, and for each killed process its part of half a burst.
"""

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from smartoken_plugins.redis.limiter import open_redis

from smartoken.ports import Want
from tests.chaos.proof import Means, Proof
from tests.chaos.redis_flap import excess

LIMIT, BURST_S = 600, 60
NEW_S, ROUND = 1.5, 80                 # how long a limit is asked for; then it rests for two minutes before it comes again
ASKED = 10                             # calls of each limit between two turns of the loop
LEAST, MOST = 3, 6                     # processes
KILL_S = 20                            # from one kill to the next
NOTED = struct.Struct("<dq")           # when, which limit: -1 is always used up, even ones are new, odd ones come round
ALLOWED_S = 1.5
KILLED = 1 / (2 * LEAST)               # of a burst
LET_THROUGH = 0.5                      # of a burst, in NEW_S


def _limits() -> tuple[int, int, int]:
    now = int(time.monotonic() / NEW_S)
    return -1, 2 * now, 2 * (now % ROUND) + 1


async def _ask(url: str, file: str) -> None:
    """The child: until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    notes = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    limiter = open_redis(url)
    await limiter.open()
    while not ended.is_set():
        for number in _limits():
            for _ in range(ASKED):
                at = time.monotonic()
                if limiter.take((Want(f"acct:{number}:rpm", LIMIT, 1, BURST_S),)) is None:
                    os.write(notes, NOTED.pack(at, number))
        await asyncio.sleep(0.003)
    await limiter.close()


class Fleet:
    """The processes, and what was done to them."""

    def __init__(self, url: str, folder: Path, rng: random.Random):
        self._url, self._folder, self._rng = url, folder, rng
        self._live: list[subprocess.Popen] = []
        self._ended: list[subprocess.Popen] = []
        self._hogs: list[subprocess.Popen] = []
        self._stopped: tuple[float, subprocess.Popen] | None = None
        self._begun = time.monotonic()
        self.kills: list[float] = []
        self.done: dict[str, int] = defaultdict(int)

    def start(self) -> None:
        file = self._folder / f"grants-{len(self._live) + len(self._ended)}"
        self._live.append(subprocess.Popen([sys.executable, "-m", "tests.chaos.fleet", self._url, str(file)]))

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self.kills.append(time.monotonic())
        self._end(signal.SIGKILL)

    def stand_still(self) -> None:
        process = self._rng.choice(self._live)
        process.send_signal(signal.SIGSTOP)
        self._stopped = time.monotonic() + self._rng.choice((0.5, 2, 4, 5.5, 9)), process

    def hog(self) -> None:
        self._hogs.append(subprocess.Popen([sys.executable, "-c", "import time\nuntil = time.monotonic() + 4\n"
                                            "while time.monotonic() < until: pass"]))

    def _end(self, how: signal.Signals) -> None:
        process = self._live.pop(self._rng.randrange(len(self._live)))
        process.send_signal(how)
        self._ended.append(process)

    def turn(self) -> None:
        """One thing that may happen now."""
        now = time.monotonic()
        if self._stopped and now >= self._stopped[0]:
            self._stopped[1].send_signal(signal.SIGCONT)
            self._stopped = None
        able = {"start": len(self._live) < MOST, "stop": len(self._live) > LEAST and not self._stopped,
                "kill": len(self._live) > LEAST and not self._stopped and now - max(self.kills, default=self._begun) > KILL_S,
                "stand_still": not self._stopped, "hog": True}
        what = self._rng.choice([name for name, may in able.items() if may])
        getattr(self, what)()
        self.done[what] += 1

    def end(self) -> int:
        """How many ended otherwise than they were told to."""
        if self._stopped:
            self._stopped[1].send_signal(signal.SIGCONT)
        for process in self._live:
            process.send_signal(signal.SIGTERM)
        for process in self._live + self._ended + self._hogs:
            process.wait(30)
        return sum(process.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM) for process in self._live + self._ended)

    def grants(self) -> dict[int, list[float]]:
        """{limit: when it was granted, ascending}."""
        found = defaultdict(list)
        for file in self._folder.glob("grants-*"):
            data = file.read_bytes()
            for at, number in NOTED.iter_unpack(data[:len(data) // NOTED.size * NOTED.size]):
                found[number].append(at)
        return {number: sorted(times) for number, times in found.items()}


def prove(means: Means) -> Proof:
    rng = random.Random(means.seed)
    fleet = Fleet(means.server("redis").url, means.folder, rng)
    until = time.monotonic() + (420 if means.long else 15)
    for _ in range(LEAST + 1):
        fleet.start()
    try:
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.2, 2))
            fleet.turn()
    finally:
        died = fleet.end()
    burst, found = LIMIT * BURST_S / 60, {"used up": [], "new": [], "round": []}
    for number, times in fleet.grants().items():
        # What a killed process had left unsaid may be let through again from then on.
        kills = [(at, -KILLED * burst) for at in fleet.kills if at > times[0]]
        share = excess(sorted([(at, 1) for at in times] + kills), LIMIT) / burst
        found["used up" if number < 0 else "round" if number % 2 else "new"].append(share)
    shares = [share for some in found.values() for share in some]
    wrong = died + sum(share > 1 + (ALLOWED_S * LIMIT / 60 + 1) / burst for share in shares)
    new = sorted(found["new"]) or [0]
    wrong += new[len(new) // 2] < LET_THROUGH or not all(found.values())
    return Proof("limits", len(shares), wrong, {
        **{f"largest burst, {kind}": f"{max(some, default=0):.3f} of 1" for kind, some in found.items()},
        "half of the new ones let through": f"{new[len(new) // 2]:.2f} at least", **fleet.done})


if __name__ == "__main__":
    asyncio.run(_ask(*sys.argv[1:]))
