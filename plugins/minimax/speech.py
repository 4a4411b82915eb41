"""t2a_v2: speech as events with hexadecimal audio; voices: a file is uploaded, then cloned under a name we choose."""

import re
import secrets
from collections.abc import Generator, Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors, multipart, spoken
from smartoken_plugins.wire_openai.tap import Tap

from smartoken.plugin import Ask, Bridge, Failure, Outgoing, Part, Sample, VoiceMaker, refuse

NAME = "minimax.speech"
FORMATS = ("mp3", "pcm", "flac", "wav")
SAMPLE_HZ = 32_000
LAST = 2                 # `data.status` of the event that ends the stream (and may hold all of the audio again)


def hear(tap: Tap, event: dict[str, Any]) -> None:
    """base_resp tells an error; the last event tells what was used."""
    failure = errors.failure_in(event) if "base_resp" in event or "error" in event else None
    if failure is not None:
        tap.failure = failure
        return
    told = event.get("extra_info")
    if isinstance(told, dict):
        tap.figures = {"characters": told.get("usage_characters"), "audio_ms": told.get("audio_length")}
    if (event.get("data") or {}).get("status") == LAST:
        tap.ended = tap.finished = True


class _Sound:
    """The audio of the events; that of the last one only if nothing came before it."""

    def __init__(self) -> None:
        self._heard = False

    def __call__(self, event: dict[str, Any]) -> bytes:
        data = event.get("data") or {}
        if data.get("status") == LAST and self._heard:
            return b""
        sound = bytes.fromhex(data.get("audio") or "")
        self._heard = self._heard or bool(sound)
        return sound


def request(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """t2a_v2's body."""
    found = spoken.fields_of(ask, FORMATS)
    voice = {"voice_id": found["voice"]}
    if found.get("speed") is not None:
        if not 0.5 <= found["speed"] <= 2:
            raise read.bad("'speed' must be from 0.5 to 2 for this model.", param="speed")
        voice["speed"] = found["speed"]
    return msgspec.json.encode({
        "model": upstream_name, "text": found["input"], "stream": True,
        "stream_options": {"exclude_aggregated_audio": True}, "voice_setting": voice,
        "audio_setting": {"format": found["response_format"], "sample_rate": SAMPLE_HZ}})


def clone(sample: Sample, upstream_name: str, settings: Mapping[str, Any]) -> Generator[Outgoing, bytes, str]:
    """files/upload, then voice_clone. File ids may be larger than 2**53; msgspec reads them exactly."""
    body, content_type = multipart.write([Part("purpose", "", "", b"voice_clone"),
                                          Part("file", sample.filename, sample.content_type, sample.data)])
    said = yield Outgoing("POST", "/files/upload", body, content_type)
    file_id = (msgspec.json.decode(said).get("file") or {}).get("file_id")
    if type(file_id) is not int:
        raise refuse("upstream", "The upstream took no file.", code="bad_answer")
    name = re.sub(r"[^A-Za-z0-9]", "", sample.name)[:32]
    voice = f"v{name}{secrets.token_hex(8)}"
    yield Outgoing("POST", "/voice_clone", msgspec.json.encode({"file_id": file_id, "voice_id": voice}))
    return voice


def remove(voice: str) -> Outgoing:
    """delete_voice."""
    return Outgoing("POST", "/delete_voice", msgspec.json.encode({"voice_type": "voice_cloning", "voice_id": voice}))


def failure(body: bytes) -> Failure | None:
    """None for a good answer: base_resp tells, whatever the HTTP status."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Failure("", code="not_json")
    base = found.get("base_resp") if isinstance(found, dict) else None
    if isinstance(base, dict) and base.get("status_code") == 0:
        return None
    return errors.failure_in(found) or Failure("")


WIRE = spoken.wire(NAME, hear, {})
BRIDGE = Bridge("openai.speech", NAME, request=request, answer=lambda data, ask: data,
                stream=lambda ask: spoken.Sounds(_Sound()))
VOICES = VoiceMaker(clone=clone, remove=remove, failure=failure)
