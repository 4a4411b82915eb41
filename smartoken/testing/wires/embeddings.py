"""The pretend upstream's OpenAI embeddings: a vector that depends on the text alone."""

from typing import Any

import msgspec

from smartoken.testing.answers import Answer, Talk, dumps, error_value, pack_floats, vector
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil, usage_numbers

PATHS = ("/embeddings",)
DIMENSIONS = 16


class Asked(msgspec.Struct):
    """What shapes the answer."""

    model: str
    input: Any
    encoding_format: str = "float"
    dimensions: int | None = None
    stream: bool = False
    x_fault: str = ""


read = msgspec.json.Decoder(Asked).decode


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """One vector per input; the prompt counts a token per four bytes of each."""
    inputs = asked.input if isinstance(asked.input, list) and not _is_ids(asked.input) else [asked.input]
    texts = [text if isinstance(text, str) else dumps(text).decode() for text in inputs]
    prompt = play.input if play.input >= 0 else sum(len(text.encode()) // 4 + 1 for text in texts)
    vectors = [vector(text, asked.dimensions or DIMENSIONS) for text in texts]
    body = {"object": "list", "model": asked.model, "data": [
        {"object": "embedding", "index": index,
         "embedding": pack_floats(values) if asked.encoding_format == "base64" else values}
        for index, values in enumerate(vectors)]}
    usage = usage_numbers({"prompt_tokens": prompt, "total_tokens": prompt}, play.usage)
    if usage is not None:
        body["usage"] = usage
    return spoil(Answer(200, "application/json", ((dumps(body), 0),), "length", prompt), play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """Embeddings never stream: the error is the body."""
    return (dumps(error_value(play)),)


def _is_ids(value: list) -> bool:
    return bool(value) and all(type(item) is int for item in value)
