"""Long generations: written down before anything is sent, driven by one process at a time, taken up again by another.

Here: the documents, the claims on them, and the drivers. What a driver does in each state is in making.py (the
upstream's part), cloning.py (the same of a voice), keeping.py (our copy of the results) and closing.py (money and
record); generate.py makes jobs.

A claim is the job's `owner` and `until_ms`, renewed while the owner lives. Every write names the revision that it
replaces, so an owner that was stopped for too long learns at its next write that the job is no longer its own.

A driver's write waits for a store that is away, for what it has to say (the upstream's answer) nobody else knows. A
claim is tried once, and again at the next look.
"""

import asyncio
import itertools
import logging
import random
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from smartoken.domain import job as states
from smartoken.domain.job import Job, from_store, to_store
from smartoken.engine import cloning, closing, keeping, making
from smartoken.engine.beside import kept
from smartoken.errors import StoreAway

log = logging.getLogger("smartoken.jobs")

CLAIM_MS = 15_000        # a dead owner's jobs are taken up after so long
RENEW_MS = 8_000         # what must be left of a claim, or it is renewed
TICK_S = 2.0             # between two looks at claims
SCAN_S = 4.0             # between two looks for jobs without an owner
BACK_S = 2 * TICK_S      # once the store is back: first its owners renew the claims that ran out meanwhile
GRACE_S = 10.0           # that create calls under way get when the process is told to stop
AGAIN_S = (0.2, 0.5, 1, 2)   # before a write is tried again; the last for as long as it takes
COPIES = 4               # results copied at a time, which bounds memory

STEPS: dict[str, Callable] = {
    states.NEW: making.submit, states.SENDING: making.unclear, states.RUNNING: making.poll,
    states.MADE: keeping.keep, states.STORED: closing.close, states.FAILED: closing.close,
    states.CANCELED: closing.close, states.LOST: closing.close, states.UNKNOWN: making.forget,
}
STEPS_OF: dict[str, dict[str, Callable]] = {"image": STEPS, "video": STEPS, "voice": STEPS | cloning.STEPS}


class Taken(Exception):
    """The job is another process's now (or an operator's): whoever gets this stops working on it."""


