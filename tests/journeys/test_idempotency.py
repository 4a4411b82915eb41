"""One Idempotency-Key and body of an account is one call: charged once, answered as often as it is asked for."""

import asyncio
import json
import os
import signal

import aiohttp
import pytest

from smartoken.testing.process import UpstreamProcess
from smartoken.testing.sound import MP3_FRAME
from tests.harness import Gateway, channel, model, until
from tests.journeys.conftest import SAY

PATH, SPEECH = "/v1/chat/completions", "/v1/audio/speech"
SPEAK = {"model": "tts", "voice": "alloy", "input": "One two three four"}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    upstream = UpstreamProcess(tmp_path_factory.mktemp("upstream") / "sent.jsonl")
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), workers=2)
    slugs = ("m", "slow", "sick", "short", "killed")
    gateway.apply(*(model(slug) for slug in slugs),
                  channel("c", upstream.at("c"), {"m": "m", "short": "m"}),
                  channel("slow", upstream.at("slow", "slow?gap_ms=30&tokens=30"), {"slow": "slow", "killed": "killed"}),
                  '[[models]]\nslug = "tts"\ntype = "speech"\npricing = { per_mchar = 15000000 }\n',
                  channel("t", upstream.at("t"), {"tts": "tts"}).replace('"chat"', '"speech"'),
                  channel("sick", upstream.at("sick", "500"), {"sick": "sick"}))
    gateway.start()
    yield gateway
    gateway.check_books()
    gateway.close()


def body(slug="m", **more):
    return {"model": slug, "messages": SAY, "max_tokens": 30, **more}


