"""The upstream's own books: what it sent for each attempt, one JSON line per write, on file before it is on the wire.

A line: {"id", "at", "wire", "model", "status", "input", "cache_read", "output", "finished", "left"}. `input` and
`cache_read` never overlap; `output` is what has been sent so far; `left` is true when the other side went away early.
The last line of an id is the attempt's truth; an attempt that was refused has no tokens.
"""

import os
from collections import Counter
from pathlib import Path

import msgspec

SUMS = ("attempts", "finished", "left", "input", "cache_read", "output")


class Line(msgspec.Struct):
    """The state of one attempt."""

    id: str
    at: str = ""
    wire: str = ""
    model: str = ""
    status: int = 200
    input: int = 0
    cache_read: int = 0
    output: int = 0
    finished: bool = False
    left: bool = False


class Counts:
    """`sums` in memory ({model: {name of SUMS: n}}), and lines in an append-only file when one is given."""

    def __init__(self, path: str | Path | None = None):
        self.sums: dict[str, Counter] = {}
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._encoder = msgspec.json.Encoder()

    def begin(self, line: Line) -> None:
        """A new attempt. The sums take its prompt in with its first tokens, or when it is whole without any."""
        self.sums.setdefault(line.model, Counter(dict.fromkeys(SUMS, 0)))["attempts"] += 1
        self.write(line)

    def sending(self, line: Line, tokens: int) -> None:
        """`tokens` more are about to be sent."""
        sums = self.sums[line.model]
        if not line.output and (tokens or line.finished):
            sums["input"] += line.input
            sums["cache_read"] += line.cache_read
        line.output += tokens
        sums["output"] += tokens
        self.write(line)

    def finish(self, line: Line, tokens: int) -> None:
        """The last `tokens` are about to be sent, and the answer with them is whole."""
        line.finished = True
        self.sums[line.model]["finished"] += 1
        self.sending(line, tokens)

    def left(self, line: Line) -> None:
        """The other side went away before the end."""
        line.left = True
        self.sums[line.model]["left"] += 1
        self.write(line)

    def write(self, line: Line) -> None:
        """One line, in one write."""
        if self._file is not None:
            os.write(self._file, self._encoder.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def attempts(path: str | Path) -> dict[str, Line]:
    """{id: last line} of a count file."""
    decoder = msgspec.json.Decoder(Line)
    with open(path, "rb") as lines:
        return {line.id: line for line in map(decoder.decode, lines)}
