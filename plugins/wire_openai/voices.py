"""Voices as OpenAI itself clones them: POST /audio/voices. Its consent recording is the channel's `voice_consent`."""

from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from smartoken_plugins.wire_openai import errors, multipart

from smartoken.plugin import Failure, Outgoing, Part, Sample, VoiceMaker, refuse


def clone(sample: Sample, upstream_name: str, settings: Mapping[str, Any]) -> Generator[Outgoing, bytes, str]:
    """name, audio_sample, and the consent that the operator recorded there (setting `voice_consent`)."""
    parts = [Part("name", "", "", sample.name.encode()),
             Part("audio_sample", sample.filename, sample.content_type, sample.data)]
    if settings.get("voice_consent"):
        parts.append(Part("consent", "", "", str(settings["voice_consent"]).encode()))
    said = yield Outgoing("POST", "/audio/voices", *multipart.write(parts))
    voice = msgspec.json.decode(said).get("id")
    if not isinstance(voice, str) or not voice:
        raise refuse("upstream", "The upstream named no voice.", code="bad_answer")
    return voice


def remove(voice: str) -> Outgoing:
    """DELETE /audio/voices/{id}."""
    return Outgoing("DELETE", f"/audio/voices/{quote(voice, safe='')}")


def failure(body: bytes) -> Failure | None:
    """None for a good answer."""
    try:
        found = msgspec.json.decode(body) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Failure("", code="not_json")
    return errors.failure_in(found) if isinstance(found, dict) and "error" in found else None


VOICES = VoiceMaker(clone=clone, remove=remove, failure=failure)