async def post(gateway, client, key, asked, path=PATH):
    """(status, headers, body) on a connection of its own, so that any worker may get it."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {client.key}", "Idempotency-Key": key},
                                     timeout=aiohttp.ClientTimeout(total=60)) as http:
        async with http.post(gateway.url + path, json=asked) as answer:
            return answer.status, answer.headers, await answer.read()


def many(gateway, *calls):
    async def all_of_them():
        return await asyncio.gather(*(post(gateway, *call) for call in calls))
    return asyncio.run(all_of_them())


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_again_gets_the_stored_answer(gateway, stream):
    client = gateway.client(f"again-{stream}")
    first, = many(gateway, (client, "k1", body(stream=stream)))
    rest = many(gateway, *[(client, "k1", body(stream=stream))] * 6)
    assert first[0] == 200 and "Idempotency-Replayed" not in first[1]
    for status, headers, data in rest:
        assert (status, data, headers["X-Request-Id"]) == (200, first[2], first[1]["X-Request-Id"])
        assert headers["Idempotency-Replayed"] == "true" and headers["Content-Type"] == first[1]["Content-Type"]
    gateway.record(first[1]["X-Request-Id"])
    assert len(gateway.records(client)) == 1, "charged once"


@pytest.mark.parametrize("stream", [False, True])
def test_those_who_come_while_it_runs_join_it(gateway, upstream, stream):
    """Over both processes: one call upstream, every client has the whole answer."""
    client = gateway.client(f"join-{stream}")
    asked = body("slow", stream=stream, user=f"join-{stream}")
    answers = many(gateway, *[(client, "k", asked)] * 8)
    assert {status for status, _, _ in answers} == {200} and len({data for _, _, data in answers}) == 1
    assert len({headers["X-Request-Id"] for _, headers, _ in answers}) == 1
    assert sum(f"join-{stream}".encode() in seen["body"] for seen in upstream.seen()) == 1
    until(lambda: gateway.records(client), "the record")
    assert len(gateway.records(client)) == 1


def test_another_body_or_path_is_a_conflict_and_another_account_is_not(gateway):
    client, other = gateway.client("strict"), gateway.client("elsewhere")
    assert many(gateway, (client, "k", body()))[0][0] == 200
    (status, _, data), (elsewhere, _, _) = many(gateway, (client, "k", body(seed=1)), (other, "k", body(seed=1)))
    error = json.loads(data)["error"]
    assert (status, error["type"], error["code"]) == (409, "idempotency_error", "idempotency_key_reused")
    assert elsewhere == 200
    for bad in ("x" * 256, "\u00e4"):
        assert many(gateway, (client, bad, body()))[0][0] == 400


def test_a_call_that_came_to_nothing_may_be_tried_again(gateway):
    """Refused, failed or unpaid: the key is free again, and the next try is a call of its own."""
    client = gateway.client("unlucky", "")
    assert [many(gateway, (client, "k", body()))[0][0] for _ in range(2)] == [402, 402]
    gateway.run("account", "topup", client.acct, "1")
    assert many(gateway, (client, "k", body()))[0][0] == 200
    first, second = (many(gateway, (client, "sick", body("sick")))[0] for _ in range(2))
    assert first[0] == second[0] == 503 and first[1]["X-Request-Id"] != second[1]["X-Request-Id"]
    assert "Idempotency-Replayed" not in second[1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_lost_its_connection_finds_its_answer(gateway, upstream, stream):
    client = gateway.client(f"lost-{stream}")
    asked = body("slow", stream=stream, user=f"lost-{stream}", x_fault="slow?gap_ms=30&delay_ms=600")

    async def leave_and_come_back():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await post(gateway, client, "k", asked)
        return await post(gateway, client, "k", asked)

    status, _, data = asyncio.run(leave_and_come_back())
    assert status == 200 and b"aaa" in data and (b"[DONE]" in data) == stream
    assert sum(f"lost-{stream}".encode() in seen["body"] for seen in upstream.seen()) == 1
    row, = until(lambda: gateway.records(client), "the record")
    assert row.status == "ok" and row.usage.output == 30


def test_a_large_answer_is_not_kept_but_not_made_twice(gateway, upstream):
    client = gateway.client("large")
    asked = body("short", stream=True, max_tokens=9000, x_fault="ok?gap_ms=-1")
    first, = many(gateway, (client, "k", asked))
    assert first[0] == 200 and len(first[2]) > 1 << 20
    again, = many(gateway, (client, "k", asked))
    error = json.loads(again[2])["error"]
    assert (again[0], error["code"], first[1]["X-Request-Id"] in error["message"]) == (409, "answer_not_kept", True)


def test_a_call_whose_process_died_is_not_made_again_if_it_cost_anything(gateway, upstream):
    client = gateway.client("bereaved")
    asked = body("killed", stream=True, user="bereaved")

    async def kill_under_it():
        headers = {"Authorization": f"Bearer {client.key}", "Idempotency-Key": "k"}
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.post(gateway.url + PATH, json=asked) as answer:
                for _ in range(12):
                    await answer.content.readline()
                for pid in gateway.worker_pids():
                    os.kill(pid, signal.SIGKILL)
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()

    asyncio.run(kill_under_it())
    until(lambda: len(gateway.worker_pids()) == 2 and gateway.all_ready(), "new workers", 60)
    row, = until(lambda: gateway.records(client), "the replayed record", 60)
    (status, headers, data), = many(gateway, (client, "k", asked))
    error = json.loads(data)["error"]
    assert row.status == "killed" and row.cost_p > 0
    assert (status, error["code"], row.rid in error["message"]) == (409, "call_died", True)
    assert headers["x-should-retry"] == "false"
    assert sum(b"bereaved" in seen["body"] for seen in upstream.seen()) == 1


def test_audio_is_the_same_again(gateway):
    client = gateway.client("again-aloud")
    answers = [asyncio.run(post(gateway, client, "k", SPEAK, SPEECH)) for _ in range(6)]
    assert [(status, data) for status, _, data in answers] == [(200, MP3_FRAME * 4)] * 6
    assert [answer[1].get("Idempotency-Replayed") for answer in answers] == [None] + ["true"] * 5
    assert {answer[1]["Content-Type"] for answer in answers} == {"audio/mpeg"}
    until(lambda: gateway.records(client), "the record")
    assert len(gateway.records(client)) == 1, "charged once"


def test_audio_that_breaks_off_frees_its_key(gateway, upstream):
    """Nothing can be said in the midst of audio, so all who listen are cut off; the next try is a call of its own."""
    client = gateway.client("hoarse")
    upstream.script("reset?after=3&gap_ms=300", at="t")

    async def listen():
        return await asyncio.gather(*(post(gateway, client, "k", SPEAK, SPEECH) for _ in range(3)),
                                    return_exceptions=True)

    listeners = asyncio.run(listen())
    assert any(isinstance(heard, aiohttp.ClientPayloadError) for heard in listeners)
    # Who waited in the other process, which passes no stream on, makes a call of its own once the key is free.
    assert all(isinstance(heard, aiohttp.ClientPayloadError) or heard[2] == MP3_FRAME * 4 for heard in listeners)
    status, _, data = asyncio.run(post(gateway, client, "k", SPEAK, SPEECH))
    assert (status, data) == (200, MP3_FRAME * 4)
    rows = until(lambda: len(rows := gateway.records(client)) == 2 and rows, "the records")
    assert sorted((row.status, row.cost_p) for row in rows) == [("broken", 0), ("ok", len(SPEAK["input"]) * 15_000_000)]
