"""Tool calls that come in pieces: which call a piece belongs to, and what the calls are in the end."""

from collections.abc import Mapping
from typing import Any

import msgspec

GROWING = ("arguments", "input")


class Places:
    """Numbers the calls of one choice in the order they begin. A piece belongs to the call of its index; but some
    vendors send 0, or no index, for all, and tell parallel calls apart by their ids alone."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}                     # index: the call that pieces without an id belong to
        self._known: dict[tuple[int, str], int] = {}
        self._named: set[int] = set()                       # calls that have an id
        self._count = 0

    def of(self, piece: Mapping[str, Any]) -> int:
        """The number of the piece's call. A new id begins a new one only with a name: an id alone is a vendor's whim."""
        index, id = piece.get("index") or 0, piece.get("id") or ""
        at = self._open.get(index) if not id else self._known.get((index, id), self._open.get(index))
        begins = id and (index, id) not in self._known and at in self._named and _name(piece)
        if at is None or begins:
            at, self._count = self._count, self._count + 1
        self._open[index] = at
        if id:
            self._known.setdefault((index, id), at)
            self._named.add(at)
        return at


def grow(call: dict[str, Any], piece: Mapping[str, Any]) -> dict[str, Any]:
    """The call with one more piece of it (or all of it). Texts of GROWING grow, all else stays as it came first:
    vendors repeat ids and names, and their own keys (Gemini's signatures) must go back to them as they were."""
    for name, value in piece.items():
        if name in ("function", "custom") and isinstance(value, dict):
            inner = call.setdefault(name, {})
            for field, text in value.items():
                if field in GROWING:
                    inner[field] = inner.get(field, "") + text_of(text)
                elif text is not None:
                    inner[field] = inner.get(field) or text
        elif name != "index" and value is not None:
            call[name] = call.get(name) or value
    return call


def text_of(arguments: Any) -> str:
    """Arguments that a vendor sends as an object, as the text that they should be."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return msgspec.json.encode(arguments).decode()


def _name(piece: Mapping[str, Any]) -> str:
    return (piece.get("function") or piece.get("custom") or {}).get("name") or ""
