"""Seedance: content in, a task out; resolutions in small letters."""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import errors

from smartoken.plugin import CANCELED, FAILED, MADE, RUNNING, Ask, Failure, Maker, Outgoing, Result, Said

PATH = "/contents/generations/tasks"
PASSED = ("seed", "camera_fixed", "generate_audio", "service_tier", "watermark")
STATES = {"queued": RUNNING, "running": RUNNING, "failed": FAILED, "expired": FAILED, "cancelled": CANCELED}


def submit(ask: Ask, upstream_name: str, path: str, settings: Mapping[str, Any]) -> Outgoing:
    """One create call, never repeated."""
    given = {name: msgspec.json.decode(value) for name, value in ask.fields.items()}
    body = {"model": upstream_name, "content": [{"type": "text", "text": given["prompt"]}],
            "resolution": ask.resolution.lower(), "duration": ask.seconds, "watermark": False,
            **{name: given[name] for name in PASSED if name in given}}
    if ask.ratio:
        body["ratio"] = ask.ratio
    return Outgoing("POST", path, msgspec.json.encode(body), lasting=True)


def poll(upstream_id: str) -> Outgoing:
    return Outgoing("GET", f"{PATH}/{upstream_id}")


def cancel(upstream_id: str) -> Outgoing:
    """Stops what is queued; of anything else it would only forget what is known."""
    return Outgoing("DELETE", f"{PATH}/{upstream_id}")


def said(data: bytes, ask: Ask) -> Said:
    """The create call answers with the id alone."""
    answer = msgspec.json.decode(data)
    status = answer.get("status")
    if status is None:
        return Said(RUNNING, upstream_id=answer["id"])
    state = STATES.get(status)
    if state == FAILED:
        wrong = answer.get("error") or {}
        return Said(FAILED, failure=Failure(str(wrong.get("message") or f"The task is {status}."),
                                            code=str(wrong.get("code") or status)))
    if state is not None:
        return Said(state, upstream_id=answer.get("id", ""), waiting=status == "queued")
    if status != "succeeded":
        raise ValueError(f"unknown status {status!r}")
    seconds = answer.get("duration")
    url = (answer.get("content") or {}).get("video_url") or ""
    return Said(MADE, results=(Result(url=url, failure="" if url else "The task has no film."),),
                video_ms=round(seconds * 1000) if type(seconds) in (int, float) else None)


MAKER = Maker(submit, said, errors.failure, poll, cancel, pace_s=(10, 10))
