"""The pretend upstream's speech: OpenAI's own, CosyVoice's and MiniMax's, one MP3 frame for each word."""

import base64
from typing import Any

import msgspec

from smartoken.testing.answers import Answer, Talk, data_event, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.sound import MP3_FRAME, wav
from smartoken.testing.spoil import spoil

PATHS = ("/audio/speech", "/services/audio/tts/SpeechSynthesizer", "/t2a_v2")
EVENTS = "text/event-stream; charset=utf-8"


class Asked(msgspec.Struct):
    """What shapes the answer, in any of the three dialects."""

    model: str
    input: Any = ""
    text: str = ""
    voice: Any = ""
    voice_setting: dict[str, Any] = {}
    response_format: str = "mp3"
    stream_format: str = "audio"
    stream: bool = False
    x_fault: str = ""


read = msgspec.json.Decoder(Asked).decode


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """In the dialect that the body is written in."""
    if asked.voice_setting:
        good = _minimax(asked)
    elif isinstance(asked.input, dict):
        good = _dashscope(asked)
    else:
        good = _openai(asked)
    return spoil(good, play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """An error where an event should be."""
    return (data_event(error_value(play)),)


def _openai(asked: Asked) -> Answer:
    frames = _frames(asked.input)
    if asked.stream_format == "sse":
        pieces = [data_event({"type": "speech.audio.delta", "audio": base64.b64encode(frame).decode()})
                  for frame in frames]
        usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
        pieces.append(data_event({"type": "speech.audio.done", "usage": usage}))
        return Answer(200, EVENTS, tuple((piece, 0) for piece in pieces), "chunked")
    if asked.response_format == "wav":
        return Answer(200, "audio/wav", ((wav(100 * len(frames)), 0),), "chunked")
    return Answer(200, "audio/mpeg", tuple((frame, 0) for frame in frames), "chunked")


def _dashscope(asked: Asked) -> Answer:
    text = asked.input["text"]
    pieces = [data_event({"output": {"type": "sentence-synthesis", "finish_reason": "null", "audio": {
        "data": base64.b64encode(frame).decode()}}, "request_id": "r"}) for frame in _frames(text)]
    pieces.append(data_event({"output": {"finish_reason": "stop", "audio": {
        "url": "http://dashscope-result.example/a.mp3", "data": ""}}, "usage": {"characters": len(text) + 1},
        "request_id": "r"}))
    return Answer(200, EVENTS, tuple((piece, 0) for piece in pieces), "chunked")


def _minimax(asked: Asked) -> Answer:
    if asked.text == "no balance":
        body = {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
        return Answer(200, "application/json", ((dumps(body), 0),), "length")
    frames = _frames(asked.text)
    pieces = [data_event({"data": {"audio": frame.hex(), "status": 1}, "trace_id": "t"}) for frame in frames]
    good = {"status_code": 0, "status_msg": "success"}
    pieces.append(data_event({"data": {"audio": b"".join(frames).hex(), "status": 2}, "trace_id": "t", "extra_info": {
        "audio_length": 26 * len(frames), "usage_characters": len(asked.text) + 2}, "base_resp": good}))
    return Answer(200, EVENTS, tuple((piece, 0) for piece in pieces), "chunked")


def _frames(text: str) -> list[bytes]:
    return [MP3_FRAME] * max(1, len(text.split()))
