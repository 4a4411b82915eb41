"""T11: whatever an upstream does, each call has one honest answer, one record and the right charge, on every wire.

Every play of smartoken.testing.plays, streaming and not, over the four wires that relay text. Each cell asserts: the
status that this misbehaviour must lead to (never 401 for ours, never 500); an error in the wire's shape or a stream that
ends whole or says why it does not; exactly one record; nothing charged for a failure, and otherwise the reported usage,
or no more than the upstream sent. In the end nothing is in flight and the memory is where it was, as soon as the gateway
has given back what it no longer needs (engine/heap.py).
"""

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp

from smartoken.testing.plays import PLAYS, REFUSALS
from smartoken.testing.process import UpstreamProcess
from tests.chaos.proof import Means, Proof
from tests.harness import PRICE, Gateway, cost_of, model, token_cost_p, until
from tests.journeys.conftest import SAY

SHORT = ("ok", "hang", "stall", "reset_first", "reset", "torn", "error_200", "error_first", "error_mid", "html", "empty",
         "bad_utf8", "bad_sse", "gzip_bomb", "usage_negative", "usage_twice", "no_usage", "401", "429", "500", "400")
LONG_LINE = "long_line?mb=100"
# What happens before anything valid came: every channel failed. Of a whole answer, also what breaks it later.
FAILS = {"hang", "reset_before", "reset_first", "close_before", "error_200", "error_first", "html", "empty", "quota",
         "zhipu_concurrency", "zhipu_arrears", "zhipu_no_model"}
FAILS_WHOLE = {"stall", "reset", "close", "torn", "error_mid", "truncated", "short_length", "long_length", "endless",
               "gzip_bomb", LONG_LINE, "bad_sse"}
CALLERS = {"400", "413", "422"}
MADE = {"task_failed", "task_moderated", "task_unknown", "padded", "fewer"}    # of pictures and films
TIMES = "timeouts = { first_byte_s = 3, idle_s = 3, total_s = 8 }\n"
MEMORY, GIVEN_BACK_S = 50 << 20, 30


@dataclass(frozen=True)
class Way:
    """A wire: the provider that speaks it, its name in wire_api, and how a call of it looks."""

    provider: str
    api: str
    path: str
    body: dict

    def request(self, slug: str, stream: bool) -> tuple[str, dict]:
        if "{slug}" in self.path:
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return self.path.format(slug=slug, verb=verb), self.body
        return self.path, {**self.body, "model": slug, "stream": stream}


WAYS = {
    "chat": Way("vllm", "chat", "/v1/chat/completions", {"messages": SAY, "max_tokens": 12}),
    "resp": Way("vllm", "responses", "/v1/responses", {"input": "Say something.", "max_output_tokens": 16}),
    "msg": Way("anthropic", "messages", "/v1/messages", {"messages": SAY, "max_tokens": 12}),
    "gem": Way("gemini", "gemini", "/v1beta/models/{slug}:{verb}",
               {"contents": [{"role": "user", "parts": [{"text": "Say something."}]}],
                "generationConfig": {"maxOutputTokens": 12}}),
}


