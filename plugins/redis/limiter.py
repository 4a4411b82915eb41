"""The Limiter on Redis. `take` decides from what this process has (see quota.py); one task fetches more, ahead of need.

Modes: `shared` while Redis answers; `alone` after ERRORS failures within a second, for ALONE_S at least and until
PROBES exchanges in a row went well, so that a flapping Redis does not make us flap.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError
from smartoken_plugins.redis.gcra import MINUTE_US, SOURCE, Taking, cost_us, read, words
from smartoken_plugins.redis.link import PATIENCE_S, address, connect, end
from smartoken_plugins.redis.nodes import DEAD_MS, PARTS, Nodes
from smartoken_plugins.redis.quota import Quota
from smartoken_plugins.redis.used_up import UsedUp
from smartoken_plugins.redis.waits import ROUND_US, SLICE, Waits

from smartoken.plugin import Clock, SystemClock, Want

log = logging.getLogger("smartoken.limiter")

NAMED = 200                    # limits for which we ask the others at a time
PACE_S = 0.05                  # how long needs are gathered, unless a want found too little
BEAT_S = 1.0
ERRORS, ERRORS_US = 3, 1_000_000
AGAIN_S = 0.1                  # between failures that do not count as a loss yet
ALONE_US, PROBES, PROBE_S = 5_000_000, 3, 0.3
JOIN_S, JOIN_US = 0.1, 3_000_000   # how often a process that starts asks for its part, and how long for an equal one
IDLE_US = 1_000_000            # then a process gives back what it has beyond its reserve
FORGET_US = 60_000_000
MAX_KEYS = 1_000_000

FAILURES = (RedisError, OSError, TimeoutError, ValueError)


def open_redis(url: str) -> "RedisLimiter":
    """The limiter for redis:// and rediss://, not connected yet; see link.address for our options in the URL."""
    return RedisLimiter(url, SystemClock())


