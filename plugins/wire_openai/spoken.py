"""What a bridge from openai.speech has in common with any other: it reads the fields, refuses what cannot be said.

Used by the providers that speak a dialect of their own (dashscope, minimax).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors, speech
from smartoken_plugins.wire_openai.chat_stream import payload
from smartoken_plugins.wire_openai.tap import Tap

from smartoken.plugin import COUNTED, REPORTED, Ask, Failure, Usage, Wire

HUGE = 10_000_000        # no text has so many characters; such a count is a fault
KNOWN = frozenset({"model", "input", "voice", "response_format", "speed", "stream_format", "instructions"})


def fields_of(ask: Ask, formats: Collection[str], able: Collection[str] = ()) -> dict[str, Any]:
    """The client's fields, decoded, with the format filled in. Refusal 400 for what the upstream cannot do: formats
    other than `formats`, events, and fields beyond text, voice and speed that are not in `able`."""
    found = {name: speech.value(ask.fields, name) for name in ask.fields}
    found["response_format"] = speech.format_of(ask.fields)
    if found["response_format"] not in formats:
        raise read.bad(f"'response_format' must be one of {', '.join(formats)} for this model.",
                       param="response_format")
    if speech.stream_of(ask.fields) != "audio":
        raise read.bad("'stream_format' must be 'audio' for this model.", param="stream_format")
    for name, value in found.items():
        unable = name == "instructions" and name not in able and value
        if unable or (name not in KNOWN and name not in able):
            raise read.bad(f"'{name}' is not understood for this model.", param=name)
    voice = found["voice"]
    found["voice"] = voice["id"] if isinstance(voice, dict) else voice
    return found


class Sounds:
    """A bridge's stream: events in, audio out. `sound(event)` gives the audio of one decoded event, b'' for none."""

    def __init__(self, sound: Callable[[dict[str, Any]], bytes]):
        self._sound = sound
        self._rest, self._begun = b"", False

    def feed(self, data: bytes) -> bytes:
        """A WAV header in the middle belongs to a piece, not to the whole: it is left out."""
        *events, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        out = []
        for event in events:
            found = payload(event)
            sound = self._sound(msgspec.json.decode(found)) if found else b""
            if sound and self._begun and sound[:4] == b"RIFF" and sound[8:12] == b"WAVE":
                sound = sound[44:]
            self._begun = self._begun or bool(sound)
            out.append(sound)
        return b"".join(out)

    def close(self) -> bytes:
        """An event without its blank line still counts."""
        return self.feed(b"\n\n") if self._rest.strip() else b""


def wire(name: str, hear: Callable[[Tap, dict[str, Any]], None], pass_headers: Mapping[bytes, bytes]) -> Wire:
    """An upstream's own wire of speech. `hear` notes failure, end, and figures["characters"]; figures["audio"] says
    that some sound has come."""
    return Wire(name=name, paths=(), peek=speech.peek, body=speech.body,
                reader=lambda ask, quirks, keep: Tap(hear, lambda tap: _usage(ask, tap)), whole=_whole,
                refuse=errors.refuse, refuse_in_stream=speech.no_words, failure=errors.failure, insured=False,
                pass_headers=pass_headers)


def _usage(ask: Ask, tap: Tap) -> Usage:
    count = tap.figures.get("characters")
    reported = type(count) is int and 0 < count < HUGE
    length = tap.figures.get("audio_ms")
    return Usage(characters=count if reported else ask.characters,
                 audio_ms=length if type(length) is int and 0 <= length < HUGE else ask.audio_ms,
                 source=REPORTED if reported else COUNTED)


def _whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[None, Failure, int]:
    failure = errors.failure(data)
    return None, failure if failure.message or failure.code else Failure("The upstream sent no audio.",
                                                                         code="no_audio"), 0
