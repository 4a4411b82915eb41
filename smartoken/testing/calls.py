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

    @property
    def credential(self) -> str:
        """What it showed to be let in, without a scheme before it."""
        shown = (value for name, value in self.headers if name in (b"authorization", b"x-api-key", b"x-goog-api-key"))
        return next(shown, b"").decode("latin-1").rpartition(" ")[2]


@dataclass(slots=True)
class Script:
    """Plays waiting for the calls that match; empty fields match everything."""

    plays: deque[str]
    at: str = ""
    path: str = ""
    model: str = ""

    def matches(self, call: Call) -> bool:
        return (self.at in ("", call.at) and call.path.endswith(self.path) and self.model in ("", call.model))