class Jobs:
    """The jobs of one process. `gateway` is the Gateway, `media` an open Media."""

    def __init__(self, gateway: Any, media: Any):
        self.gateway, self.media = gateway, media
        self.store, self.ledger, self.clock = gateway.store, gateway.ledger, gateway.clock
        self.owner = f"{gateway.node}.{secrets.token_hex(4)}"
        self.copies = asyncio.Semaphore(COPIES)
        self.sessions = keeping.Sessions()
        self.paces = making.Paces()
        self.begun: dict[str, Any] = {}                    # job that we drive for its client: its Ask if it has files
        self._mine: dict[str, Job] = {}
        self._drivers: dict[str, asyncio.Task] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, set[asyncio.Future]] = {}
        self._tasks: set[asyncio.Task] = set()
        self._closing = False

    # -- life

    async def open(self) -> None:
        """Begin to look after claims and after jobs without an owner."""
        for work in (self._renew, self._scan):
            self._tasks.add(asyncio.create_task(kept(work)))

    async def close(self) -> None:
        """Let create calls end, stop, and give up every claim so that others need not wait for it to run out."""
        self._closing = True
        sending = [self._drivers[id] for id, job in self._mine.items()
                   if job.state == states.SENDING and id in self._drivers]
        if sending:
            await asyncio.wait(sending, timeout=GRACE_S)
        tasks = [*self._tasks, *self._drivers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in list(self._mine.values()):
            try:
                await self._put(job, {"owner": "", "until_ms": 0})
            except (StoreAway, Taken) as error:
                log.warning("%s: its claim runs out by itself: %s", job.id, error)
        for futures in list(self._waiting.values()):
            for future in futures:
                if not future.done():
                    future.cancel()
        await self.sessions.close()

    # -- documents

    async def add(self, job: Job) -> bool:
        """Write a new job down, as ours; False when there is one of this id. StoreAway: it may be there or come yet."""
        job.owner, job.until_ms = self.owner, self.clock.now_ms() + CLAIM_MS
        try:
            return await self.store.insert("jobs", to_store(job))
        except StoreAway:
            there = await self.find(job.id)
            if there is None:
                raise
            return there.word == job.word

    async def drop(self, job: Job) -> None:
        """Take back a job that never began. StoreAway."""
        await self.store.remove("jobs", job.id, job.rev)

    async def find(self, id: str, acct: str = "") -> Job | None:
        """A job as the store has it; None also when it is not of the account `acct`."""
        doc = await self.store.get("jobs", id) if not id.startswith("~") else None
        return from_store(doc) if doc is not None and acct in ("", doc["acct"]) else None

    async def save(self, job: Job, **changes: Any) -> None:
        """Change a job of ours, in the store and then here, however long the store is away. Taken."""
        await self._put(job, changes, itertools.chain(AGAIN_S, itertools.repeat(AGAIN_S[-1])))

    async def _put(self, job: Job, changes: dict[str, Any], waits: Iterator[float] = iter(())) -> None:
        """The same, tried once and again after each of `waits`. Taken; StoreAway."""
        async with self._locks.setdefault(job.id, asyncio.Lock()):
            state = changes.get("state", job.state)
            if state != job.state and state not in states.GOES_ON[job.state]:
                raise AssertionError(f"{job.id}: a job does not go from {job.state} to {state}")
            changes = {"owner": self.owner, **changes}
            doc = await self._replace(job, _plain(changes), waits)
            for name, value in changes.items():
                setattr(job, name, value)
            job.until_ms, job.rev = doc["until_ms"], doc["rev"]
        if job.ended:
            self._tell(job)

    async def _replace(self, job: Job, changes: dict[str, Any], waits: Iterator[float]) -> dict[str, Any]:
        """The document as it is in the store then."""
        before, rev = to_store(job), job.rev
        while True:
            doc = {**before, "until_ms": self.clock.now_ms() + CLAIM_MS, **changes, "rev": rev + 1}
            try:
                if await self.store.replace("jobs", doc, rev):
                    return doc
                there = await self.store.get("jobs", job.id)
            except StoreAway as error:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise
                log.info("%s: its state waits for the store: %s", job.id, error)
                await asyncio.sleep(wait_s)
                continue
            if there is not None and _told(there) == _told(doc):
                return there                    # our own write, whose reply was lost
            if there is None or before["owner"] != self.owner or _told(there) != _told(before):
                raise Taken(f"{job.id} was taken over by {there and there['owner']}")
            rev = there["rev"]                  # our claim, renewed; that reply was lost

    # -- drivers

    def begin(self, job: Job, ask: Any) -> None:
        """Work on a job of ours that its client is told of. Files of its Ask are kept, for they are in no store."""
        if not self._closing and job.id not in self._drivers:
            self.begun[job.id] = ask if ask.files else None
            self.drive(job)

    def drive(self, job: Job) -> None:
        """Work on a job of ours until its money is settled."""
        if self._closing or job.id in self._drivers:
            return
        self._mine[job.id] = job
        task = asyncio.create_task(self._drive(job))
        self._drivers[job.id] = task
        task.add_done_callback(lambda _: self._driven(job))

    def _driven(self, job: Job) -> None:
        self._drivers.pop(job.id, None)
        if not self._closing or not job.open:
            self._mine.pop(job.id, None)
            self._locks.pop(job.id, None)
            self.begun.pop(job.id, None)

    async def _drive(self, job: Job) -> None:
        try:
            while job.open and job.owner == self.owner:
                try:
                    await STEPS_OF[job.kind][job.state](self, job)
                except StoreAway as error:      # every step may be made again, as by another process after a crash
                    log.warning("%s: %s waits for the store: %s", job.id, job.state, error)
                    await asyncio.sleep(AGAIN_S[-1])
        except Taken as error:
            log.info("%s", error)
        except Exception:
            # Its claim runs out and somebody tries again, at the pace of the scan: a fault of ours loses no job.
            log.exception("%s: internal error in state %s", job.id, job.state)

    def mine(self) -> int:
        """How many jobs this process works on."""
        return len(self._drivers)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                for job in list(self._mine.values()):
                    await self._renew_one(job)
            except StoreAway as error:
                log.warning("claims could not be renewed: %s", error)

    async def _renew_one(self, job: Job) -> None:
        """StoreAway."""
        lock, soon = self._locks.get(job.id), self.clock.now_ms() + RENEW_MS
        if lock is not None and lock.locked():
            return                              # its driver is writing, which renews it, too
        if job.id not in self._drivers or not job.open or job.owner != self.owner or job.until_ms >= soon:
            return
        try:
            await self._put(job, {})
        except Taken as error:
            log.warning("%s", error)
            driver = self._drivers.get(job.id)  # it may have heard of it first, and ended
            if driver is not None and self._mine.get(job.id) is job:
                driver.cancel()

    async def _scan(self) -> None:
        away = False
        while True:
            try:
                if away:
                    await self.store.ping()
                    away = False
                    await asyncio.sleep(BACK_S)
                await self.adopt()
            except StoreAway as error:
                away = True
                log.warning("jobs could not be looked for: %s", error)
            await asyncio.sleep(SCAN_S * random.uniform(0.7, 1.3))

    async def adopt(self) -> int:
        """Take up every job whose owner is gone, or that is due; how many they were. StoreAway."""
        taken, after = 0, ""
        while page := await self.store.find("jobs", {"open": 1}, after=after, limit=500):
            after = page[-1]["_id"]
            for doc in page:
                if doc["until_ms"] > self.clock.now_ms() or doc["_id"] in self._drivers or self._closing:
                    continue
                try:
                    job = from_store(doc)
                except msgspec.ValidationError as error:
                    log.error("%s: the job cannot be read: %s", doc["_id"], error)
                    continue
                try:
                    await self._put(job, {})
                except Taken:
                    self._locks.pop(job.id, None)
                    continue
                log.info("%s: taken up in state %s", job.id, job.state)
                self.drive(job)
                taken += 1
        return taken

    # -- waiting

    async def ended(self, job: Job, wait_s: float) -> Job:
        """The job when it has ended, or as it stands after `wait_s`; driven here or elsewhere. StoreAway."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while not job.ended and loop.time() < deadline:
            here = job.id in self._drivers
            future = loop.create_future()
            self._waiting.setdefault(job.id, set()).add(future)
            try:
                await asyncio.wait((future,), timeout=min(deadline - loop.time(), 5 if here else 1))
            finally:
                waiting = self._waiting.get(job.id, set())
                waiting.discard(future)
                if not waiting:
                    self._waiting.pop(job.id, None)
            job = (self._mine.get(job.id) if job.id in self._drivers else await self.find(job.id)) or job
        return job

    def _tell(self, job: Job) -> None:
        for future in self._waiting.get(job.id, ()):
            if not future.done():
                future.set_result(None)


def _told(doc: dict[str, Any]) -> dict[str, Any]:
    """What a document says but for how long it is claimed."""
    return {**doc, "until_ms": 0, "rev": 0}


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: msgspec.to_builtins(value) for name, value in changes.items()}
