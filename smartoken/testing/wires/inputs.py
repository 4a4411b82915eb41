"""The pretend upstream's inputs of responses: what a stored one was asked, and the count of an input's tokens."""

import msgspec

from smartoken.testing.answers import Answer, Talk, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil

PATHS = ("/responses/{id}/input_items", "/responses/input_tokens")


class Asked(msgspec.Struct):
    """A count has a body; for items `model` is the id, from the path."""

    model: str = ""
    input: msgspec.Raw = msgspec.Raw(b"")
    stream: bool = False
    x_fault: str = ""


def read(body: bytes) -> Asked:
    """JSON or nothing."""
    return msgspec.json.decode(body or b"{}", type=Asked)


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """One message stands for all that was ever asked."""
    said = {"type": "message", "id": "msg_0", "role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}
    body = {"object": "response.input_tokens", "input_tokens": len(asked.input) // 4 + 1} if asked.input else {
        "object": "list", "data": [said], "first_id": "msg_0", "last_id": "msg_0", "has_more": False}
    return spoil(Answer(200, "application/json", ((dumps(body), 0),), "length"), play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """Nothing here streams: the error is the body."""
    return (dumps(error_value(play)),)
