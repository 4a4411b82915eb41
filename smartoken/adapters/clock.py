"""The real clock."""

import time


class SystemClock:
    """The Clock port over the operating system's clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_us(self) -> int:
        return time.monotonic_ns() // 1_000
