"""A request as the pretend upstream got it, and the scripts that wait for some of them."""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """One request as it arrived; `at` is the `@name` segment of its path, which tells channels apart."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    keep_alive: bool = True
    id: str = ""
    at: str = ""
    model: str = ""
    plays: str = ""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(slots=True)
class Script:
    """Plays waiting for the calls that match; empty fields match everything."""

    plays: deque[str]
    at: str = ""
    path: str = ""
    model: str = ""

    def matches(self, call: Call) -> bool:
        return (self.at in ("", call.at) and call.path.endswith(self.path) and self.model in ("", call.model))
