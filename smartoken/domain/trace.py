"""A request's id: 31 hex digits that sort by time and are unique over processes and nodes without asking anybody."""

import itertools
import secrets
import time

_boot = secrets.token_hex(6)
_counter = itertools.count(1)


def new_rid() -> str:
    """11 digits of milliseconds, 12 of this process's random boot id, 8 of a counter."""
    return f"{time.time_ns() // 1_000_000:011x}{_boot}{next(_counter) & 0xFFFFFFFF:08x}"
