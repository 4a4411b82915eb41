"""DashScope's pictures: qwen-image and its kin answer with the picture, older wan models with a task to be polled.

A channel's setting `async_images = true` makes every model a task; `false` none. Clients may give `negative_prompt`,
`seed`, `prompt_extend` and `watermark` (off unless asked for) beside OpenAI's fields. Pictures to work from are taken
by the models that answer at once; a task knows words only.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.dashscope import tasks
from smartoken_plugins.wire_openai.images import pictures_of

from smartoken.plugin import MADE, Ask, Maker, Outgoing, Result, Said, refuse

SYNC = "/services/aigc/multimodal-generation/generation"
ASYNC = "/services/aigc/text2image/image-synthesis"
TASKS_ONLY = ("wanx", "wan2.1-", "wan2.2-", "wan2.5-", "flux", "stable-diffusion")


def submit(ask: Ask, upstream_name: str, path: str, settings: Mapping[str, Any]) -> Outgoing:
    """Pictures that came as files go on as data URIs."""
    prompt = tasks.option(ask, "prompt")
    pictures = pictures_of(tasks.options(ask, "image", "images", "mask"), ask.files)
    parameters = {"n": ask.images, "watermark": False,
                  **tasks.options(ask, "negative_prompt", "seed", "prompt_extend", "watermark")}
    if ask.size and ask.size != "auto":
        parameters["size"] = ask.size.replace("x", "*")
    if settings.get("async_images", upstream_name.startswith(TASKS_ONLY)):
        if pictures:
            raise refuse("invalid_request", f"'{ask.slug}' makes pictures from words only; leave the others out.",
                         param="image")
        given = {"prompt": prompt}
        if "negative_prompt" in parameters:
            given["negative_prompt"] = parameters.pop("negative_prompt")
        body = {"model": upstream_name, "input": given, "parameters": parameters}
        return Outgoing("POST", ASYNC, msgspec.json.encode(body), headers=tasks.ASYNC, lasting=True)
    content = [{"image": one} for one in pictures] + [{"text": prompt}]
    body = {"model": upstream_name, "input": {"messages": [{"role": "user", "content": content}]},
            "parameters": parameters}
    return Outgoing("POST", path, msgspec.json.encode(body))


def said(data: bytes, ask: Ask) -> Said:
    """Results stand in `output.results`, or in the contents of `output.choices`; each may be an error of its own."""
    answer = msgspec.json.decode(data)
    waiting = tasks.unfinished(answer)
    if waiting is not None:
        return waiting
    output = answer["output"]
    results = [Result(url=one.get("url") or "", note=one.get("actual_prompt") or "", failure=one.get("message") or "")
               for one in output.get("results") or ()]
    for choice in output.get("choices") or ():
        results += [Result(url=one["image"]) for one in choice["message"]["content"] if one.get("image")]
    return Said(MADE, results=tuple(results))


MAKER = Maker(submit, said, tasks.failure, tasks.poll, tasks.cancel, tasks.root, pace_s=(3, 4))
