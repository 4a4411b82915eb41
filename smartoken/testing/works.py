"""The pretend upstream's long work: pictures and films in the dialects of OpenAI, DashScope and Ark, and their links.

A task stands whole in its id (when it was made, how long the film is, its size), so a server that was started anew, or
another one, knows it as well. `POST …` calls that were accepted are kept in `Works.made`, in order, as its books.

A prompt may hold plays: `create:reset_before` for the call that has it, `poll:500` and `link:403` for the first two calls
that follow from it (or for every one, with a play that says how a task ended).
"""

import base64
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from smartoken.testing.answers import Answer, dumps, framed
from smartoken.testing.calls import Call
from smartoken.testing.film import mp4
from smartoken.testing.picture import png
from smartoken.testing.plays import Play

FRAMES = {"480P": (854, 480), "720P": (1280, 720), "1080P": (1920, 1080)}
PAD = bytes(1 << 16)
_TASK = re.compile(r"t([0-9a-f]+)-([vi])-(\d+)-(\d+)x(\d+)-(\d+)(?:-\w+-\w+)?")
_PLAY = re.compile(r"\b(create|poll|link):(\w+)")
TWICE = 2


class Asked(msgspec.Struct):
    """What a script may match, as with the wires."""

    model: str = ""
    stream: bool = False
    x_fault: str = ""


