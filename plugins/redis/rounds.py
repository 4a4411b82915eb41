"""The task that keeps what one process has of all limits in step with Redis, in rounds: it tells what was spent, fetches
more ahead of need, gives back what lies idle, and says once a second that the process lives.

Modes: `shared` while Redis answers; `alone` after ERRORS failures within a second, for ALONE_US at least and until
PROBES exchanges in a row went well, so that a flapping Redis does not make us flap.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

from redis.exceptions import NoScriptError, ResponseError
from smartoken_plugins.redis.gcra import SOURCE, Taking, read, words
from smartoken_plugins.redis.link import FAILURES, PATIENCE_S, Address, connect, end
from smartoken_plugins.redis.nodes import DEAD_MS, PARTS, Nodes
from smartoken_plugins.redis.quota import Quota
from smartoken_plugins.redis.used_up import UsedUp, look
from smartoken_plugins.redis.waits import SLICE, Waits

log = logging.getLogger("smartoken.limiter")

NAMED = 200                    # limits for which we ask the others at a time
PACE_S = 0.05                  # how long needs are gathered, unless a want found too little
BEAT_S = 1.0
ERRORS, ERRORS_US = 3, 1_000_000
AGAIN_S = 0.1                  # between failures that do not count as a loss yet
ALONE_US, PROBES, PROBE_S = 5_000_000, 3, 0.3
LEAVE_S = 2.0
JOIN_S, JOIN_US = 0.1, 3_000_000   # how often a process that starts asks for its part, and how long for an equal one
IDLE_US = 1_000_000            # then a process gives back what it has beyond its reserve


class Rounds:
    """`quotas` are all limits of this process. `alone` says whether Redis counts as lost, `since` when it was, `switches`
    how often."""

    def __init__(self, where: Address, now: Callable[[], int], alone_us: int):
        self._where, self._now, self._alone_us = where, now, alone_us
        self.quotas: dict[str, Quota] = {}
        self._needy: dict[str, Quota] = {}             # to be asked for in the next round
        self._active: dict[str, Quota] = {}            # used since they were last given back
        self._waits, self._used_up = Waits(), UsedUp({}, 0)
        self._errors: deque[int] = deque(maxlen=ERRORS)
        self._wake, self._hurry = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._digest = self._epoch = ""                # of the script; of the Redis that knows what we know
        self._good = self.switches = self.since = self._looked_us = 0
        self.alone = False

    async def open(self) -> None:
        """Connect and wait for our part of the bursts (see _join), so that no first request is refused for want of a
        reserve. A Redis that is away is no reason not to start."""
        self._redis = connect(self._where.url)
        self.nodes = Nodes(self._redis, self._where.prefix, secrets.token_hex(8), self._where.processes, self._now)
        try:
            await self._exchange(self._start())
        except FAILURES as error:
            self._go_alone(error)
        await self._join()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Give back what we have, and leave the list of processes, as far as Redis answers."""
        task, self._task = self._task, None
        if task is None:
            return
        await end(task)
        try:
            if not self.alone:
                async with asyncio.timeout(LEAVE_S):
                    await self._leave()
        except TimeoutError:
            log.info("Redis does not hear that we leave")
        await self._redis.aclose()

    # -- for the limiter: nothing of this waits

    def reserve(self, burst: int, now: int) -> int:
        """What of a burst lies with us, when it is whole."""
        return burst // 2 * (self.nodes.part if self.alone else self.nodes.part_at(now)) // PARTS

    def begin(self, key: str, limit: int, burst: int, now: int) -> Quota:
        """A limit that this process meets for the first time."""
        reserve = self.reserve(burst, now)
        quota = self.quotas[key] = Quota(key, limit, burst, reserve, now)
        quota.begin(self._used_up.ahead_at(self._name(key), now), now)
        return quota

    def ask(self, quota: Quota, hurry: bool = False) -> None:
        """Something is to be told or fetched, at once where a call found too little."""
        self._needy[quota.key] = quota
        self._wake.set()
        if hurry:
            self._hurry.set()

    def used(self, quota: Quota, now: int) -> None:
        quota.used = now
        self._active[quota.key] = quota

    def refused(self, quota: Quota, at: int, hurry: bool) -> None:
        """A call found too little; Redis can give it `at` that moment."""
        self._waits.ask_at(quota, at)
        self.ask(quota, hurry)

    # -- the task

    async def _run(self) -> None:
        while True:
            await self._pause()
            try:
                await self._round()
            except FAILURES as error:
                self._failed(error)
            except Exception:                  # a fault of ours: the limits stay closed, but not the gateway
                log.exception("a round of the limiter failed")
                await asyncio.sleep(BEAT_S)

    async def _pause(self) -> None:
        if self.alone:
            await asyncio.sleep(PROBE_S)
        elif self._errors:
            await asyncio.sleep(AGAIN_S)
        elif await _happens(self._wake, self._waits.due_s(self._now(), self.nodes.due_s(BEAT_S))):
            await _happens(self._hurry, self._waits.due_s(self._now(), PACE_S))

    async def _round(self) -> None:
        self._wake.clear()
        self._hurry.clear()
        if self.alone:
            await self._exchange(self._start())
            if self._epoch == self.nodes.epoch:
                await self._settle()
            self._good += 1
            if self._good >= PROBES and self._now() - self.since >= self._alone_us:
                await self._come_back()
        else:
            if not self.nodes.due_s(BEAT_S):
                waiting = await self._still_waiting()
                await self._exchange(self.nodes.beat(waiting[:NAMED]))
            if self._epoch != self.nodes.epoch:
                await self._remind()
            await self._settle()
            if self._now() - self._looked_us >= IDLE_US:
                self._looked_us = self._now()
                await self._give_back()
            now = self._now()                          # what is refused from now on is for the next round
            while due := self._waits.due(now, self.quotas):
                self._needy |= due
                await asyncio.sleep(0)
            for some in _slices(self._needy):          # what comes meanwhile is for the next round
                batch, now = [self._needy.pop(key) for key in some if key in self._needy], self._now()
                await self._send([(quota, taking) for quota in batch
                                  if (taking := quota.asking(self.reserve(quota.burst, now), now))], self._epoch)
            self._errors.clear()

    async def _exchange(self, call):
        """One exchange with Redis, within PATIENCE_S whatever the driver does."""
        async with asyncio.timeout(PATIENCE_S):
            return await call

    async def _join(self) -> None:
        """Wait for a part as large as the others', a second as a rule: they give it up with their next beat. Whoever was
        killed keeps his until he counts as dead; so a smaller one will do after JOIN_US."""
        began = self._now()
        while not self.alone and not self.nodes.part and (waited := self._now() - began) < 2 * DEAD_MS * 1000:
            try:
                if self.nodes.settled or (self.nodes.granted and waited > JOIN_US):
                    await self._settle()
                else:
                    await asyncio.sleep(JOIN_S)
                    await self._exchange(self.nodes.give_up(self.nodes.granted))
            except FAILURES as error:
                self._failed(error)

    async def _settle(self) -> None:
        """Another part than before: what we owe is known to Redis before somebody else has it, and what the others owe
        to us before we do."""
        if self.nodes.shrunk:
            rest = self.nodes.granted              # a beat meanwhile may make it less, which is not told yet
            await self._tell(self._epoch)
            await self._exchange(self.nodes.give_up(rest))
        if self.nodes.grown:
            if not self.nodes.part:                # it was lost: what limits still have of it is, too
                await self._tell(self._epoch)
            self._used_up = await look(self._redis, self.nodes.used_key, self._now, self._exchange)
            self.nodes.grow()

    async def _start(self) -> None:
        await self.nodes.beat()                    # first: a server that was started again gets its new epoch by it
        self._digest = await self._redis.script_load(SOURCE)

    def _failed(self, error: Exception) -> None:
        now = self._now()
        self._good = 0
        self._errors.append(now)
        if not self.alone and len(self._errors) == ERRORS and now - self._errors[0] <= ERRORS_US:
            self._go_alone(error)

    def _go_alone(self, error: Exception) -> None:
        self.alone, self.since, self._good = True, self._now(), 0
        self.switches += 1
        log.warning("Redis is away, each of %d processes keeps to its share of the limits: %s", self.nodes.count, error)

    async def _come_back(self) -> None:
        """Tell what was used meanwhile, and only then ask again."""
        await self._remind()
        await self._settle()
        self.alone = False
        self._errors.clear()
        for some in _slices(self.quotas.values()):
            for quota in some:
                quota.share_end()
            await asyncio.sleep(0)
        log.info("Redis is back")

    async def _remind(self) -> None:
        """Tell Redis what we owe, and if it has forgotten what it knew, what we remember of that: of all processes'
        memories the strictest counts."""
        epoch = self.nodes.epoch
        await self._tell(epoch)
        self._epoch = epoch

    async def _tell(self, epoch: str, leaving: bool = False) -> None:
        """What all limits owe, to the Redis of this epoch."""
        forgotten = self._epoch not in ("", epoch)
        for some in _slices(self.quotas.values()):
            await self._still_live()
            now, asked = self._now(), []
            for quota in some:
                quota.divide(self.reserve(quota.burst, now), now)
                if leaving:
                    quota.give_back(now, leaving)
                floor = quota.ahead_at(now) * forgotten
                if floor or quota.owed or quota.back:
                    asked.append((quota, quota.correction(floor)))
            await self._send(asked, epoch)
            await asyncio.sleep(0)

    async def _give_back(self) -> None:
        """What lies idle, or what others wait for, and ask anew for what is held for the next large call."""
        for some in _slices(self._active):
            now = self._now()
            for key in some:
                quota = self._active[key]
                if key in self.nodes.waited_for and not quota.least:
                    quota.let_go(now)
                held = quota.holds(now)
                if not held and now - quota.used >= IDLE_US:
                    del self._active[key]
                    quota.give_back(now)
                    self._needy[key] = quota
                elif held:
                    self._needy[key] = quota
            await asyncio.sleep(0)

    async def _still_waiting(self) -> list[str]:
        """The limits to name to the others. We ask for them again, as somebody may have given something back."""
        names: list[str] = []
        for some in _slices(self._waits.others):
            still = self._waits.still(some, self._now())
            self._needy |= still
            names += still
            await asyncio.sleep(0)
        return names

    async def _leave(self) -> None:
        while True:
            try:
                await self._exchange(self.nodes.beat())
                await self._tell(self.nodes.epoch, leaving=True)
                return await self._exchange(self.nodes.leave())
            except FAILURES:
                await asyncio.sleep(AGAIN_S)

    async def _still_live(self) -> None:
        """A beat within a round that takes longer, with very many limits."""
        if not self.nodes.due_s(2 * BEAT_S):
            await self._exchange(self.nodes.beat())

    async def _send(self, asked: list[tuple[Quota, Taking]], epoch: str) -> None:
        """Ask for several keys at once, each by itself: they may lie on different servers. A Redis of another epoch than
        this one has forgotten what it was told, and does nothing."""
        if not asked:
            return
        pipe = self._redis.pipeline(transaction=False)
        for _, taking in asked:
            pipe.evalsha(self._digest, *words([taking._replace(key=self._name(taking.key))], 0,
                                              self.nodes.epoch_key, self.nodes.used_key, epoch))
        try:
            await self._still_live()
            answers = await self._exchange(pipe.execute(raise_on_error=False))
        except BaseException:
            for quota, taking in asked:
                self._unheard(quota, taking)
            raise
        wrong = [error for (quota, taking), answer in zip(asked, answers, strict=True)
                 if (error := self._hear(quota, taking, answer))]
        if wrong:
            if any(map(_has_forgotten, wrong)):
                await self._exchange(self._start())
            raise wrong[0]

    def _hear(self, quota: Quota, taking: Taking, answer: Any) -> Exception | None:
        try:
            if isinstance(answer, Exception):
                raise answer
            taken = read(answer, 1)
            if not 0 <= taken.taken[0] <= taking.most or taken.ahead[0] < 0:
                raise ValueError(f"Redis gave {taken} when asked for {taking}")
        except FAILURES as error:
            self._unheard(quota, taking)
            return error
        now = self._now()
        quota.given(taken.taken[0], taken.ahead[0], now)
        self._waits.heard(quota, now)
        return None

    def _unheard(self, quota: Quota, taking: Taking) -> None:
        quota.refund_failed(taking.shift)
        self._needy[quota.key] = quota

    def _name(self, key: str) -> str:
        """The key in Redis. All limits of one account lie on one server of a cluster."""
        whose = ":".join(key.split(":")[:2])
        return f"{self._where.prefix}:{{{whose}}}{key[len(whose):]}"


def _has_forgotten(error: Exception) -> bool:
    """It was restarted, or emptied."""
    return isinstance(error, NoScriptError) or (isinstance(error, ResponseError) and str(error).startswith("EPOCH"))


def _slices(items: Collection) -> Iterator[list]:
    """What there is now, in lists of SLICE: with a turn of the loop after each, a million limits hold up nobody."""
    rest = iter(list(items))
    while some := list(islice(rest, SLICE)):
        yield some


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return False
