"""CosyVoice over HTTP: speech as events with base64 in them, and voices cloned from a sample that DashScope fetches.

A channel serves clients of openai.speech with `bridges = ["speech"]`. (docs: text-to-speech-http, cosyvoice-clone-api)
"""

import base64
import re
from collections.abc import Generator, Mapping
from typing import Any

import msgspec
from smartoken_plugins.dashscope import tasks
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import spoken
from smartoken_plugins.wire_openai.tap import Tap

from smartoken.plugin import Ask, Bridge, Failure, Outgoing, Sample, VoiceMaker, refuse

NAME = "dashscope.speech"
PATH = "//api/v1/services/audio/tts/SpeechSynthesizer"
CUSTOMIZATION = "/services/audio/tts/customization"
FORMATS = ("mp3", "wav", "pcm", "opus")
SAMPLE_HZ = 24_000


def hear(tap: Tap, event: dict[str, Any]) -> None:
    """`output.finish_reason` "stop" is the end; an event with a code is an error."""
    if event.get("code"):
        tap.failure = tasks.failure_in(event)
        return
    usage, output = event.get("usage"), event.get("output")
    if isinstance(usage, dict) and "characters" in usage:
        tap.figures["characters"] = usage["characters"]
    if isinstance(output, dict) and output.get("finish_reason") == "stop":
        tap.ended = tap.finished = True


def sound(event: dict[str, Any]) -> bytes:
    """`output.audio.data`, base64."""
    audio = (event.get("output") or {}).get("audio") or {}
    return base64.b64decode(audio.get("data") or b"")


def request(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """SpeechSynthesizer's body."""
    found = spoken.fields_of(ask, FORMATS, ("instructions",))
    given: dict[str, Any] = {"text": found["input"], "voice": found["voice"], "format": found["response_format"],
                             "sample_rate": SAMPLE_HZ}
    if found.get("speed") is not None:
        if not 0.5 <= found["speed"] <= 2:
            raise read.bad("'speed' must be from 0.5 to 2 for this model.", param="speed")
        given["rate"] = found["speed"]
    if found.get("instructions"):
        given["instruction"] = found["instructions"]
    return msgspec.json.encode({"model": upstream_name, "input": given})


def clone(sample: Sample, upstream_name: str, settings: Mapping[str, Any]) -> Generator[Outgoing, bytes, str]:
    """create_voice: the sample by its URL, which must be reachable from outside; later speech uses the same model."""
    prefix = re.sub(r"[^a-z0-9]", "", sample.name.lower())[:9] or "voice"
    asked = {"model": "voice-enrollment", "input": {"action": "create_voice", "target_model": upstream_name,
                                                    "prefix": prefix, "url": sample.url}}
    if sample.language:
        asked["input"]["language_hints"] = [sample.language]
    said = yield _customize(asked)
    voice = (msgspec.json.decode(said).get("output") or {}).get("voice_id")
    if not isinstance(voice, str) or not voice:
        raise refuse("upstream", "The upstream named no voice.", code="bad_answer")
    return voice


def state(voice: str) -> Outgoing:
    """query_voice: a voice is reviewed before it may be used."""
    return _customize({"model": "voice-enrollment", "input": {"action": "query_voice", "voice_id": voice}})


def read_state(body: bytes) -> str:
    """OK, DEPLOYING (under review) or UNDEPLOYED (refused)."""
    status = (msgspec.json.decode(body).get("output") or {}).get("status")
    return {"OK": "ready", "UNDEPLOYED": "failed"}.get(status, "processing")


def remove(voice: str) -> Outgoing:
    """delete_voice."""
    return _customize({"model": "voice-enrollment", "input": {"action": "delete_voice", "voice_id": voice}})


def failure(body: bytes) -> Failure | None:
    """None for a good answer."""
    found = tasks.failure(body)
    return found if found.message or found.code else None


def _customize(asked: dict[str, Any]) -> Outgoing:
    return Outgoing("POST", CUSTOMIZATION, msgspec.json.encode(asked))


WIRE = spoken.wire(NAME, hear, {b"x-dashscope-sse": b"enable"})
BRIDGE = Bridge("openai.speech", NAME, request=request, answer=lambda data, ask: data,
                stream=lambda ask: spoken.Sounds(sound))
VOICES = VoiceMaker(clone=clone, remove=remove, failure=failure, state=state, read_state=read_state, root=tasks.root)