class Works:
    """`work_ms`: how long a task takes. `small`: films of 64 pixels, for tests that make many."""

    def __init__(self, url: Callable[[], str], work_ms: int = 300, small: bool = False):
        self._url, self.work_ms, self.small = url, work_ms, small
        self.made: list[dict[str, Any]] = []
        self._canceled: set[str] = set()
        self._played: Counter[str] = Counter()
        self._next = 0

    def find(self, call: Call) -> tuple[str, Callable[[Call, Play, dict], Answer], bool] | None:
        """(the path's ending, who answers, whether it creates) of a call; None when it is no long work."""
        for method, pattern, name in ROUTES:
            found = re.search(pattern, call.path) if call.method == method else None
            if found:
                serve = getattr(self, name)
                return found[0], lambda call, play, body: serve(call, play, body, *found.groups()), method == "POST"
        return None

    @staticmethod
    def body_of(call: Call) -> dict[str, Any]:
        """The fields of a JSON or a multipart body."""
        if call.body.startswith(b"--"):
            found = re.findall(rb'name="(\w+)"\r\n\r\n([^\r]*)\r\n', call.body)
            return {name.decode(): value.decode() for name, value in found}
        return msgspec.json.decode(call.body) if call.body else {}

    def play_of(self, call: Call, body: dict) -> str:
        """The play that this call's own prompt, or the one it follows from, asks for; '' for none."""
        if call.method == "POST":
            found = _PLAY.search(str((body.get("input") or body).get("prompt") or body.get("content") or ""))
            return found[2] if found and found[1] == "create" else ""
        when = "link" if call.path.endswith((".png", ".mp4")) else "poll"
        found = re.search(rf"-{when}-([a-z0-9_]+)", call.path)
        if found is None:
            return ""
        self._played[call.path] += 1
        return found[1] if self._played[call.path] <= TWICE or found[1].startswith("task_") else ""

    # -- create

    def _note(self, call: Call, wire: str, prompt: Any, id: str = "") -> None:
        self.made.append({"id": id, "at": call.at, "wire": wire, "model": call.model, "prompt": prompt})

    def _task(self, kind: str, seconds: int, width: int, height: int, prompt: Any) -> str:
        self._next += 1
        seed = (zlib.crc32(str(prompt).encode()) % 1000) * 1000 + self._next % 1000
        plays = _PLAY.search(str(prompt))
        later = f"-{plays[1]}-{plays[2]}" if plays and plays[1] != "create" else ""
        return f"t{time.time_ns() // 1_000_000:x}-{kind}-{seconds}-{width}x{height}-{seed}{later}"

    def openai_images(self, call: Call, play: Play, body: dict) -> Answer:
        """Pictures at once: by URL, or in base64 where the model is a gpt-image."""
        count, (width, height) = int(body.get("n") or 1), _size(body.get("size") or "256x256")
        self._note(call, "images", body.get("prompt"))
        seeds = [zlib.crc32(f"{body.get('prompt')}{index}".encode()) % 1000 for index in range(play.of(count))]
        if str(body.get("model")).startswith("gpt-image") or body.get("response_format") == "b64_json":
            data = [{"b64_json": base64.b64encode(png(width, height, seed)).decode()} for seed in seeds]
        else:
            data = [{"url": self._link(f"{width}x{height}-{seed}.png"), "revised_prompt": "a picture"} for seed in seeds]
        return _json({"created": int(time.time()), "data": data})

    def dashscope_images(self, call: Call, play: Play, body: dict) -> Answer:
        """qwen-image: the picture in the answer, as a link."""
        parameters = body.get("parameters") or {}
        count, (width, height) = int(parameters.get("n") or 1), _size(parameters.get("size") or "1328*1328")
        self._note(call, "images", body["input"]["messages"][0]["content"][-1]["text"])
        content = [{"image": self._link(f"{width}x{height}-{index}.png")} for index in range(count)]
        return _json({"output": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant",
                                                                                 "content": content}}]},
                      "usage": {"image_count": count, "width": width, "height": height}, "request_id": call.id})

    def dashscope_task(self, call: Call, play: Play, body: dict) -> Answer:
        """A task; without the header that asks for one it is refused as the original refuses."""
        if (b"x-dashscope-async", b"enable") not in call.headers:
            return _json({"code": "AccessDenied", "message": "current user api does not support synchronous calls"}, 403)
        parameters, prompt = body.get("parameters") or {}, body["input"]["prompt"]
        film = "duration" in parameters
        size = _size(parameters["size"]) if "size" in parameters else self._frame(parameters)
        id = self._task("v" if film else "i", parameters["duration"] if film else parameters.get("n", 1), *size, prompt)
        self._note(call, "videos" if film else "images", prompt, id)
        return _json({"output": {"task_id": id, "task_status": "PENDING"}, "request_id": call.id})

    def ark_task(self, call: Call, play: Play, body: dict) -> Answer:
        """Seedance."""
        prompt = body["content"][0]["text"]
        id = self._task("v", body["duration"], *self._frame(body), prompt)
        self._note(call, "videos", prompt, id)
        return _json({"id": id})

    def _frame(self, given: dict[str, Any]) -> tuple[int, int]:
        width, height = FRAMES.get(str(given.get("resolution", "720P")).upper(), FRAMES["720P"])
        if self.small:
            width, height = width // 20 * 2, height // 20 * 2
        a, _, b = str(given.get("ratio") or "16:9").partition(":")
        return (height, width) if int(a) < int(b) else (height, height) if a == b else (width, height)

    # -- poll and cancel

    def dashscope_poll(self, call: Call, play: Play, body: dict, id: str) -> Answer:
        """Where a task is: as long as it takes PENDING and RUNNING, then as its play says, or done."""
        task = _TASK.fullmatch(id)
        state = play.task or (self._state(id) if task else "UNKNOWN")
        output: dict[str, Any] = {"task_id": id, "task_status": state}
        usage: dict[str, Any] = {}
        if state == "FAILED":
            output |= {"code": play.code or "InternalError", "message": play.message or "The work failed."}
        elif state == "SUCCEEDED" and task[2] == "v":
            seconds = int(task[3])
            later = id[task.end(6):]
            output["video_url"] = self._link(f"{task[4]}x{task[5]}-{seconds}-{task[6]}{later}.mp4")
            usage = {"duration": seconds, "output_video_duration": seconds, "video_count": 1, "SR": 720}
        elif state == "SUCCEEDED":
            output["results"] = [{"url": self._link(f"{task[4]}x{task[5]}-{index}.png")} for index in range(int(task[3]))]
            usage = {"image_count": int(task[3])}
        return _json({"output": output, "usage": usage, "request_id": call.id})

    def dashscope_cancel(self, call: Call, play: Play, body: dict, id: str) -> Answer:
        """PENDING tasks only."""
        if self._state(id) != "PENDING":
            return _json({"code": "UnsupportedOperation", "message": "The task cannot be canceled."}, 400)
        self._canceled.add(id)
        return _json({"request_id": call.id})

    def ark_poll(self, call: Call, play: Play, body: dict, id: str) -> Answer:
        """The same in Ark's words."""
        task = _TASK.fullmatch(id)
        if task is None:
            return _json({"error": {"code": "ResourceNotFound", "message": "no such task"}}, 404)
        state = {"PENDING": "queued", "RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": "failed",
                 "CANCELED": "cancelled"}[play.task or self._state(id)]
        answer: dict[str, Any] = {"id": id, "status": state, "error": None}
        if state == "succeeded":
            link = self._link(f"{task[4]}x{task[5]}-{task[3]}-{task[6]}.mp4")
            answer |= {"content": {"video_url": link}, "duration": int(task[3])}
        elif state == "failed":
            answer["error"] = {"code": play.code or "InternalServiceError", "message": "The work failed."}
        return _json(answer)

    def _state(self, id: str) -> str:
        task = _TASK.fullmatch(id)
        if id in self._canceled or task is None:
            return "CANCELED" if id in self._canceled else "UNKNOWN"
        age_ms = time.time_ns() // 1_000_000 - int(task[1], 16)
        return "PENDING" if age_ms < self.work_ms // 3 else "RUNNING" if age_ms < self.work_ms else "SUCCEEDED"

    # -- links

    def _link(self, name: str) -> str:
        return f"{self._url()}/files/{name}"

    def picture(self, call: Call, play: Play, body: dict, width: str, height: str, seed: str) -> Answer:
        return _file(png(int(width), int(height), int(seed)), "image/png", play)

    def film(self, call: Call, play: Play, body: dict, width: str, height: str, seconds: str, seed: str) -> Answer:
        return _file(mp4(int(width), int(height), int(seconds), int(seed)), "video/mp4", play)


