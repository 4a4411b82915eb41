"""Many films at once over two workers that are killed in turn, from an upstream that fails at every step.

`python -m tests.journeys.films --jobs 200 --kills 8` is the long form; test_films.py runs a short one.
"""

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smartoken.domain import job as states
from smartoken.testing.process import UpstreamProcess
from tests.harness import Client, Gateway, until
from tests.journeys import works_kit
from tests.journeys.works_kit import SECOND_U, call, film, jobs, maker

SECONDS = 3
PLAYS = ("", "", "", "", "", "", "create:429", "create:400", "create:reset_before", "create:close_before",
         "create:html", "poll:500", "poll:reset_before", "poll:html", "poll:task_failed", "poll:task_moderated",
         "poll:task_unknown", "link:403", "link:500", "link:short_length", "link:slow", "link:padded")
REFUSED = ("create:429", "create:400")
END_S = 120


def run(folder: Path, count: int, kills: int, seed: int = 1) -> dict[str, int]:
    """All of it; AssertionError says which promise was broken, the dict how the jobs ended."""
    luck = random.Random(seed)
    upstream = UpstreamProcess(folder / "sent.jsonl", work_ms=3000, small=True)
    gateway = Gateway(folder, workers=2)
    try:
        # What is refused makes its channel rest, for its own model only.
        gateway.apply(film("film", settings="{ max_bytes = 4000000 }"), film("film-refused"),
                      maker("maker", upstream.at("maker"), {"film": "happyhorse-1.0-t2v",
                                                           "film-refused": "happyhorse-1.0-t2v"}))
        gateway.start()
        client = gateway.client("films", "100")
        plays = [play for play in PLAYS if play != "poll:task_unknown" or count >= 100]
        prompts = [f"{number} {luck.choice(plays)}".strip() for number in range(count)]
        over = threading.Event()
        with ThreadPoolExecutor(count + 1) as threads:
            killing = threads.submit(_kill, gateway, kills, luck, over)
            answers = dict(zip(prompts, threads.map(lambda prompt: _ask(gateway, client, prompt), prompts),
                               strict=True))
            over.set()
            killed = killing.result()
        until(lambda: works_kit.settled(gateway), "the end of all jobs", END_S)
        for id, job in jobs(gateway).items():
            if job.state == states.UNKNOWN:
                gateway.run("job", "release", id)
        until(lambda: not any(job.open for job in jobs(gateway).values()), "the releases", END_S)
        gateway.stop()
        ended = _check(gateway, client, upstream, prompts, answers)
        return {**ended, "killed": killed}
    finally:
        gateway.close()
        upstream.stop()


def _ask(gateway: Gateway, client: Client, prompt: str) -> tuple[int, dict]:
    """One film, asked for until there is an answer: a client that repeats its call as the Idempotency-Key allows."""
    model = "film-refused" if prompt.endswith(REFUSED) else "film"
    body = {"model": model, "prompt": prompt, "resolution": "720P", "duration": SECONDS}
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        status, headers, answer = call(f"{gateway.url}/v1/videos/generations", client.key, body, timeout=END_S,
                                       **{"Idempotency-Key": f"film {prompt}"})
        if status not in (0, 202) and answer.get("error", {}).get("code") not in ("store_away", "not_ready"):
            return status, answer
        time.sleep(0.3)
    job = next((job for job in jobs(gateway).values() if works_kit.prompt_of(job) == prompt), None)
    raise AssertionError(f"no answer for {prompt!r}: {job}\n{gateway.tail()}")


def _kill(gateway: Gateway, kills: int, luck: random.Random, over: threading.Event) -> int:
    """SIGKILL the workers in turn, each after the other answers again."""
    for number in range(kills):
        over.wait(luck.uniform(1.0, 2.5))
        if over.is_set():
            return number
        until(lambda: len(gateway.worker_pids()) == 2, "both workers")
        gateway.kill_worker(number % 2)
    return kills


def _check(gateway: Gateway, client: Client, upstream: UpstreamProcess, prompts: list[str],
           answers: dict[str, tuple[int, dict]]) -> dict[str, int]:
    found = {works_kit.prompt_of(job): job for job in jobs(gateway).values()}
    made = Counter(task["prompt"] for task in upstream.made())
    assert set(found) == set(prompts), "a call without a job, or a job without a call"
    assert max(made.values()) == 1, f"created twice: {[prompt for prompt, times in made.items() if times > 1]}"
    for prompt, job in found.items():
        refused = prompt.endswith(REFUSED)
        assert made[prompt] == (0 if refused or not job.sent_ms else made[prompt]), prompt
        assert made[prompt] == 1 or not job.upstream_id, prompt
        status, answer = answers[prompt]
        assert (status == 200) == (job.state == states.DONE), f"{prompt}: {status} {answer} {job.state}"
        if job.state == states.DONE:
            place = gateway.folder / "var" / "media" / job.kept[0].key
            assert place.stat().st_size == job.kept[0].size
    delivered = sum(job.state == states.DONE for job in found.values())
    books = works_kit.balance(gateway, client)
    assert books.held_u == 0, f"{books.held_u} µUSD are still held"
    assert client.credit_u - books.balance_u == delivered * SECONDS * SECOND_U
    records = gateway.records(client)
    assert sorted(record.rid for record in records) == sorted(job.id for job in found.values())
    assert sum(record.cost_p for record in records) == delivered * SECONDS * SECOND_U * 1_000_000
    code, text = gateway.reconcile()
    assert code == 0, text
    return {**Counter(job.state for job in found.values()), "created": sum(made.values())}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--jobs", type=int, default=200)
    words.add_argument("--kills", type=int, default=8)
    words.add_argument("--seed", type=int, default=1)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        ended = run(Path(folder), given.jobs, given.kills, given.seed)
        print(f"{given.jobs} films, seed {given.seed}: {ended}, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
