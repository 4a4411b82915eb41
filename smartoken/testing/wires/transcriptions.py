"""The pretend upstream's transcriptions: the file's name, spoken back."""

import re

import msgspec

from smartoken.testing.answers import Answer, Talk, data_event, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil, usage_numbers

PATHS = ("/audio/transcriptions",)


class Asked(msgspec.Struct):
    """What shapes the answer."""

    model: str
    filename: str
    response_format: str = "json"
    stream: bool = False
    x_fault: str = ""


def read(body: bytes) -> Asked:
    """Of a multipart body. ValueError (as msgspec raises it) where a field is missing."""
    plain = {name.decode(): value.decode() for name, value in
             re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', body, re.S)}
    named = re.search(rb'name="file"; filename="([^"]*)"', body)
    if "model" not in plain or named is None:
        raise msgspec.ValidationError("model and file are required")
    return Asked(plain["model"], named[1].decode(), plain.get("response_format", "json"),
                 plain.get("stream") == "true", plain.get("x_fault", ""))


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """In the format asked for; json tells seconds, the others nothing."""
    text = f"You sent {asked.filename}."
    if asked.stream:
        pieces = [data_event({"type": "transcript.text.delta", "delta": word}) for word in text.split()]
        pieces.append(data_event({"type": "transcript.text.done", "text": text, "usage": {
            "type": "tokens", "input_tokens": 14, "output_tokens": 6, "total_tokens": 20}}))
        return spoil(Answer(200, "text/event-stream", tuple((piece, 0) for piece in pieces), "chunked"), play,
                     error_events)
    if asked.response_format in ("text", "srt", "vtt"):
        return spoil(Answer(200, "text/plain", ((text.encode(), 0),), "length"), play, error_events)
    body = {"text": text}
    usage = usage_numbers({"type": "duration", "seconds": 9} if not play.usage else {"seconds": 9}, play.usage)
    if usage is not None:
        body["usage"] = usage
    return spoil(Answer(200, "application/json", ((dumps(body), 0),), "length"), play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """An error where an event should be."""
    return (data_event(error_value(play)),)