ROUTES = (
    ("POST", r"/images/(?:generations|edits)$", "openai_images"),
    ("POST", r"/multimodal-generation/generation$", "dashscope_images"),
    ("POST", r"/(?:text2image/image-synthesis|video-generation/video-synthesis)$", "dashscope_task"),
    ("POST", r"/contents/generations/tasks$", "ark_task"),
    ("POST", r"/tasks/([\w-]+)/cancel$", "dashscope_cancel"),
    ("GET", r"/contents/generations/tasks/([\w-]+)$", "ark_poll"),
    ("GET", r"/tasks/([\w-]+)$", "dashscope_poll"),
    ("GET", r"/files/(\d+)x(\d+)-(\d+)\.png$", "picture"),
    ("GET", r"/files/(\d+)x(\d+)-(\d+)-(\d+)(?:-\w+-\w+)?\.mp4$", "film"),
)
"""(method, ending of the path, method of Works); the first that matches answers."""


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.replace("*", "x").partition("x")
    return int(width), int(height)


def _json(value: Any, status: int = 200) -> Answer:
    return framed(Answer(status, "application/json", ((dumps(value), 0),), "length"))


def _file(data: bytes, content_type: str, play: Play) -> Answer:
    """The file, made `pad_mb` larger by a box that players skip."""
    if not play.pad_mb:
        return framed(Answer(200, content_type, tuple((data[at:at + 65536], 0) for at in range(0, len(data), 65536)),
                             "length"))
    size = play.pad_mb << 20
    pieces = ((data, 0), ((size + 8).to_bytes(4, "big") + b"free", 0), *((PAD, 0),) * (size // len(PAD)))
    return Answer(200, content_type, pieces, "length")
