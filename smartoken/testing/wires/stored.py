"""The pretend upstream's stored responses: every id is known; a deletion is told in the same object."""

import msgspec

from smartoken.testing.answers import Answer, Talk, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil
from smartoken.testing.wires.responses import CREATED

PATHS = ("/responses/{id}", "/responses/{id}:delete")


class Asked(msgspec.Struct):
    """There is no body; `model` is the id, from the path."""

    model: str = ""
    stream: bool = False
    x_fault: str = ""


def read(body: bytes) -> Asked:
    """Nothing to read."""
    return Asked()


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """The response; who deletes it looks at `deleted` alone."""
    body = {"id": asked.model, "object": "response", "created_at": CREATED, "status": "completed", "model": "m",
            "output": [], "error": None, "incomplete_details": None, "usage": None, "deleted": True}
    return spoil(Answer(200, "application/json", ((dumps(body), 0),), "length"), play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """Nothing here streams: the error is the body."""
    return (dumps(error_value(play)),)
