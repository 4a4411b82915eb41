"""Memory that a burst leaves behind, given back to the machine.

The C library keeps what Python has freed wherever something small lies above it: after a few answers of a hundred
megabytes a worker may hold a hundred that nobody uses. `malloc_trim` of glibc gives whole free pages back, those in
between included (malloc_trim(3)). It takes a few microseconds when there is nothing, and a millisecond for each 15 MiB
when there is, so nothing is gained by first finding out. Other C libraries have no such call: there nothing is done.
"""

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 10


async def trim_now_and_then(every_s: float = EVERY_S) -> None:
    """For ever, in a thread."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(trim, 0)
