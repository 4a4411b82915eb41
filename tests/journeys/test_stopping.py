"""A gateway that is told to stop while calls run that outlast its patience: they are told, charged, and the books close."""

import asyncio
import json

import aiohttp

from smartoken.engine.jobs import GRACE_S
from smartoken.main import CHARGE_S, SETTLE_S
from smartoken.supervisor import KILL_AFTER_S
from smartoken.testing.process import UpstreamProcess
from tests.harness import Gateway, channel, model, until
from tests.journeys.conftest import SAY

CHAT, SPEECH = "/v1/chat/completions", "/v1/audio/speech"
CALLS = {
    "stream": (CHAT, {"model": "slow", "messages": SAY, "max_tokens": 600, "stream": True}),
    "keyed": (CHAT, {"model": "slow", "messages": SAY, "max_tokens": 600, "stream": True, "user": "keyed"}),
    "whole": (CHAT, {"model": "late", "messages": SAY}),
    "aloud": (SPEECH, {"model": "tts", "voice": "alloy", "input": "word " * 600}),
}


def test_a_worker_is_killed_after_all_that_it_waits_for():
    assert KILL_AFTER_S >= SETTLE_S + CHARGE_S + GRACE_S + 10, "ten for the store"


def test_calls_that_outlast_the_drain_are_told_and_charged(tmp_path):
    upstream = UpstreamProcess(tmp_path / "sent.jsonl")
    gateway = Gateway(tmp_path, drain_s=1)
    gateway.apply(model("slow"), model("late"), '[[models]]\nslug = "tts"\ntype = "speech"\npricing = { per_mchar = 1000000 }\n',
                  channel("slow", upstream.at("slow", "slow?gap_ms=50"), {"slow": "slow"}),
                  channel("late", upstream.at("late", "delay?delay_ms=60000"), {"late": "late"}),
                  channel("t", upstream.at("t", "slow?gap_ms=50"), {"tts": "tts"}).replace('"chat"', '"speech"'))
    clients = {name: gateway.client(name) for name in CALLS}
    gateway.start()
    try:
        answers = asyncio.run(stopped_under(gateway, clients))
    except BaseException:
        gateway.close()
        raise
    finally:
        upstream.stop()
    for name in ("stream", "keyed"):
        status, data, whole = answers[name]
        error = json.loads(data.removeprefix(b"data: "))["error"]
        assert (status, whole, error["code"]) == (200, True, "not_ready")
    status, data, whole = answers["whole"]
    assert (status, whole, json.loads(data)["error"]["code"]) == (503, True, "not_ready")
    assert answers["aloud"][0] == 200 and not answers["aloud"][2], "audio can only be cut"
    rows = {row.acct: row for row in gateway.check_books(*clients.values())}
    told = {name: (row.status, row.cost_p > 0) for name in CALLS for row in [rows[clients[name].acct]]}
    assert told == {"stream": ("broken", True), "keyed": ("broken", True), "whole": ("failed", False),
                    "aloud": ("broken", False)}


async def stopped_under(gateway, clients):
    """{name: (status, the last line of the body, whether the body ended well)} of CALLS, begun before the stop."""
    begun = asyncio.Semaphore(0)

    async def call(name):
        path, body = CALLS[name]
        headers = {"Authorization": f"Bearer {clients[name].key}"} | ({"Idempotency-Key": "k"} if name == "keyed" else {})
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=50)) as http:
            if name == "whole":
                begun.release()
            async with http.post(gateway.url + path, json=body) as answer:
                data = b""
                try:
                    async for chunk in answer.content.iter_any():
                        if not data:
                            begun.release()
                        data += chunk
                except aiohttp.ClientPayloadError:
                    return answer.status, data, False
                return answer.status, data.strip().rpartition(b"\n")[2], True

    calls = {name: asyncio.create_task(call(name)) for name in CALLS}
    async with asyncio.timeout(20):
        for _ in CALLS:
            await begun.acquire()
    await asyncio.to_thread(until, lambda: gateway.metric("smartoken_calls_inflight") == len(CALLS), "all under way")
    await asyncio.to_thread(gateway.stop)
    return {name: await task for name, task in calls.items()}
