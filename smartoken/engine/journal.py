"""What this process must not forget: requests begun and finished, on disk before the store hears of them.

A folder has one writer (flock). `begin`, `count` and `done` are plain functions on the request path: frames are
collected and written by one os.write per turn of the event loop (SIGKILL loses nothing that was written), and synced by
a thread each 10 ms (a power failure loses no more than that). Fsync is never tried again: after it failed, what is on
disk is unknown, so no paid request is taken any more.

Files of one start, called `boot`: `usage-<boot>-<number>.wal` and `slots-<boot>.map`. ship.py takes segments away when
the store has what they hold and the plugins were told of it; replay.py does it for a process that died.
"""

import asyncio
import fcntl
import itertools
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from smartoken.domain.usage import UsageRecord
from smartoken.engine.frames import DoneFrame, Head, Intent, OpenFrame, pack
from smartoken.engine.slots import CELLS, Slots
from smartoken.errors import ConfigError
from smartoken.ports import Clock

SYNC_S, SYNC_FRAMES = 0.010, 256
CHECK_S = 1.0                  # disk space is looked at, and the slots are synced, so often
DISK_FULL, DISK_ALARM = 95, 80         # percent
KEPT = 50_000                  # finished records of a segment that stay in memory; beyond, they are read back

log = logging.getLogger(__name__)


