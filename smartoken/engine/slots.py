"""Counters of running requests in shared memory that outlives the process: SIGKILL loses none, and nothing is called.

A slot is four u64 in native order: serial of its open frame (0: free), output tokens delivered, input tokens plus one
(0: not known), one spare. Each is written by one aligned store.
"""

import mmap
import os
from pathlib import Path

CELLS = 4
SLOTS = 65_536                 # requests at one time; 2 MiB, sparse
SIZE = SLOTS * CELLS * 8


class Slots:
    """The table of one start of one process. `cells[slot * CELLS + n]` is the n-th counter of a slot."""

    def __init__(self, path: Path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self.fd, SIZE)
        self._map = mmap.mmap(self.fd, SIZE)
        self._bytes = memoryview(self._map)
        self.cells = self._bytes.cast("Q")
        self.free = list(range(SLOTS - 1, -1, -1))

    def close(self) -> None:
        self.cells.release()
        self._bytes.release()
        self._map.close()
        os.close(self.fd)


def counters(path: Path) -> memoryview | None:
    """The cells that a dead process left, None if there are none (any more)."""
    data = path.read_bytes() if path.exists() else b""
    return memoryview(data).cast("Q") if len(data) == SIZE else None
