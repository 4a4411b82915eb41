"""What /openapi.json says of pictures and films: the calls, the jobs behind them, and what stops one."""

from typing import Any

from smartoken_plugins.wire_openai.openapi import (
    COUNT,
    MODEL,
    NULL,
    PINNED,
    REPEAT,
    STRING,
    TEXT,
    THROUGH,
    answer,
    asked,
    either,
    many,
    ours,
    table,
)

PREFER = {"name": "Prefer", "in": "header", "schema": {"type": "string", "pattern": r"^(respond-async|wait=\d{1,4})$"},
          "description": "`respond-async`: a job at once; `wait=60`: after so many seconds at most."}
QUOTE = {"name": "quote", "in": "query", "schema": {"enum": ["1", "true"]},
         "description": "What it would cost at most; nothing is made."}
BEAT = {"name": "heartbeat", "in": "query", "schema": {"enum": ["1", "true"]},
        "description": "White space while it is made, for proxies that cut silent connections."}
_BINARY = {"type": "string", "format": "binary"}
_LINK = ours({"url": TEXT, "b64_json": TEXT, "revised_prompt": STRING}, "url", "b64_json", "revised_prompt",
             title="Delivered", says="`url` is on our own media store and stays; `b64_json` where it was asked for.")
_COST = table({"cost_micro_usd": COUNT}, title="WorkUsage", says="The upstream's own figures, if any, and the cost.")
_ERROR = either(ours({"code": STRING, "message": STRING}), NULL)
_STATUS = {"enum": ["queued", "in_progress", "completed", "failed"]}
MADE = ours({"created": COUNT, "data": many(_LINK), "usage": _COST}, "usage", title="Works")
QUOTED = ours({"object": {"const": "quote"}, "model": STRING, "cost_micro_usd": COUNT}, title="WorkQuote")
IMAGE_JOB = ours({"id": STRING, "object": {"const": "image.generation"}, "model": STRING, "created": COUNT,
                  "status": _STATUS, "data": many(_LINK), "error": _ERROR}, title="ImageJob")
VIDEO_JOB = ours({"id": STRING, "object": {"const": "video.generation"}, "model": STRING, "created": COUNT,
                  "status": _STATUS, "resolution": STRING, "ratio": {"type": ["string", "null"]}, "duration": COUNT,
                  "data": many(_LINK), "error": _ERROR, "usage": _COST}, "usage", title="VideoJob")
VIDEO = ours({"id": STRING, "object": {"const": "video"}, "model": STRING, "status": _STATUS, "progress": COUNT,
              "created_at": COUNT, "completed_at": {"type": ["integer", "null"]}, "expires_at": NULL, "prompt": STRING,
              "seconds": STRING, "size": STRING, "remixed_from_video_id": NULL, "error": _ERROR,
              "url": {"type": ["string", "null"]}}, title="Video")
_AT = 1_700_000_000
_DATA = [{"url": "https://api.example.com/media/2026/11/22/5b1f…-0.png"}]
_FILM = [{"url": "https://api.example.com/media/2026/11/22/5b1f…-0.mp4"}]
_ID = "0196f0c2a3b47d0e8f1a2b3c4d5e6f7"
_IMAGE_JOB = {"id": _ID, "object": "image.generation", "model": "pictures", "created": _AT, "status": "queued",
              "data": [], "error": None}
_VIDEO_JOB = {"id": _ID, "object": "video.generation", "model": "films", "created": _AT, "status": "completed",
              "resolution": "720P", "ratio": "16:9", "duration": 5, "data": _FILM, "error": None}
_VIDEO = {"id": _ID, "object": "video", "model": "films", "status": "in_progress", "progress": 50, "created_at": _AT,
          "completed_at": None, "expires_at": None, "prompt": "Waves at dusk", "seconds": "5", "size": "720P",
          "remixed_from_video_id": None, "error": None, "url": None}
_WORD = {"type": "string", "maxLength": 40, "pattern": "^[ -~]*$"}
_PICTURE = {"model": MODEL, "prompt": TEXT, "n": {"type": "integer", "minimum": 1},
            "size": {**_WORD, "description": "On the model's available_sizes."}, "quality": _WORD,
            "response_format": {"enum": ["url", "b64_json"]}}
_IMAGES = table(_PICTURE, "model", "prompt", title="ImagesRequest", says=THROUGH)
_EDITS = table({**_PICTURE, "image": either(_BINARY, many(_BINARY)), "mask": _BINARY}, "model", "prompt", "image",
               title="ImagesEditForm", says=THROUGH)
_EDITS_JSON = table({**_PICTURE, "images": many(table({"image_url": TEXT}), minItems=1)}, "model", "prompt", "images",
                    title="ImagesEditRequest", says=THROUGH)