def prove(means: Means) -> Proof:
    plays = [LONG_LINE if play == "long_line" else play for play in (*PLAYS, *map(str, REFUSALS))
             if play not in MADE] if means.long else list(SHORT)
    upstream = UpstreamProcess(means.folder / "sent.jsonl")
    means.ends.callback(upstream.stop)
    gateway = Gateway(means.folder)
    gateway.env["UPSTREAM_KEY"] = "secret"
    means.ends.callback(gateway.close)
    tables = []
    for name, way in WAYS.items():
        for number, play in enumerate(plays):
            slug = f"{name}-{number}"
            fields = {"name": slug, "provider": way.provider, "base_url": upstream.at(slug, play), "models": [slug],
                      "wire_api": [way.api]} | ({} if way.provider == "vllm" else {"credential": "env:UPSTREAM_KEY"})
            tables += [model(slug), "[[channels]]\n" + "".join(
                f"{key} = {json.dumps(value)}\n" for key, value in fields.items()) + TIMES]
    gateway.apply(*tables)
    gateway.start()
    client = gateway.client("matrix", "100")
    memory = resident(gateway)
    cells = [(name, number, play, stream) for name in WAYS for number, play in enumerate(plays)
             for stream in (False, True)]
    said = asyncio.run(all_of(gateway, client.key, cells))
    until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls", 60)
    peak = grown = resident(gateway) - memory
    deadline = time.monotonic() + GIVEN_BACK_S
    while grown > MEMORY and time.monotonic() < deadline:
        time.sleep(1)
        grown = resident(gateway) - memory
    until(lambda: len(gateway.records(client)) >= len(cells), "all records", 60)
    rows = gateway.records(client)
    by_slug = {}
    for row in rows:
        by_slug.setdefault((row.model, row.stream), []).append(row)
    sent = {}
    for line in upstream.attempts().values():
        sent.setdefault(line.at, []).append(line)
    wrong = 0
    for (name, number, play, stream), answer in zip(cells, said, strict=True):
        slug = f"{name}-{number}"
        for mistake in judge(play, stream, answer, by_slug.get((slug, stream), []), sent.get(slug, [])):
            wrong += 1
            print(f"{name} {play} {'stream' if stream else 'whole'}: {mistake}")
    wrong += grown > MEMORY
    gateway.stop()
    code, text = gateway.reconcile()
    assert code == 0, text
    statuses = {str(status): sum(answer[0] == status for answer in said) for status in sorted({a[0] for a in said})}
    return Proof("cells", len(cells), wrong, {"plays": len(plays), "wires": len(WAYS), **statuses,
                                              "memory grown (MiB)": grown >> 20, "at the last call": peak >> 20})


async def all_of(gateway: Gateway, key: str, cells: list) -> list[tuple[int, dict, bytes]]:
    """(status, headers, body) of each cell, some at a time."""
    turns = asyncio.Semaphore(8)

    async def one(http: aiohttp.ClientSession, name: str, number: int, stream: bool) -> tuple[int, dict, bytes]:
        path, body = WAYS[name].request(f"{name}-{number}", stream)
        async with turns:
            try:
                async with http.post(path, json=body) as answer:
                    data = b""
                    async for part in answer.content.iter_any():
                        data = (data + part)[-65536:]
                    return answer.status, dict(answer.headers), data
            except (aiohttp.ClientError, TimeoutError) as error:
                return 0, {}, repr(error).encode()

    async with aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {key}"},
                                     timeout=aiohttp.ClientTimeout(total=60)) as http:
        return await asyncio.gather(*(one(http, name, number, stream) for name, number, _, stream in cells))


def judge(play: str, stream: bool, answer: tuple[int, dict, bytes], rows: list, lines: list):
    """What is wrong with a cell."""
    status, _, body = answer
    dead = play in FAILS or (not stream and play in FAILS_WHOLE) or (play.isdigit() and play not in CALLERS)
    if status in (0, 401, 402, 403, 500):
        yield f"status {status}: {body[-200:]!r}"
    elif dead and status < 400:
        yield f"status {status} for what cannot be an answer: {body[-200:]!r}"
    elif play in CALLERS and status != int(play):
        yield f"status {status} for a refusal of the request itself"
    elif not dead and play not in CALLERS and status != 200 and not (play in FAILS_WHOLE or play == "bad_utf8"):
        yield f"status {status}: {body[-200:]!r}"
    if status >= 400 and "error" not in json.loads(body):
        yield "a refusal without an error"
    if len(rows) != 1:
        yield f"{len(rows)} records"
        return
    row = rows[0]
    if status >= 400 and row.cost_p:
        yield f"a failure was charged {row.cost_p} pUSD"
    if status == 200:
        if row.cost_p not in (0, token_cost_p(PRICE, row.usage)):
            yield "the charge is not that of its usage"
        if row.status == "ok" and row.usage.source == "reported" and not play.startswith("usage_"):
            # One that never ends may have said that it had ended, and what it used until then.
            if play != "endless" and row.cost_p not in {cost_of(line) for line in lines}:
                yield f"charged {row.cost_p}, the upstream sent {lines}"
        elif row.usage.output > max((line.output for line in lines), default=0):
            yield f"charged {row.usage.output} tokens, the upstream sent {[line.output for line in lines]}"


def resident(gateway: Gateway) -> int:
    """Bytes of memory that the worker has."""
    with open(f"/proc/{gateway.worker_pids()[0]}/statm") as statm:
        return int(statm.read().split()[1]) * 4096
