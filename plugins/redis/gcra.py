"""gcra.lua from Python: how its arguments and its answer are laid out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

MINUTE_US = 60_000_000
SOURCE = (Path(__file__).parent / "gcra.lua").read_text(encoding="utf-8")


class Taking(NamedTuple):
    """One want of a call, in microseconds of its limit: see gcra.lua."""

    key: str
    shift: int
    most: int
    least: int
    burst: int
    floor: int = 0
    pool: int = 0


class Taken(NamedTuple):
    """The answer. `refused` is the index of the want that must wait `wait` microseconds, -1 when all were taken."""

    now: int
    refused: int
    wait: int
    taken: tuple[int, ...]
    ahead: tuple[int, ...]


def cost_us(limit: int, cost: int) -> int:
    """Microseconds that a cost takes of a limit a minute, rounded up: exactly as adapters/memory.py counts."""
    return -(-cost * MINUTE_US // limit)


def words(takings: Sequence[Taking], now: int = 0, epoch_key: str = "", used_key: str = "", epoch: str = "") -> list[Any]:
    """What follows the script's digest in EVALSHA."""
    numbers = [number for taking in takings
               for number in (taking.floor, taking.shift, taking.most, taking.least, taking.burst, taking.pool)]
    return [2 + len(takings), epoch_key, used_key, *(taking.key for taking in takings), epoch, now, *numbers]


def read(answer: Any, count: int) -> Taken:
    """The answer to a call with `count` wants. ValueError when it has another shape: a Redis that is not ours."""
    if not isinstance(answer, list) or len(answer) != 3 + 2 * count or not all(type(x) is int for x in answer):
        raise ValueError(f"Redis gave {str(answer)[:200]!r} where gcra.lua gives {3 + 2 * count} integers")
    now, refused, wait = answer[:3]
    return Taken(now, refused - 1, wait, tuple(answer[3:3 + count]), tuple(answer[3 + count:]))
