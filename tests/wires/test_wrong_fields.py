"""Fields of a wrong type: each is a 400 that names the field and what to send, whatever was sent instead."""

import json

import pytest
from smartoken_plugins.wire_openai import body, images, responses, speech, videos

from smartoken.errors import Refusal

ODD = [True, 0, 1.5, [], {}, ["x"], {"a": 1}, [[]], ""]
IMAGE = {"model": "m", "prompt": "p"}
FILM = {"model": "m", "prompt": "p", "resolution": "720P", "duration": 5}
SPEECH = {"model": "m", "input": "i", "voice": "v"}
OPTIONAL = [
    (lambda data: images.peek(data, ""), IMAGE, "size"), (lambda data: images.peek(data, ""), IMAGE, "quality"),
    (lambda data: images.peek(data, ""), IMAGE, "response_format"),
    (lambda data: videos.peek(data, ""), FILM, "ratio"), (lambda data: videos.peek(data, ""), FILM, "resolution"),
    (lambda data: videos.peek_openai(data, ""), FILM, "ratio"),
    (speech.peek, SPEECH, "response_format"), (speech.peek, SPEECH, "stream_format"),
    (responses.peek, {"model": "m", "input": "i"}, "previous_response_id"),
]


@pytest.mark.parametrize(("peek", "base", "name"), OPTIONAL)
def test_an_optional_text_is_a_text_or_null(peek, base, name):
    for value in ODD:
        with pytest.raises(Refusal) as told:
            peek(json.dumps(base | {name: value}).encode())
        assert (told.value.status, told.value.param) == (400, name)
        assert told.value.message == f"'{name}' must be a non-empty string.", "it is not required"
    peek(json.dumps(base | {name: None}).encode())


@pytest.mark.parametrize(("base", "name"), [({"size": "9" * 5000 + "x1"}, "size"), ({"size": "²x1"}, "size"),
                                            ({"resolution": "720P", "seconds": "9" * 5000}, "seconds"),
                                            ({"resolution": "720P", "seconds": "0"}, "seconds")])
def test_numbers_of_films_have_an_end(base, name):
    with pytest.raises(Refusal) as told:
        videos.peek_openai(json.dumps({"model": "m", "prompt": "p", **base}).encode(), "")
    assert (told.value.status, told.value.param) == (400, name)


def test_an_empty_body_is_told_as_such():
    with pytest.raises(Refusal, match="The body is empty"):
        body.fields_of(b"")
