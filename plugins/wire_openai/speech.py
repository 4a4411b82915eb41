"""The wire `openai.speech`: POST /v1/audio/speech, audio as it is made, or events with audio in them.

Priced per character of the text (a provider's own count where it reports one), per second of audio, or by tokens where
they are reported. After the first byte an error can only cut the connection.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors
from smartoken_plugins.wire_openai.openapi import COUNT, MODEL, REPEAT, TEXT, THROUGH, asked, either, events, table
from smartoken_plugins.wire_openai.tap import Tap
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import COUNTED, REPORTED, Ask, Failure, Refusal, Usage, Wire, audio_ms

NAME = "openai.speech"
TYPES = {"mp3": b"audio/mpeg", "opus": b"audio/opus", "aac": b"audio/aac", "flac": b"audio/flac", "wav": b"audio/wav",
         "pcm": b"audio/pcm"}
INPUT_MAX = 10_000       # characters; upstreams have lower limits of their own
MS_A_CHARACTER = 250     # to hold money for, and where nothing can be measured; Chinese is the slowest
PCM_BYTES_A_MS = 48      # 24 kHz, 16 bit, one channel
OURS = "voice_"          # how a cloned voice's id begins
MEASURED_MAX = 32 << 20


def peek(data: bytes) -> Ask:
    """Model, text and voice; ranges as OpenAI has them."""
    fields = read.fields_of(data)
    slug, text = read.text(fields, "model"), read.text(fields, "input")
    if len(text) > INPUT_MAX:
        raise read.bad(f"'input' must be at most {INPUT_MAX} characters.", param="input")
    if format_of(fields) not in TYPES:
        raise read.bad(f"'response_format' must be one of {', '.join(TYPES)}.", param="response_format")
    if stream_of(fields) not in ("audio", "sse"):
        raise read.bad("'stream_format' must be 'audio' or 'sse'.", param="stream_format")
    speed = value(fields, "speed")
    if speed is not None and (type(speed) not in (int, float) or not 0.25 <= speed <= 4):
        raise read.bad("'speed' must be a number from 0.25 to 4.", param="speed")
    voice = value(fields, "voice")
    voice = voice.get("id") if isinstance(voice, dict) else voice
    if not isinstance(voice, str) or not voice:
        raise read.bad("'voice' is required: a name, or {\"id\": …}.", param="voice")
    return Ask(wire=NAME, slug=slug, stream=True, body=data, fields=fields, characters=len(text),
               audio_ms=len(text) * MS_A_CHARACTER, voice=voice if voice.startswith(OURS) else "")


def format_of(fields: Mapping[str, msgspec.Raw]) -> str:
    """The audio's format; mp3 where nothing is said. Refusal 400."""
    return read.word(fields, "response_format", "mp3")


def stream_of(fields: Mapping[str, msgspec.Raw]) -> str:
    """'audio' or 'sse'. Refusal 400 where it is no text."""
    return read.word(fields, "stream_format", "audio")