_VIDEOS = table({"model": MODEL, "prompt": TEXT, "resolution": {**TEXT, "description": "One that the model has a price for."},
                 "duration": {"type": "integer", "minimum": 1, "description": "On the model's available_durations."},
                 "ratio": {"type": ["string", "null"], "description": "On its available_ratios."}},
                "model", "prompt", "resolution", "duration", title="VideosRequest", says=THROUGH)
_OPENAI = table({"model": MODEL, "prompt": TEXT, "seconds": either({"type": "string", "pattern": "^[1-9][0-9]{0,3}$"}, {
    "type": "integer", "minimum": 1, "maximum": 9999}), "size": {"type": "string", "pattern": "^[1-9][0-9]{1,3}x[1-9][0-9]{1,3}$"}},
    "model", "prompt", "seconds", "size", title="VideoRequest",
    says=f"{THROUGH} `resolution`, `duration` and `ratio` may stand for `seconds` and `size`.")


def _made(example: Any, job: dict[str, Any], job_example: Any) -> dict[str, Any]:
    return answer(either(MADE, QUOTED), "What was made; with ?quote=1 its price", example) | answer(
        job, "Not done yet: GET the job at `Location`", job_example, status="202")


def _job(path: str, what: str, job: dict[str, Any], example: Any) -> dict[str, Any]:
    """The paths of one job below a door's."""
    told = {"tags": ["Images and videos"], "errors": ("key", "job")}
    ended = answer(job, "The job", example) | answer(job, "It goes on until the upstream stopped it", example, status="202")
    return {
        f"{path}/{{id}}": {
            "get": {**told, "summary": f"A {what} job", "responses": answer(job, "The job", example)},
            "delete": {**told, "summary": f"Stop a {what} job", "errors": ("key", "job", "stop"), "responses": ended}},
        f"{path}/{{id}}/cancel": {"post": {
            **told, "summary": f"Stop a {what} job, as DELETE does", "errors": ("key", "job", "stop"), "responses": ended}},
        f"{path}/{{id}}/content": {"get": {
            **told, "summary": f"The first {what} itself", "errors": ("key", "job", "content"), "responses": {
                "302": {"description": "Where it lies", "headers": {"Location": {"schema": STRING}}}}}},
    }


def _call(summary: str, body: dict[str, Any], responses: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"post": {"summary": summary, "tags": ["Images and videos"], "errors": ("key", "work"), "description":
                     "Paid for what is delivered. A client that leaves loses nothing: the job goes on, and the same "
                     "Idempotency-Key finds it.", "parameters": list(parameters), "requestBody": body,
                     "responses": responses}}


_ALL = (*PINNED, REPEAT, PREFER, QUOTE, BEAT)
_PICTURES = _made({"created": _AT, "data": _DATA}, IMAGE_JOB, _IMAGE_JOB)
IMAGES = {
    "/v1/images/generations": _call("Pictures", asked(
        _IMAGES, {"model": "{text2image}", "prompt": "A cat on a roof"}), _PICTURES, *_ALL),
    "/v1/images/edits": _call("Pictures from pictures", {"required": True, "content": {
        "multipart/form-data": {"schema": _EDITS},
        "application/json": {"schema": _EDITS_JSON, "example": {
            "model": "{text2image}", "prompt": "A hat", "images": [{"image_url": "https://example.com/cat.png"}]}}}},
        _PICTURES, *_ALL),
    **_job("/v1/images/generations", "picture", IMAGE_JOB, _IMAGE_JOB),
    **_job("/v1/images/edits", "picture", IMAGE_JOB, _IMAGE_JOB),
}
VIDEOS = {
    "/v1/videos/generations": _call("A film; answers when it is done", asked(
        _VIDEOS, {"model": "{text2video}", "prompt": "Waves at dusk", "resolution": "720P", "duration": 5}),
        _made({"created": _AT, "data": _FILM}, VIDEO_JOB, _VIDEO_JOB), *_ALL),
    "/v1/videos": _call("A film as OpenAI's SDK makes it: a job at once", {"required": True, "content": {
        "application/json": {"schema": _OPENAI, "example": {
            "model": "{text2video}", "prompt": "Waves at dusk", "seconds": "5", "size": "1280x720"}},
        "multipart/form-data": {"schema": _OPENAI}}},
        answer(either(VIDEO, QUOTED), "The job; with ?quote=1 its price", _VIDEO), *PINNED, REPEAT, QUOTE),
    **_job("/v1/videos/generations", "film", VIDEO_JOB, _VIDEO_JOB),
    **_job("/v1/videos", "film", VIDEO, _VIDEO),
}
