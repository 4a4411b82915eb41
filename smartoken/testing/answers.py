"""What a wire of the pretend upstream gives back: an Answer, ready as bytes and kept, as a bench wants 10,000/s."""

import base64
import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from smartoken.testing.plays import REFUSALS, Play

ID = b"@upstream-id@"  # stands in rendered bytes for the call's id, which has the same length

Piece = tuple[bytes, int]
"""One event (or a whole body) and the output tokens that lie in it."""

Talk = Callable[[str, int], Sequence[str]]
"""(the last thing the user said, tokens wanted or -1) -> words, each counted as one token."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A complete answer. `input` and `cache_read` never overlap; `ending` is repeated for ever after the last piece."""

    status: int
    content_type: str
    pieces: tuple[Piece, ...]
    framing: str                       # chunked, length or close
    input: int = 0
    cache_read: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    endless: Piece | None = None
    burst: bytes = b""                 # all pieces, framed: see framed()

    @property
    def output(self) -> int:
        """Output tokens in all pieces."""
        return sum(tokens for _, tokens in self.pieces)


def chunk(data: bytes) -> bytes:
    """One HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def framed(answer: Answer) -> Answer:
    """The answer with `burst` filled in: its body as it goes over the wire when nothing slows or cuts it."""
    if answer.framing == "chunked":
        burst = b"".join(chunk(data) for data, _ in answer.pieces) + b"0\r\n\r\n"
    else:
        burst = b"".join(data for data, _ in answer.pieces)
    return replace(answer, burst=burst)


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(value)


def data_event(value: Any) -> bytes:
    """`data: <json>` and the blank line."""
    return b"data: " + dumps(value) + b"\n\n"


def named_event(name: str, value: Any) -> bytes:
    """`event: <name>`, `data: <json>` and the blank line."""
    return b"event: " + name.encode() + b"\ndata: " + dumps(value) + b"\n\n"


def error_value(play: Play) -> dict | list:
    """The error that a play describes, in the shape that it asks for."""
    kind, code, message = REFUSALS.get(play.status if play.status > 399 else 500, REFUSALS[500])
    kind, code, message = play.type or kind, play.code or code, play.message or message
    if play.error == "zhipu":
        return {"error": {"code": play.code or "1234", "message": message}}
    if play.error == "openrouter":
        return {"error": {"code": play.status if play.status > 399 else 502, "message": message, "metadata": {}}}
    if play.error == "google":
        return [{"error": {"code": play.status, "message": message, "status": kind, "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}]}}]
    if play.error == "flat":
        return {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def refusal(play: Play) -> Answer:
    """The whole answer of a play whose status is an error."""
    return framed(Answer(play.status, "application/json", ((dumps(error_value(play)), 0),), "length"))


@functools.lru_cache(maxsize=1024)
def words(count: int) -> tuple[str, ...]:
    """`count` tokens of four bytes each, always the same ones: ' aaa', ' aab', …"""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return tuple(f" {letters[i // 676 % 26]}{letters[i // 26 % 26]}{letters[i % 26]}" for i in range(count))


def plain_talk(said: str, count: int) -> Sequence[str]:
    """The tests' talk: `count` tokens (16 when nothing was asked for)."""
    return words(16 if count < 0 else count)


def vector(text: str, size: int) -> list[float]:
    """A vector that depends on the text only."""
    seed = sum(text.encode()) + 1
    return [((seed * (i + 3)) % 251 - 125) / 128 for i in range(size)]


def pack_floats(values: Sequence[float]) -> str:
    """Base64 of little-endian float32, as embeddings travel when a client asks for base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
