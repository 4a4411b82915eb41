"""What the backend tells of an account's limits with each answer, in headers `x-codex-…`. For display only: what stops
us is its refusal, never our own reckoning.

A family is `primary` or `secondary`, its name before that where the backend keeps several (`x-codex-<limit>-primary-…`,
shown as `x-codex-<limit>-limit-name` says). reset-at is in unix seconds and may be empty; then reset-after-seconds counts.
"""

import re
from collections.abc import Iterable
from typing import Any

from smartoken.plugin import Window

PREFIX = b"x-codex-"
_FIELD = re.compile(r"(?:([a-z0-9-]+)-)?(primary|secondary)-(used-percent|window-minutes|reset-at|reset-after-seconds)")
_NAME = re.compile(r"([a-z0-9-]+)-limit-name")
MOST = 8                       # windows that are kept; there are two, and a few for single models
LONGEST = 60                   # letters of a text of theirs


def read(headers: Iterable[tuple[bytes, bytes]], at_ms: int) -> dict[str, Any]:
    """{windows, credits, plan} of an answer's headers, as JSON; {} when they tell no limit. A value that is no number
    counts as not told."""
    families: dict[tuple[str, str], dict[str, float]] = {}
    names, texts = {}, {}
    for raw_name, raw_value in headers:
        if not raw_name.startswith(PREFIX):
            continue
        name, value = raw_name[len(PREFIX):].decode("latin-1"), raw_value.decode("utf-8", "replace").strip()[:LONGEST]
        if found := _FIELD.fullmatch(name):
            number = _number(value)
            if number is not None:
                families.setdefault((found[1] or "", found[2]), {})[found[3]] = number
        elif found := _NAME.fullmatch(name):
            names[found[1]] = value
        else:
            texts[name] = value
    windows = [_window(names.get(limit, limit), said, at_ms) for (limit, _), said in sorted(families.items())
               if "used-percent" in said][:MOST]
    if not windows:
        return {}
    return {"windows": windows, "credits": _credits(texts), "plan": texts.get("plan-type", "")}


def windows_of(doc: dict[str, Any]) -> tuple[Window, ...]:
    """The windows of a stored document."""
    return tuple(Window(**one) for one in doc.get("windows", ()))


def _window(name: str, said: dict[str, float], at_ms: int) -> dict[str, Any]:
    reset_ms = int(said.get("reset-at", 0)) * 1000
    if not reset_ms and "reset-after-seconds" in said:
        # Counted from now it would differ with each answer; to the minute it is the same.
        reset_ms = (at_ms + int(said["reset-after-seconds"]) * 1000) // 60_000 * 60_000
    return {"name": name, "minutes": int(said.get("window-minutes", 0)), "reset_ms": reset_ms,
            "used_permille": round(said["used-percent"] * 10)}


def _credits(texts: dict[str, str]) -> str:
    if texts.get("credits-unlimited", "").lower() == "true":
        return "unlimited"
    return texts.get("credits-balance", "") if texts.get("credits-has-credits", "").lower() == "true" else ""


def _number(value: str) -> float | None:
    """A number from 0 to 10^12; None for anything else."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number <= 1e12 else None
