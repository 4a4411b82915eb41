"""The pretend upstream's list of models; only its shape matters."""

import msgspec

from smartoken.testing.answers import Answer, Talk, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil

PATHS = ("/models",)
NAMES = ("test-model", "test-embedding")


class Asked(msgspec.Struct):
    """Nothing is asked: a GET has no body."""

    model: str = ""
    stream: bool = False
    x_fault: str = ""


def read(body: bytes) -> Asked:
    """Always the same."""
    return Asked()


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """OpenAI's list."""
    body = {"object": "list", "data": [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "upstream"}
                                       for name in NAMES]}
    return spoil(Answer(200, "application/json", ((dumps(body), 0),), "length"), play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """The error is the body."""
    return (dumps(error_value(play)),)
