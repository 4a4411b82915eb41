"""DashScope's films: always a task. happyhorse and wan from 2.7 on take `resolution` and `ratio`, older wan `size`.

Clients may give `seed`, `negative_prompt`, `prompt_extend`, `audio_url`, `audio`, `shot_type` and `watermark` (off
unless asked for) at the top level or in `parameters`. happyhorse knows only `seed` and `watermark`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.dashscope import tasks

from smartoken.plugin import MADE, Ask, Maker, Outgoing, Result, Said, refuse

PATH = "/services/aigc/video-generation/video-synthesis"
BY_SIZE = ("wanx2.", "wan2.1-", "wan2.2-", "wan2.5-", "wan2.6-")
SIZES = {
    "480P": {"16:9": "832*480", "9:16": "480*832", "1:1": "624*624"},
    "720P": {"16:9": "1280*720", "9:16": "720*1280", "1:1": "960*960", "4:3": "1088*832", "3:4": "832*1088"},
    "1080P": {"16:9": "1920*1080", "9:16": "1080*1920", "1:1": "1440*1440", "4:3": "1632*1248", "3:4": "1248*1632"},
}
PLAIN = ("seed", "watermark")
MORE = ("prompt_extend", "audio", "shot_type")


def submit(ask: Ask, upstream_name: str, path: str, settings: Mapping[str, Any]) -> Outgoing:
    """One create call; it must never be repeated once its bytes are sent, hence `lasting`."""
    given: dict[str, Any] = {"prompt": tasks.option(ask, "prompt")}
    parameters: dict[str, Any] = {"duration": ask.seconds, "watermark": False, **tasks.options(ask, *PLAIN)}
    if not upstream_name.startswith("happyhorse"):
        given |= tasks.options(ask, "negative_prompt", "audio_url")
        parameters |= tasks.options(ask, *MORE)
    if upstream_name.startswith(BY_SIZE):
        parameters["size"] = _size(ask)
    else:
        parameters["resolution"] = ask.resolution
        if ask.ratio:
            parameters["ratio"] = ask.ratio
    body = {"model": upstream_name, "input": given, "parameters": parameters}
    return Outgoing("POST", path, msgspec.json.encode(body), headers=tasks.ASYNC, lasting=True)


def _size(ask: Ask) -> str:
    sizes = SIZES.get(ask.resolution, {})
    size = sizes.get(ask.ratio or "16:9")
    if size is None:
        raise refuse("invalid_request", f"'ratio' must be one of {', '.join(sizes)} at {ask.resolution}.",
                     param="ratio", code="value_not_offered")
    return size


def said(data: bytes, ask: Ask) -> Said:
    """`output.video_url`, and what was billed in one of the names that the usage has had."""
    answer = msgspec.json.decode(data)
    waiting = tasks.unfinished(answer)
    if waiting is not None:
        return waiting
    usage = answer.get("usage") or {}
    seconds = next((usage[name] for name in ("output_video_duration", "duration", "video_duration")
                    if type(usage.get(name)) in (int, float)), None)
    url = answer["output"].get("video_url") or ""
    return Said(MADE, results=(Result(url=url, failure="" if url else "The task has no film."),),
                video_ms=None if seconds is None else round(seconds * 1000))


MAKER = Maker(submit, said, tasks.failure, tasks.poll, tasks.cancel, tasks.root)
