"""The wire `openai.videos`: POST /v1/videos/generations, which answers when the film is done, and OpenAI's /v1/videos,
which answers with a job at once. The same jobs behind both.

There is no dialect of its own towards providers (OpenAI's video API is being shut down): each brings a Maker.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors
from smartoken_plugins.wire_openai.images import form_of
from smartoken_plugins.wire_openai.openapi_works import VIDEOS as described

from smartoken.plugin import Ask, JobDoor, JobWire

NAME = "openai.videos"
GENERATIONS, VIDEOS = "/v1/videos/generations", "/v1/videos"
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "4:5", "5:4", "21:9", "9:21")
TIERS = ((600, "480P"), (900, "720P"))     # by the shorter side; longer ones are 1080P


def peek(data: bytes, content_type: str) -> Ask:
    """`model`, `prompt`, `resolution` and `duration`, with `ratio` if wanted."""
    fields = read.fields_of(data)
    read.text(fields, "prompt")
    return _ask(fields, read.word(fields, "resolution"), read.count(fields, "duration") or 0, read.word(fields, "ratio"))


def peek_openai(data: bytes, content_type: str) -> Ask:
    """OpenAI's `seconds` (a string there) and `size`; our own names do as well. JSON or multipart."""
    if content_type.startswith("multipart/"):
        fields, files = form_of(data, content_type)
        if files:
            raise read.bad("A reference picture is not served here; describe it in the prompt.",
                           param="input_reference")
    else:
        fields = read.fields_of(data)
    if "input_reference" in fields:
        raise read.bad("A reference picture is not served here; describe it in the prompt.", param="input_reference")
    read.text(fields, "prompt")
    resolution, ratio = read.word(fields, "resolution"), read.word(fields, "ratio")
    if not resolution and "size" in fields:
        resolution, ratio = frame_of(read.word(fields, "size"), ratio)
    seconds = _seconds(fields, "seconds") or _seconds(fields, "duration")
    return _ask(fields, resolution, seconds, ratio)


def frame_of(size: str, ratio: str = "") -> tuple[str, str]:
    """(resolution, ratio) of a size such as 1280x720. Refusal 400."""
    width, _, height = size.lower().replace("*", "x").partition("x")
    if not all(side.isascii() and side.isdigit() and len(side) < 5 and int(side) for side in (width, height)):
        raise read.bad("'size' must look like 1280x720.", param="size")
    shorter = min(int(width), int(height))
    tier = next((name for below, name in TIERS if shorter < below), "1080P")
    nearest = min(RATIOS, key=lambda one: abs(int(one.split(":")[0]) / int(one.split(":")[1]) - int(width) / int(height)))
    return tier, ratio or nearest


def _ask(fields: dict[str, msgspec.Raw], resolution: str, seconds: int, ratio: str) -> Ask:
    return Ask(wire=NAME, slug=read.text(fields, "model"), stream=False, body=b"", fields=fields, seconds=seconds,
               resolution=resolution, ratio=ratio)


def _seconds(fields: dict[str, msgspec.Raw], name: str) -> int:
    raw = bytes(fields.get(name, b"null")).strip(b'"')
    if raw == b"null":
        return 0
    if not raw.isdigit() or len(raw) > 4 or not int(raw):
        raise read.bad(f"'{name}' must be a whole number of seconds.", param=name)
    return int(raw)


def whole(job: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`{created, data: [{url}]}`."""
    answer: dict[str, Any] = {"created": job.ended_ms // 1000, "data": list(items)}
    return answer | ({"usage": _usage(job)} if job.show_cost else {})


def show(job: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A job of ours, finished or not."""
    shown = {"id": job.id, "object": "video.generation", "model": job.model, "created": job.at_ms // 1000,
             "status": errors.job_status(job), "resolution": job.resolution, "ratio": job.ratio or None,
             "duration": job.seconds, "data": list(items), "error": errors.job_error(job)}
    return shown | ({"usage": _usage(job)} if job.show_cost and job.delivered else {})


def show_openai(job: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """OpenAI's Video object. Its status is one of four only: the SDK polls for ever on any other."""
    status = errors.job_status(job)
    prompt = msgspec.json.decode(job.fields).get("prompt")
    return {"id": job.id, "object": "video", "model": job.model, "status": status,
            "progress": {"queued": 0, "in_progress": 50}.get(status, 100), "created_at": job.at_ms // 1000,
            "completed_at": job.ended_ms // 1000 if status == "completed" else None, "expires_at": None,
            "prompt": prompt, "seconds": str(job.seconds), "size": job.resolution, "remixed_from_video_id": None,
            "error": errors.job_error(job), "url": items[0].get("url") if items else None}


def _usage(job: Any) -> dict[str, Any]:
    return {"cost_micro_usd": -(-job.cost_p // 1_000_000)}


WIRE = JobWire(NAME, "video", (JobDoor(GENERATIONS, peek, whole, show),
                               JobDoor(VIDEOS, peek_openai, whole, show_openai, waits=False)), openapi=described)
