"""Cloned voices and their price: what a test needs to make some, and many at once over workers that are killed."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from smartoken.domain import job as states
from smartoken.testing.process import UpstreamProcess
from smartoken.testing.sound import wav
from tests.harness import Client, Gateway, until
from tests.journeys import works_kit

VOICE_U = 1_500_000
SAMPLE = wav(6_000)
END_S = 90


def speaker(slug: str, per_voice: bool = True) -> str:
    """A [[models]] table of speech; `per_voice` puts VOICE_U on every clone."""
    clone = f", per_voice = {VOICE_U}" if per_voice else ""
    return f'[[models]]\nslug = "{slug}"\ntype = "speech"\npricing = {{ per_mchar = 15000000{clone} }}\n'


def cloner(name: str, base_url: str, *slugs: str, provider: str = "openai", **fields: object) -> str:
    """A [[channels]] table of a provider that clones voices."""
    more = "".join(f"{key} = {value!r}\n" for key, value in fields.items())
    return (f'[[channels]]\nname = "{name}"\nprovider = "{provider}"\nbase_url = "{base_url}"\n'
            f'credential = "env:UPSTREAM_KEY"\nmodels = {list(slugs)!r}\n{more}')


def clone(gateway: Gateway, key: str, model: str, name: str = "Mine", query: str = "", timeout: float = 60,
          **headers: str) -> tuple[int, dict, dict]:
    """(status, headers, JSON) of POST /v1/audio/voices; status 0 when the connection broke."""
    form = {"name": name, "model": model, "consent": "It is my own voice."}
    try:
        got = httpx.post(f"{gateway.url}/v1/audio/voices{query}", data=form, timeout=timeout,
                         files={"audio_sample": ("me.wav", SAMPLE, "audio/wav")},
                         headers={"Authorization": f"Bearer {key}",
                                  **{name.replace("_", "-"): value for name, value in headers.items()}})
    except httpx.TransportError:
        return 0, {}, {}
    return got.status_code, dict(got.headers), got.json()


def voices(gateway: Gateway, key: str) -> dict[str, dict]:
    """{name: voice} of the account's list."""
    found = httpx.get(f"{gateway.url}/v1/audio/voices", headers={"Authorization": f"Bearer {key}"}, timeout=30).json()
    return {row["name"]: row for row in found["data"]}


def run(folder: Path, count: int, kills: int, seed: int = 1) -> dict[str, int]:
    """So many clones at once while workers are killed in turn; AssertionError says which promise was broken."""
    luck, over = random.Random(seed), threading.Event()
    upstream = UpstreamProcess(folder / "sent.jsonl")
    gateway = Gateway(folder, workers=2)
    gateway.env["UPSTREAM_KEY"] = "sk-upstream"
    try:
        gateway.apply(speaker("v"), cloner("c", upstream.at("c", "delay?delay_ms=700"), "v"))
        gateway.start()
        client = gateway.client("voices", "100")
        names = [f"voice {number}" for number in range(count)]
        with ThreadPoolExecutor(4) as threads, ThreadPoolExecutor(1) as killer:
            killing = killer.submit(_kill, gateway, kills, luck, over)
            answers = dict(zip(names, threads.map(lambda name: _ask(gateway, client, name), names), strict=True))
            over.set()
            killing.result()
        until(lambda: works_kit.settled(gateway), "the end of all jobs", END_S)
        ended = _check(gateway, client, upstream, answers)
        gateway.stop()
        code, text = gateway.reconcile()
        assert code == 0, text
        return ended
    finally:
        gateway.close()
        upstream.stop()


def _kill(gateway: Gateway, kills: int, luck: random.Random, over: threading.Event) -> None:
    for number in range(kills):
        over.wait(luck.uniform(0.5, 1.5))
        until(lambda: len(gateway.worker_pids()) == 2, "both workers")
        gateway.kill_worker(number % 2)


def _ask(gateway: Gateway, client: Client, name: str) -> tuple[int, dict]:
    """One voice, asked for until there is an answer that stays: the same key all the time."""
    def answer():
        status, _, said = clone(gateway, client.key, "v", name, Idempotency_Key=name)
        waits = status == 0 or said.get("status") == "processing" or \
            (said.get("error") or {}).get("code") in ("store_away", "not_ready")
        return None if waits else (status, said)
    return until(answer, f"an answer for {name}", END_S)


def _check(gateway: Gateway, client: Client, upstream: UpstreamProcess, answers: dict) -> dict[str, int]:
    jobs = list(works_kit.jobs(gateway).values())
    there = voices(gateway, client.key)
    asked = Counter(name for seen in upstream.seen() for name in answers
                    if seen["target"].endswith("/audio/voices") and f"\r\n\r\n{name}\r\n".encode() in seen["body"])
    assert len(jobs) == len(answers), "a call with two jobs, or with none"
    assert max(asked.values()) == 1, f"cloned twice: {asked}"
    delivered = [job for job in jobs if job.state == states.DONE]
    for name, (status, said) in answers.items():
        assert (status == 201) == (name in there and there[name]["status"] == "ready"), f"{name}: {status} {said}"
    assert sum(row["status"] == "ready" for row in there.values()) == len(delivered)
    assert all(row["status"] != "processing" for row in there.values())
    books = works_kit.balance(gateway, client)
    assert (books.held_u, client.credit_u - books.balance_u) == (0, len(delivered) * VOICE_U)
    records = gateway.records(client)
    assert sorted(record.rid for record in records) == sorted(job.id for job in jobs)
    assert sum(record.usage.voices for record in records) == len(delivered)
    assert sum(record.cost_p for record in records) == len(delivered) * VOICE_U * 1_000_000
    return {**Counter(job.state for job in jobs), "asked": sum(asked.values())}