class RedisLimiter:
    """The Limiter port. `alone` says whether Redis counts as lost; `processes` how many share a limit."""

    def __init__(self, url: str, clock: Clock, max_keys: int = MAX_KEYS, alone_us: int = ALONE_US):
        self._address = address(url)
        self._now, self._max_keys, self._alone_us = clock.mono_us, max_keys, alone_us
        self._quotas: dict[str, Quota] = {}
        self._queue: deque[str] = deque()              # every key of _quotas once: the order of looking at them
        self._needy: dict[str, Quota] = {}             # to be asked for in the next round
        self._active: dict[str, Quota] = {}            # used since they were last given back
        self._waits, self._used_up = Waits(), UsedUp()
        self._errors: deque[int] = deque(maxlen=ERRORS)
        self._wake, self._hurry = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._digest = self._epoch = ""                # of the script; of the Redis that knows what we know
        self._since = self._good = 0
        self.alone = False
        self.switches = 0                              # how often it went alone
        self.node = secrets.token_hex(8)

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
                wait = quota.share_wait(missing, now, self._since, self.processes)
                if wait <= 0:
                    continue
            else:
                wait = max(quota.wait(missing, now), 0)
                quota.refused(total, now, wait)
                quota.used = now
                self._active[quota.key] = quota
                self._waits.ask_at(quota, now + wait)
                self._ask(quota, hurry=not wait)
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
            self._ask(quota)

    def left(self, want: Want) -> tuple[int, int]:
        now = self._now()
        quota = self._quotas.get(want.key)
        burst = want.burst_s * 1_000_000
        if quota is None:
            free = burst
        elif self.alone:
            free = quota.usable(now) + max(-quota.share_wait(0, now, self._since, self.processes), 0) // self.processes
        else:
            free = quota.free_at(now)
        free = max(min(free, burst), 0)
        return free * want.limit // MINUTE_US, burst - free

    async def open(self) -> None:
        """Connect and get our part of the bursts: about a second's wait, so that no first request is refused for want
        of a reserve. A Redis that is away is no reason not to start."""
        self._redis = connect(self._address.url)
        self._nodes = Nodes(self._redis, self._address.prefix, self.node, self._address.processes, self._now)
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
                await self._exchange(self._leave())
        except FAILURES as error:
            log.info("Redis does not hear that we leave: %s", error)
        await self._redis.aclose()

    @property
    def processes(self) -> int:
        return self._nodes.count

    def __len__(self) -> int:
        return len(self._quotas)

    # -- what take does

    def _quota(self, want: Want, now: int) -> Quota:
        quota, burst = self._quotas.get(want.key), want.burst_s * 1_000_000
        reserve = self._reserve(burst, now)
        if quota is None:
            self._forget(now)
            had = 0 if self._used_up.has(self._name(want.key), burst, now) else reserve
            quota = self._quotas[want.key] = Quota(want.key, want.limit, burst, reserve, had, now)
            self._queue.append(want.key)
        elif quota.limit != want.limit or quota.burst != burst:
            quota.limit, quota.burst = want.limit, burst       # the operator changed it; microseconds stay what they are
            quota.large = quota.least = quota.largest = 0      # but calls of the old limit may never fit the new one
        if quota.reserve != reserve:
            quota.divide(reserve, now)
        return quota

    def _reserve(self, burst: int, now: int) -> int:
        """What of a burst lies with us, when it is whole."""
        return burst // 2 * (self._nodes.part if self.alone else self._nodes.part_at(now)) // PARTS

    def _spend(self, quota: Quota, total: int, now: int) -> None:
        own = min(quota.have, total)
        quota.have -= own
        quota.spent += own
        quota.used = now
        quota.called(total, now)
        if total > own:
            quota.share_take(total - own, now, self._since, self._nodes.count)
        self._active[quota.key] = quota
        self._ask(quota)

    def _ask(self, quota: Quota, hurry: bool = False) -> None:
        self._needy[quota.key] = quota
        self._wake.set()
        if hurry:
            self._hurry.set()

    def _forget(self, now: int) -> None:
        """Look at two keys for each one that comes, so that dead ones cannot pile up. One is dead when a new one in its
        place could do no more than it."""
        for _ in range(min(2, len(self._queue))):
            key = self._queue.popleft()
            quota = self._quotas[key]
            idle = now - quota.used > FORGET_US and not self.alone
            whole = quota.have >= self._reserve(quota.burst, now) and not quota.owed
            if (idle and whole) or len(self._quotas) >= self._max_keys:
                del self._quotas[key]
                continue
            self._queue.append(key)
            if idle:
                self._ask(quota)

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
        elif await _happens(self._wake, self._waits.due_s(self._now(), self._nodes.due_s(BEAT_S))):
            await _happens(self._hurry, self._waits.due_s(self._now(), PACE_S))

    async def _round(self) -> None:
        self._wake.clear()
        self._hurry.clear()
        if self.alone:
            await self._exchange(self._start())
            self._good += 1
            if self._good >= PROBES and self._now() - self._since >= self._alone_us:
                await self._come_back()
        else:
            if not self._nodes.due_s(BEAT_S):
                waiting = await self._still_waiting()
                await self._exchange(self._nodes.beat(waiting[:NAMED]))
                await self._settle()
                await self._give_back()
                self._used_up.forget(self._now())
            if self._epoch != self._nodes.epoch:
                await self._remind()
            while due := self._waits.due(self._now(), self._quotas):
                self._needy |= due
                await asyncio.sleep(0)
            while self._needy:
                batch, now = [self._needy.pop(key) for key in list(islice(self._needy, SLICE))], self._now()
                await self._send([(quota, taking) for quota in batch
                                  if (taking := quota.asking(self._reserve(quota.burst, now), now))])
            self._errors.clear()

    async def _exchange(self, call):
        """One exchange with Redis, within PATIENCE_S whatever the driver does."""
        async with asyncio.timeout(PATIENCE_S):
            return await call

    async def _join(self) -> None:
        """Wait for a part as large as the others': they give it up with their next beat. Whoever was killed keeps his
        until he counts as dead."""
        began = self._now()
        while not self.alone and not self._nodes.part and (waited := self._now() - began) < 2 * DEAD_MS * 1000:
            try:
                if self._nodes.settled or (self._nodes.granted and waited > JOIN_US):
                    await self._settle()
                else:
                    await asyncio.sleep(JOIN_S)
                    await self._exchange(self._nodes.give_up())
            except FAILURES as error:
                self._failed(error)

    async def _settle(self) -> None:
        """Another part than before: what we owe is known to Redis before somebody else has it, and what the others owe
        to us before we do."""
        if self._nodes.shrunk:
            await self._tell(forgotten=False)
            await self._exchange(self._nodes.give_up())
        if self._nodes.grown:
            await self._used_up.look(self._redis, self._address.prefix, self._now, self._exchange)
            self._nodes.grow()

    async def _start(self) -> None:
        self._digest = await self._redis.script_load(SOURCE)
        await self._nodes.beat()

    def _failed(self, error: Exception) -> None:
        now = self._now()
        self._good = 0
        self._errors.append(now)
        if not self.alone and len(self._errors) == ERRORS and now - self._errors[0] <= ERRORS_US:
            self._go_alone(error)

    def _go_alone(self, error: Exception) -> None:
        self.alone, self._since, self._good = True, self._now(), 0
        self.switches += 1
        log.warning("Redis is away, each of %d processes keeps to its share of the limits: %s", self.processes, error)

    async def _come_back(self) -> None:
        """Tell what was used meanwhile, and only then ask again."""
        await self._remind()
        self.alone = False
        self._errors.clear()
        for some in _slices(self._quotas.values()):
            for quota in some:
                quota.share_end()
            await asyncio.sleep(0)
        log.info("Redis is back")

    async def _remind(self) -> None:
        """Tell Redis what we owe, and if it has forgotten what it knew, what we remember of that: of all processes'
        memories the strictest counts."""
        epoch = self._nodes.epoch
        await self._tell(self._epoch != epoch)
        self._epoch = epoch

    async def _tell(self, forgotten: bool, leaving: bool = False) -> None:
        """What all limits owe."""
        for some in _slices(self._quotas.values()):
            now, asked = self._now(), []
            for quota in some:
                quota.divide(self._reserve(quota.burst, now), now)
                if leaving:
                    quota.give_back(now, leaving)
                floor = quota.ahead_at(now) * forgotten
                if floor or quota.owed or quota.back:
                    asked.append((quota, quota.correction(floor)))
            await self._send(asked)
            await asyncio.sleep(0)

    async def _give_back(self) -> None:
        """What lies idle, or what others wait for, and ask anew for what is held for the next large call."""
        for some in _slices(self._active):
            now = self._now()
            for key in some:
                quota = self._active[key]
                if key in self._nodes.waited_for and not quota.least:
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
        await self._tell(forgotten=False, leaving=True)
        await self._nodes.leave()

    async def _send(self, asked: list[tuple[Quota, Taking]]) -> None:
        """Ask for several keys at once, each by itself: they may lie on different servers."""
        if not asked:
            return
        if not self._nodes.due_s(2 * BEAT_S):          # with very many limits a round takes longer
            await self._exchange(self._nodes.beat())
        pipe = self._redis.pipeline(transaction=False)
        for _, taking in asked:
            pipe.evalsha(self._digest, *words([taking._replace(key=self._name(taking.key))],
                                              epoch_key=self._nodes.epoch_key, epoch=self._nodes.epoch))
        try:
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
        return f"{self._address.prefix}:{{{whose}}}{key[len(whose):]}"


def _has_forgotten(error: Exception) -> bool:
    """It was restarted without a disk, or emptied."""
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
