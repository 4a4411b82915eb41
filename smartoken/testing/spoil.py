"""Turns a good answer into one that is none. Shapes that change bytes live here; pace and cuts are the player's."""

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from smartoken.testing.answers import Answer, dumps, error_value, framed
from smartoken.testing.plays import Play

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
MIB = 1024 * 1024


def spoil(answer: Answer, play: Play, error_events: Callable[[Play], Sequence[bytes]]) -> Answer:
    """`answer` as `play` wants it, framed. `error_events` renders an error inside the wire's stream."""
    if play.shape:
        answer = SHAPES[play.shape](answer, play, error_events)
    if play.framing:
        answer = replace(answer, framing=play.framing)
    return framed(answer)


def usage_numbers(usage: dict, how: str) -> dict | None:
    """A usage object with each of its numbers made wrong in the way that a play's `usage` names."""
    if how in ("", "twice"):
        return usage
    if how == "missing":
        return None
    change = {"zero": lambda n: 0, "negative": lambda n: -n - 1, "high": lambda n: 50_000_000, "huge": lambda n: 10**18,
              "float": lambda n: n + 0.5, "bool": lambda n: True}[how]
    return {name: usage_numbers(value, how) if isinstance(value, dict) else change(value)
            for name, value in usage.items()}


def _streams(answer: Answer) -> bool:
    return answer.content_type.startswith("text/event-stream")


def _html(answer, play, error_events):
    return Answer(200, "text/html", ((HTML, 0),), "length")


def _empty(answer, play, error_events):
    return replace(answer, pieces=())


def _error_body(answer, play, error_events):
    return Answer(200, "application/json", ((dumps(error_value(play)), 0),), "length")


def _error_first(answer, play, error_events):
    if not _streams(answer):
        return _error_body(answer, play, error_events)
    return replace(answer, pieces=tuple((event, 0) for event in error_events(play)))


def _error_mid(answer, play, error_events):
    if not _streams(answer):
        return _error_body(answer, play, error_events)
    good = answer.pieces[:max(play.after, 0)]
    return replace(answer, pieces=good + tuple((event, 0) for event in error_events(play)))


def _truncated(answer, play, error_events):
    *good, (last, tokens) = answer.pieces if not _streams(answer) else answer.pieces[:max(len(answer.pieces) // 2, 1)]
    return replace(answer, pieces=(*good, (last[:len(last) // 2], tokens)))


def _insert(answer: Answer, data: bytes) -> Answer:
    """`data` after the first two pieces of a stream; instead of a whole answer."""
    if not _streams(answer):
        return replace(answer, pieces=((data, answer.output),))
    return replace(answer, pieces=(*answer.pieces[:2], (data, 0), *answer.pieces[2:]))


def _bad_utf8(answer, play, error_events):
    return replace(answer, pieces=tuple((data.replace(b" aa", b" \xff\xfe"), tokens) for data, tokens in answer.pieces))


def _bad_sse(answer, play, error_events):
    return _insert(answer, b"this line is no field\n\ndata: {\"cut\": \n\n\x00\x01\n\n")


def _long_line(answer, play, error_events):
    pad = b"x" * (play.mb * MIB)
    if _streams(answer):
        return _insert(answer, b'data: {"choices":[],"pad":"' + pad + b'"}\n\n')
    return _insert(answer, answer.pieces[-1][0][:-1] + b',"pad":"' + pad + b'"}')


@functools.lru_cache(maxsize=4)
def _bomb(mb: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * MIB) for _ in range(mb)) + packer.flush()


def _gzip_bomb(answer, play, error_events):
    return replace(answer, pieces=((_bomb(play.mb), 0),), headers=(*answer.headers, ("Content-Encoding", "gzip")))


def _endless(answer, play, error_events):
    again = next(((data, tokens) for data, tokens in answer.pieces if tokens), (b" " * 1024, 0))
    if not _streams(answer):
        again = (b" " * 1024, 0)
    good = tuple(piece for piece in answer.pieces if piece[1]) if _streams(answer) else ()
    return replace(answer, pieces=good, endless=again, framing="chunked")


SHAPES = {"html": _html, "empty": _empty, "error_body": _error_body, "error_first": _error_first,
          "error_mid": _error_mid,
          "truncated": _truncated, "bad_utf8": _bad_utf8, "bad_sse": _bad_sse, "long_line": _long_line,
          "gzip_bomb": _gzip_bomb, "endless": _endless}