def lock_folder(folder: Path) -> int | None:
    """The descriptor that holds the folder's lock until it is closed, or None when a living process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


class Segment:
    """One file. `records` are those finished in it, None when there were too many to keep."""

    __slots__ = ("count", "path", "records")

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self.records: list[UsageRecord] | None = []


class Journal:
    """Of one process. `open()` on the event loop that will use it; `close()` before the loop ends."""

    def __init__(self, folder: Path | str, node: str, clock: Clock):
        self.folder, self.node = Path(folder), node
        self.boot = f"{clock.now_ms():011x}{secrets.token_hex(3)}"
        self.failed = False                    # a sync failed: for good
        self._stuck = self._disk_full = self._alarmed = False
        self._buffer = bytearray()
        self._planned = False                  # a write is due this turn
        self._appended = self._written = self._synced = 0      # frames, counted
        self._durable: deque[tuple[int, Callable[[], object]]] = deque()
        self._after_write: list[Callable[[], object]] = []
        self._running: dict[int, bytes] = {}   # slot: its open frame
        self._released: list[int] = []         # slots whose done frame is not written yet
        self._serials = itertools.count(1)
        self._numbers = itertools.count(1)
        self._files = threading.Lock()
        self._retired: list[int] = []          # descriptors of older segments, to be synced and closed
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._stop = self._created = False

    # -- life

    async def open(self, wait_s: float = 5.0) -> None:
        """Lock the folder and begin. ConfigError when another process has it. What an earlier start left stays."""
        self._loop = asyncio.get_running_loop()
        deadline = time.monotonic() + wait_s
        while (lock := lock_folder(self.folder)) is None:
            if time.monotonic() > deadline:
                raise ConfigError(f"{self.folder} belongs to another running process; give this one its own node name")
            await asyncio.sleep(0.1)  # a neighbour may be replaying it
        self._lock = lock
        self._folder_fd = os.open(self.folder, os.O_RDONLY)
        self.slots = Slots(self.folder / f"slots-{self.boot}.map")
        self._cells, self._free = self.slots.cells, self.slots.free
        self._check_disk()
        self._start_segment({})
        self._write()
        self._thread = threading.Thread(target=self._sync_loop, name="journal-sync", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write and sync what there is. Files with nothing left in them are removed; others wait for replay."""
        self._write()
        self._stop = True
        self._wake.set()
        self._hurry.set()
        self._thread.join()
        self._tell()
        if self._buffer:
            log.critical("journal %s: %s bytes could not be written and are lost", self.folder, len(self._buffer))
        empty = not self._buffer and not self._running and not self.segment.count and not self.failed
        for fd in (*self._retired, self._fd, self._folder_fd):
            os.close(fd)
        self.slots.close()
        if empty:
            # An older segment may still be there; only replay may judge it, and it needs no slots for what is done.
            self.segment.path.unlink()
            (self.folder / f"slots-{self.boot}.map").unlink()
        os.close(self._lock)

    @property
    def healthy(self) -> bool:
        """False: take no paid request. A failed sync is for good; a full disk until there is room again."""
        return not (self.failed or self._stuck or self._disk_full)

    @property
    def running(self) -> int:
        """Requests begun and not done."""
        return len(self._running)

    # -- the request path

    def begin(self, open: OpenFrame) -> int:
        """Note a request before it is dispatched; gives its slot."""
        open.slot = slot = self._free.pop()
        open.serial = serial = next(self._serials)
        cell = slot * CELLS
        self._cells[cell + 1] = self._cells[cell + 2] = 0
        self._cells[cell] = serial
        self._running[slot] = frame = pack(open)
        self._append(frame)
        return slot

    def begun_anew(self, slot: int, open: OpenFrame) -> None:
        """What a running request's frame says has changed."""
        open.slot, open.serial = slot, self._cells[slot * CELLS]
        self._running[slot] = frame = pack(open)
        self._append(frame)

    def count(self, slot: int, output_tokens: int, input_tokens: int = -1) -> None:
        """Tokens delivered so far, before they are written to the client; the prompt's, once they are known."""
        self._cells[slot * CELLS + 1] = output_tokens
        if input_tokens >= 0:
            self._cells[slot * CELLS + 2] = input_tokens + 1

    def done(self, slot: int, record: UsageRecord) -> None:
        """The final record of a request, exactly once (RuntimeError); in the same breath as its hold is settled."""
        if self._running.pop(slot, None) is None:
            raise RuntimeError(f"{record.rid} is done already")
        self._append(pack(DoneFrame(record)))
        self._released.append(slot)
        self._count(record)

    def note(self, record: UsageRecord) -> None:
        """A record that was not begun here and that the store has already, such as a job's: written at once, so that
        the plugins hear of it whatever happens."""
        self._append(pack(DoneFrame(record)))
        self._count(record)
        self._write()

    def _count(self, record: UsageRecord) -> None:
        segment = self.segment
        segment.count += 1
        if segment.records is not None:
            segment.records.append(record)
            if segment.count > KEPT:
                segment.records = None

    def written(self, callback: Callable[[], object]) -> None:
        """Call back when all that was noted so far is written, so that no SIGKILL can undo it: this turn or the next."""
        if self._buffer:
            self._after_write.append(callback)
        else:
            callback()

    def durable(self, callback: Callable[[], object]) -> None:
        """Call back on the event loop when all that was noted so far is synced. Never, should the disk fail."""
        if self._synced >= self._appended:
            callback()
        else:
            self._durable.append((self._appended, callback))

    def intent(self, lease: str, acct: str) -> None:
        """A lease is about to be asked of the ledger: written at once, for the ledger may be quicker than our turn."""
        self._append(pack(Intent(lease, acct)))
        self._write()

    # -- writing

    def _append(self, frame: bytes) -> None:
        self._buffer += frame
        self._appended += 1
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._planned = False
        buffer = self._buffer
        if not buffer:
            return
        try:
            while buffer:
                del buffer[:os.write(self._fd, buffer)]
        except OSError as error:
            # What could not be written is kept and tried again: a record is never dropped.
            if not self._stuck:
                log.critical("journal %s cannot be written: %s; no paid request is taken", self.folder, error)
            self._stuck = self._planned = True
            self._loop.call_later(0.2, self._write)
            return
        self._stuck = False
        # Only now: until its record is written, a request lives by its slot.
        for slot in self._released:
            self._cells[slot * CELLS] = 0
        self._free += self._released
        self._released.clear()
        self._written = self._appended
        self._wake.set()
        if self._written - self._synced >= SYNC_FRAMES:
            self._hurry.set()
        if self._after_write:
            waiting, self._after_write = self._after_write, []
            _call_all(waiting)

    def _start_segment(self, leases: dict[str, tuple[str, dict[str, int]]]) -> None:
        number = next(self._numbers)
        self.segment = Segment(self.folder / f"usage-{self.boot}-{number:08d}.wal")
        fd = os.open(self.segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        with self._files:
            if number > 1:
                self._retired.append(self._fd)
            self._fd, self._created = fd, True
        self._append(pack(Head(self.node, self.boot, number, leases)))

    def rotate(self, leases: dict[str, tuple[str, dict[str, int]]]) -> Segment | None:
        """End this segment and begin the next with {lease: (account, cumulative spend)} and the requests running.

        None, and nothing has happened, when the disk does not take what there is.
        """
        self._write()
        if self._buffer:
            return None
        ended = self.segment
        try:
            self._start_segment(leases)
        except OSError as error:
            log.critical("journal %s: no new segment: %s", self.folder, error)
            return None
        for frame in self._running.values():
            self._append(frame)
        self._write()
        return ended

    def remove(self, segments: Iterable[Segment]) -> None:
        """Take segments away, when the head of the present one is safe on disk."""
        paths = [segment.path for segment in segments]
        self.durable(lambda: [path.unlink(missing_ok=True) for path in paths])

    # -- the syncing thread

    def _sync_loop(self) -> None:
        checked = time.monotonic()
        try:
            while not self.failed:
                self._wake.wait(0 if self._stop else CHECK_S)
                if self._written > self._synced:
                    self._hurry.wait(0 if self._stop else SYNC_S)
                self._wake.clear()
                self._hurry.clear()
                if time.monotonic() - checked >= CHECK_S:
                    checked = time.monotonic()
                    os.fdatasync(self.slots.fd)  # mapped pages too; unlike msync it lets the loop run meanwhile
                    self._check_disk()
                if self._written > self._synced:
                    self._sync()
                elif self._stop:
                    return
        except OSError as error:
            self.failed = True
            log.critical("journal %s could not be synced: %s; no paid request is taken, restart on a sound disk",
                         self.folder, error)

    def _sync(self) -> None:
        with self._files:
            target, fd = self._written, self._fd
            retired, self._retired = self._retired, []
            created, self._created = self._created, False
        for old in retired:
            os.fdatasync(old)
            os.close(old)
        os.fdatasync(fd)
        if created:
            os.fsync(self._folder_fd)
        self._synced = target
        if not self._stop:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        while self._durable and self._durable[0][0] <= self._synced:
            _call_all([self._durable.popleft()[1]])

    def _check_disk(self) -> None:
        disk = os.statvfs(self.folder)
        used = 100 - 100 * disk.f_bavail // max(1, disk.f_blocks)
        if used >= DISK_ALARM and not self._alarmed:
            log.warning("the disk of %s is %s %% full; at %s %% no paid request is taken", self.folder, used, DISK_FULL)
        self._alarmed, self._disk_full = used >= DISK_ALARM, used >= DISK_FULL


def _call_all(callbacks: Iterable[Callable[[], object]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:
            log.exception("a callback of the journal failed")
