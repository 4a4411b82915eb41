"""1 GiB of films through a gateway into OSS: how much memory it takes, and what chat beside it feels.

`python -m tests.journeys.gibibyte [--mb 1024]` prints both, and how often the event loop was late by more than 20 ms, and fails when the worker grew by 64 MiB or more. (Chat is
printed, not judged: on a machine with few cores the pretend OSS and upstreams beside the gateway cost more than it does.)
"""

import argparse
import http.client
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from smartoken.testing.process import UpstreamProcess
from tests.harness import Client, Gateway, channel, model
from tests.journeys.oss_kit import OssProcess
from tests.journeys.works_kit import FILM, call, film, maker

EACH_MB = 128
GROWTH_MAX = 64 << 20


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--mb", type=int, default=1024)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.mb)


def run(folder: Path, mb: int) -> None:
    """See the module."""
    (folder / "oss").mkdir()
    (folder / "gateway").mkdir()
    oss = OssProcess(folder / "oss")
    upstream = UpstreamProcess(manner=f"padded?pad_mb={EACH_MB}", work_ms=300, small=True)
    talker = UpstreamProcess()             # chat has its own: how busy the films' is, is not the question
    gateway = Gateway(folder / "gateway", conf=oss.conf())
    try:
        for helper in (oss, upstream):         # what they cost the machine's cores is not the question either
            os.setpriority(os.PRIO_PROCESS, helper.process.pid, 10)
        gateway.apply(film("f"), maker("maker", upstream.at("maker"), {"f": "x"}),
                      model("chat"), channel("chat", talker.at("chat"), {"chat": "x"}))
        gateway.start()
        client = gateway.client("gibibyte", "100")
        _film(gateway, client)                 # clients and threads are made by the first one
        alone = _chat(gateway, client, threading.Event(), 500)
        slow = _slow(gateway)
        before, begun, over = _rss(gateway), time.monotonic(), threading.Event()
        peak, beside = [0], []
        watchers = [threading.Thread(target=lambda: peak.__setitem__(0, _peak(gateway, over))),
                    threading.Thread(target=lambda: beside.extend(_chat(gateway, client, over, 10**9)))]
        films = [threading.Thread(target=_film, args=(gateway, client)) for _ in range(mb // EACH_MB)]
        for thread in (*watchers, *films):
            thread.start()
        for thread in films:
            thread.join()
        took = time.monotonic() - begun
        over.set()
        for thread in watchers:
            thread.join()
        grown = peak[0] - before
        print(f"{mb} MiB in {took:.1f} s; the worker had {before >> 20} MiB and grew by {grown >> 20} MiB at most; chat "
              f"alone p50 {_ms(alone, 50)} p99 {_ms(alone, 99)} ms, beside it p50 {_ms(beside, 50)} p99 "
              f"{_ms(beside, 99)} worst {_ms(beside, 100)} ms ({len(beside)} calls); the event loop was late by more than 20 ms {_slow(gateway) - slow:g} times")
        assert grown < GROWTH_MAX, f"grew by {grown} bytes"
    finally:
        gateway.close()
        upstream.stop()
        talker.stop()
        oss.stop()


def _film(gateway: Gateway, client: Client) -> None:
    status, _, answer = call(f"{gateway.url}/v1/videos/generations", client.key, {"model": "f", **FILM}, timeout=300)
    assert status == 200, answer


def _chat(gateway: Gateway, client: Client, over: threading.Event, count: int) -> list[float]:
    """Seconds that each of `count` calls took, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4})
    took = []
    while not over.is_set() and len(took) < count:
        begun = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {client.key}",
                                                                  "Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        took.append(time.perf_counter() - begun)
        time.sleep(0.005)
    connection.close()
    return took


def _slow(gateway: Gateway) -> float:
    """How often the event loop came more than 20 ms late to a timer."""
    page = gateway.get("/metrics")[2].decode()              # once: two pages would not belong to one moment
    sums = {name: sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))
            for name in ("smartoken_loop_lag_seconds_count", 'smartoken_loop_lag_seconds_bucket{le="0.02"')}
    every, in_time = sums.values()
    return every - in_time


def _rss(gateway: Gateway) -> int:
    text = Path(f"/proc/{gateway.worker_pids()[0]}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def _peak(gateway: Gateway, over: threading.Event) -> int:
    most = 0
    while not over.wait(0.05):
        most = max(most, _rss(gateway))
    return most


def _at(took: list[float], percent: int) -> float:
    return sorted(took)[min(len(took) - 1, len(took) * percent // 100)]


def _ms(took: list[float], percent: int) -> str:
    return f"{_at(took, percent) * 1000:.1f}"


if __name__ == "__main__":
    main()
