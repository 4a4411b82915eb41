"""The wire `openai.transcriptions`: POST /v1/audio/transcriptions, a recording in, its text out, whole or as events.

The recording goes on as it came, under its own file name; only `model` is rewritten. Priced per second of the recording
(its own headers or the upstream tell the length), or by tokens where they are reported.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors, multipart
from smartoken_plugins.wire_openai.openapi import (
    COUNT,
    MODEL,
    NULL,
    REPEAT,
    STRING,
    THROUGH,
    answer,
    either,
    events,
    many,
    table,
)
from smartoken_plugins.wire_openai.tap import Tap
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import COUNTED, REPORTED, Ask, Failure, Part, Usage, Wire, audio_ms

NAME = "openai.transcriptions"
MAX_COST = "max_cost_micro_usd"      # a number to the gateway, which takes it out; a form has texts only
FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
FILE_MAX = 25 << 20
BYTES_A_MS = 4           # 32 kbit/s: where a recording does not tell its length
BOUNDARY = f"smartoken{secrets.token_hex(16)}"      # of what goes upstream; nobody can put it into a recording


def peek(data: bytes) -> Ask:
    """Model and recording. The boundary is taken from the body itself: its first line is one."""
    first = data[:200].split(b"\r\n", 1)[0]
    if not first.startswith(b"--"):
        raise read.bad("The body must be multipart/form-data that begins with its boundary.")
    boundary = first[2:].decode("latin-1")
    parts = multipart.parts_of(data, f'multipart/form-data; boundary="{boundary}"')
    plain = {part.name: _text(part) for part in parts if not part.filename}
    files = [part for part in parts if part.name == "file"]
    if not plain.get("model"):
        raise read.bad("'model' is required.", param="model")
    if len(files) != 1 or not files[0].data:
        raise read.bad("'file' is required, once: a recording.", param="file")
    if len(files[0].data) > FILE_MAX:
        raise read.bad(f"'file' must be at most {FILE_MAX >> 20} MB.", param="file")
    if plain.get("response_format", "json") not in FORMATS:
        raise read.bad(f"'response_format' must be one of {', '.join(FORMATS)}.", param="response_format")
    length = audio_ms(files[0].data)
    fields = {name: read.raw(text) for name, text in plain.items()}
    if plain.get(MAX_COST, "").isdigit():
        fields[MAX_COST] = msgspec.Raw(plain[MAX_COST].encode())
    return Ask(wire=NAME, slug=plain["model"], stream=plain.get("stream") in ("true", "1", "True"), body=b"",
               fields=fields, audio_ms=len(files[0].data) // BYTES_A_MS if length is None else length,
               files=tuple(parts))


def _text(part: Part) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        raise read.bad(f"'{part.name}' is not UTF-8.", param=part.name) from None


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The parts as they came, with the upstream's name of the model, without fields that the gateway took out."""
    parts = [Part("model", "", "", upstream_name.encode()) if part.name == "model" else part for part in ask.files
             if part.filename or part.name in ask.fields]
    return multipart.write(parts, BOUNDARY)[0]


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> Tap:
    """A reader of one attempt's events."""
    return Tap(_hear, lambda tap: _usage(ask, tap.figures))


def _hear(tap: Tap, event: dict[str, Any]) -> None:
    if "error" in event:
        tap.failure = errors.failure_in(event)
    elif event.get("type") == "transcript.text.done":
        tap.ended = tap.finished = True
        tap.figures = event


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """Usage and failure of a complete answer. text, srt and vtt are plain text and tell no usage."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if isinstance(found, dict):
        if "text" not in found:
            return None, errors.failure_in(found) or Failure("The upstream's answer has no text.", code="no_text"), 0
        return _usage(ask, found), None, 0
    if _format(ask) in ("text", "srt", "vtt"):
        return _usage(ask, {}), None, 0
    return None, Failure("The upstream's answer is not valid JSON.", code="not_json"), 0


def _usage(ask: Ask, found: Mapping[str, Any]) -> Usage:
    """The recording's length, and tokens where they are told."""
    told = found.get("usage") if isinstance(found.get("usage"), dict) else {}
    tokens = usage_of(told) or Usage(source=COUNTED)
    seconds = told.get("seconds", found.get("duration"))
    reported = type(seconds) in (int, float) and 0 <= seconds <= 86_400
    length = round(seconds * 1000) if reported else ask.audio_ms
    source = REPORTED if reported or tokens.source == REPORTED else COUNTED
    return msgspec.structs.replace(tokens, audio_ms=length, source=source)


def _format(ask: Ask) -> str:
    return msgspec.json.decode(ask.fields["response_format"]) if "response_format" in ask.fields else "json"


def answer_type(ask: Ask, upstream: bytes) -> bytes:
    """Plain text where that was asked for."""
    if ask.stream and b"event-stream" in upstream:
        return b"text/event-stream"
    return b"text/plain; charset=utf-8" if _format(ask) in ("text", "srt", "vtt") else b"application/json"


_USAGE = either(table({"type": {"const": "duration"}, "seconds": {"type": "number", "minimum": 0}}, "type", "seconds"),
                table({"type": {"const": "tokens"}, "input_tokens": COUNT, "output_tokens": COUNT,
                       "total_tokens": COUNT}, "type", "input_tokens", "output_tokens"), NULL)
_ANSWER = table({"text": STRING, "usage": _USAGE, "language": STRING, "duration": {"type": "number"},
                 "segments": many(table({})), "words": many(table({}))}, "text", title="Transcription", says=THROUGH)
_EVENT = either(table({"type": {"enum": ["transcript.text.delta"]}, "delta": STRING}, "type", "delta"),
                table({"type": {"enum": ["transcript.text.done"]}, "text": STRING, "usage": _USAGE}, "type", "text"),
                table({"type": {"enum": ["transcript.text.segment"]}, "text": STRING}, "type"),
                title="TranscriptionEvent")
OPERATION = {
    "summary": "Speech to text", "tags": ["Audio"], "errors": ("key", "relayed"), "parameters": [REPEAT],
    "description": "The recording and every other part go on as they came.",
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": table({
        "file": {"type": "string", "format": "binary", "minLength": 1}, "model": MODEL,
        "response_format": {"enum": list(FORMATS)}, "stream": {"enum": ["true", "false"]}, "language": STRING,
        "prompt": STRING}, "file", "model", title="TranscriptionForm", says=THROUGH)}}},
    "responses": answer(_ANSWER, "The text", {"text": "Hello!", "usage": {"type": "duration", "seconds": 2}}, **{
        "text/plain": {"schema": STRING, "example": "Hello!"},
        "text/event-stream": events(_EVENT, 'data: {"type":"transcript.text.delta","delta":"Hello!"}\n\ndata: '
                                    '{"type":"transcript.text.done","text":"Hello!"}\n\n')}),
}

WIRE = Wire(name=NAME, paths=("/v1/audio/transcriptions",), peek=peek, body=body, reader=reader, whole=whole,
            refuse=errors.refuse, refuse_in_stream=errors.refuse_in_stream, failure=errors.failure,
            answer_type=answer_type, insured=False, content_type=f"multipart/form-data; boundary={BOUNDARY}",
            openapi={"/v1/audio/transcriptions": {"post": OPERATION}})
