"""The pretend upstream's cloned voices: OpenAI's, CosyVoice's and MiniMax's calls, each with its own way to say no."""

import msgspec

from smartoken.testing.answers import Answer, Talk, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil

PATHS = ("/audio/voices", "/audio/voices/voice_up1", "/services/audio/tts/customization", "/files/upload",
         "/voice_clone", "/delete_voice")
GOOD = {"status_code": 0, "status_msg": "success"}


class Asked(msgspec.Struct):
    """A JSON body's parts; a multipart body is only told by its being one."""

    model: str = "voices"
    input: dict = {}
    file_id: int = 0
    voice_id: str = ""
    form: bool = False
    purpose: bool = False
    stream: bool = False
    x_fault: str = ""


def read(body: bytes) -> Asked:
    """JSON, multipart, or nothing."""
    if body.startswith(b"--"):
        return Asked(form=True, purpose=b'name="purpose"' in body)
    return msgspec.json.decode(body or b"{}", type=Asked)


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """By what is asked."""
    if asked.input:
        voice = asked.input.get("voice_id", "cosyvoice-v2-test-1")
        output = {"create_voice": {"voice_id": voice}, "query_voice": {"status": "OK"}}.get(asked.input["action"], {})
        body = {"output": output, "request_id": "r"}
    elif asked.purpose:
        body = {"file": {"file_id": 9_007_199_254_740_993}, "base_resp": GOOD}
    elif asked.file_id or asked.voice_id:
        known = asked.file_id in (0, 9_007_199_254_740_993)
        body = {"base_resp": GOOD if known else {"status_code": 2013, "status_msg": "no such file"}}
    elif asked.form:
        body = {"id": "voice_up1", "object": "audio.voice", "name": "x", "created_at": 1}
    else:
        body = {"id": "voice_up1", "object": "audio.voice", "deleted": True}
    return spoil(Answer(200, "application/json", ((dumps(body), 0),), "length"), play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """Nothing here streams: the error is the body."""
    return (dumps(error_value(play)),)
