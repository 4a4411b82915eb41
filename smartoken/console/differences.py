"""What a change of the audit changed, part by part: of a long field only the inner keys that differ, of a long text the
place where it does."""

import json
from typing import Any

SHOWN = 160                    # characters of a value; what is left out is an ellipsis
ABOUT = 30                     # characters that lead to a difference inside a text

Part = tuple[str, str | None, str]     # (where, before or None when there was nothing, after)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[Part]:
    """Of two documents, as the audit keeps them. What was and stays empty is left out."""
    found: list[Part] = []
    for name in {**before, **after}:
        if before.get(name) or after.get(name):
            found += _parts(name, before, after, name)
    return found


def _parts(where: str, before: dict[Any, Any], after: dict[Any, Any], key: Any) -> list[Part]:
    """Of one key of two objects."""
    if key not in before:
        return [(where, None, _cut(_text(after[key])))]
    if key not in after:
        return [(where, _cut(_text(before[key])), "–")]
    old, new = before[key], after[key]
    if isinstance(old, list) and isinstance(new, list) and any(isinstance(one, dict) for one in (*old, *new)):
        old, new = dict(enumerate(old, 1)), dict(enumerate(new, 1))
    if isinstance(old, dict) and isinstance(new, dict):
        return [part for inner in {**old, **new} if inner not in old or inner not in new or old[inner] != new[inner]
                for part in _parts(f"{where}.{inner}", old, new, inner)]
    if isinstance(old, list) and isinstance(new, list):
        gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
        old, new = (gone, come) if gone or come else (old, new)
    return [(where, *_window(_text(old), _text(new)))]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _window(old: str, new: str) -> tuple[str, str]:
    """Both from a little before the first character that differs, where they are too long to be shown whole."""
    if max(len(old), len(new)) <= SHOWN:
        return old, new
    first = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))
    begin = max(0, first - ABOUT)
    lead = "…" if begin else ""
    return lead + _cut(old[begin:]), lead + _cut(new[begin:])


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