def value(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    """A field decoded, None when absent. Refusal 400."""
    found = fields.get(name)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found)
    except msgspec.DecodeError:
        raise read.bad(f"'{name}' is not valid JSON.", param=name) from None


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The client's fields with the upstream's name of the model."""
    if upstream_name == ask.slug:
        return read.encode(ask.fields)
    return read.encode({**ask.fields, "model": read.raw(upstream_name)})


class AudioReader:
    """A StreamReader of bare audio: every byte goes on at once."""

    def __init__(self, ask: Ask):
        self._ask, self._format = ask, format_of(ask.fields)
        self._parts: list[bytes] = []
        self._size = 0
        self.started = self.ended = self.finished = False
        self.failure: Failure | None = None
        self.counted = self.pending = 0

    def feed(self, data: bytes) -> bytes:
        """Audio in, the same out."""
        self.started = self.finished = True
        self._size += len(data)
        if self._format != "pcm" and self._size <= MEASURED_MAX:
            self._parts.append(data)
        return data

    def close(self) -> bytes:
        """Whether it is whole, the connection told."""
        return b""

    def usage(self) -> Usage | None:
        """The text's characters, and the audio's length as far as it can be told."""
        if self._format == "pcm":
            length = self._size // PCM_BYTES_A_MS
        else:
            length = audio_ms(b"".join(self._parts)) or self._ask.audio_ms
        return Usage(characters=self._ask.characters, audio_ms=length, source=COUNTED)

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """Its cost is known before it begins: it is not cut."""
        return b""

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """Audio has no place for it."""
        return b""


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> AudioReader | Tap:
    """A reader of one attempt."""
    if stream_of(ask.fields) == "audio":
        return AudioReader(ask)
    return Tap(_hear, lambda tap: _tokens(ask, tap))


def _hear(tap: Tap, event: dict[str, Any]) -> None:
    if "error" in event:
        tap.failure = errors.failure_in(event)
    elif event.get("type") == "speech.audio.done":
        tap.ended = tap.finished = True
        tap.figures = event.get("usage") or {}


def _tokens(ask: Ask, tap: Tap) -> Usage:
    found = usage_of(tap.figures) or Usage()
    return msgspec.structs.replace(found, characters=ask.characters, audio_ms=ask.audio_ms, source=REPORTED)


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """JSON where audio should be: an error, or a fault."""
    return None, errors.failure(data) if data else Failure("The upstream sent no audio.", code="no_audio"), 0


def answer_type(ask: Ask, upstream: bytes) -> bytes:
    """What the client gets is what it asked for."""
    if stream_of(ask.fields) == "sse":
        return b"text/event-stream"
    return upstream if upstream.startswith(b"audio/") else TYPES[format_of(ask.fields)]


def no_words(refusal: Any, rid: str) -> bytes:
    """Nothing can be said in the midst of audio: the connection is cut."""
    return b""


_EVENT = either(
    table({"type": {"const": "speech.audio.delta"}, "audio": {"type": "string", "description": "base64"}},
          "type", "audio"),
    table({"type": {"const": "speech.audio.done"}, "usage": table({
        "input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT})}, "type"), title="SpeechEvent")
OPERATION = {
    "summary": "Text to speech", "tags": ["Audio"], "errors": ("key", "relayed", "voice"), "parameters": [REPEAT],
    "description": "Audio as it is made. `voice` is a name of the model's, or the id of a voice of your own.",
    "requestBody": asked(table({
        "model": MODEL, "input": {"type": "string", "minLength": 1, "maxLength": INPUT_MAX},
        "voice": either(TEXT, table({"id": TEXT}, "id")), "instructions": {"type": "string"},
        "response_format": {"enum": list(TYPES)}, "speed": {"type": ["number", "null"], "minimum": 0.25, "maximum": 4},
        "stream_format": {"enum": ["audio", "sse"]}}, "model", "input", "voice", title="SpeechRequest", says=THROUGH),
        {"model": "{speech}", "input": "Hello!", "voice": "alloy"}),
    "responses": {"200": {"description": "The audio, or its events (`stream_format: sse`)", "content": {
        **{kind.decode(): {"schema": {"type": "string", "format": "binary"}} for kind in TYPES.values()},
        "text/event-stream": events(_EVENT, 'data: {"type":"speech.audio.delta","audio":"//uQxAAA"}\n\ndata: '
                                    '{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,'
                                    '"total_tokens":115}}\n\n')}}},
}

WIRE = Wire(name=NAME, paths=("/v1/audio/speech",), peek=peek, body=body, reader=reader, whole=whole,
            refuse=errors.refuse, refuse_in_stream=no_words, failure=errors.failure, answer_type=answer_type,
            insured=False,
            openapi={"/v1/audio/speech": {"post": OPERATION}})
