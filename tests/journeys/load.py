"""A mixed load of many clients over raw keep-alive connections, each call remembered as its client saw it.

Not the SDK: it must not share its time with what is measured, and must survive a worker that is killed under it.
"""

import asyncio
import json
import random
from dataclasses import dataclass

import aiohttp

from tests.journeys.conftest import SAY


@dataclass
class Call:
    """What the client knows: `got` output tokens received, `upstream` the attempt's id once an event named it."""

    rid: str = ""
    upstream: str = ""
    got: int = 0
    wanted: int = 0
    status: int = 0
    whole: bool = False


def mixed(number: int, chance: random.Random, slug: str) -> dict:
    """The body of one call of the mix."""
    body = {"model": slug, "messages": [*SAY, {"role": "user", "content": "x" * chance.randrange(1, 2000)}],
            "max_tokens": chance.randrange(1, 64), "stream": number % 2 == 0}
    if number % 6 == 0:
        body["stream_options"] = {"include_usage": True}
    if number % 5 == 0:
        body["prompt_cache_key"] = "k"
    if number % 7 == 0:
        body["x_fault"] = "ok?gap_ms=2"
    return body


async def call(http: aiohttp.ClientSession, body: dict, url: str = "") -> Call:
    """One call (to `url`, or the session's own); whatever breaks it, what had arrived is kept."""
    seen = Call(wanted=body["max_tokens"])
    try:
        async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
            seen.status, seen.rid = answer.status, answer.headers.get("x-request-id", "")
            if body["stream"] and answer.status == 200:
                async for line in answer.content:
                    _read(seen, line.rstrip())
            else:
                whole = json.loads(await answer.read())
                if answer.status == 200:
                    seen.got, seen.whole = whole["usage"]["completion_tokens"], True
                    seen.upstream = whole["id"].removeprefix("chatcmpl-")
    except (aiohttp.ClientError, OSError, TimeoutError):
        seen.whole = False
    return seen


def _read(seen: Call, line: bytes) -> None:
    if line == b"data: [DONE]":
        seen.whole = True
    elif line.startswith(b"data: {"):
        event = json.loads(line[6:])
        if "choices" in event:
            seen.upstream = event["id"].removeprefix("chatcmpl-")
            seen.got += sum(bool(choice["delta"].get("content")) for choice in event["choices"])


async def run(url: str, key: str, bodies: list[dict], clients: int, during=None) -> list[Call]:
    """All bodies, by `clients` at a time. `during` is a coroutine that runs beside them."""
    waiting = list(reversed(bodies))
    calls: list[Call] = []
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"},
                                     connector=aiohttp.TCPConnector(limit=clients),
                                     timeout=aiohttp.ClientTimeout(total=60)) as http:
        async def client() -> None:
            while waiting:
                calls.append(await call(http, waiting.pop()))

        await asyncio.gather(*(client() for _ in range(clients)), *([during] if during is not None else []))
    return calls
