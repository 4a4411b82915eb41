"""Seedream: OpenAI's shape with its own ideas of `n` and of the watermark (on unless told otherwise)."""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import errors
from smartoken_plugins.wire_openai.images import pictures_of, said

from smartoken.plugin import Ask, Maker, Outgoing

UNKNOWN = ("n", "images", "quality", "style", "user", "response_format", "background", "moderation")


def submit(ask: Ask, upstream_name: str, path: str, settings: Mapping[str, Any]) -> Outgoing:
    """More than one picture is a sequence there, which may end early: what comes is what is paid for."""
    given = {name: msgspec.json.decode(value) for name, value in ask.fields.items()}
    pictures = pictures_of(given, ask.files)
    body = {name: value for name, value in given.items() if name not in UNKNOWN}
    body |= {"model": upstream_name, "response_format": "url", "watermark": body.get("watermark", False)}
    if ask.size:
        body["size"] = ask.size
    if ask.images > 1:
        body["sequential_image_generation"] = "auto"
        body["sequential_image_generation_options"] = {"max_images": ask.images}
    if pictures:
        body["image"] = pictures
    return Outgoing("POST", path, msgspec.json.encode(body))


MAKER = Maker(submit, said, errors.failure)
