"""What the bench measures and with what: targets, the gateway's CPU and memory, nginx for scale."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import until

TICKS = os.sysconf("SC_CLK_TCK")
SAY = [{"role": "system", "content": "You are a terse assistant." * 8}, {"role": "user", "content": "Hello! " * 40}]

CHAT, SPEECH = "/chat/completions", "/audio/speech"


def chat(model: str, stream: bool, tokens: int) -> dict:
    """A chat request, about 0.6 KB."""
    return {"model": model, "messages": SAY, "max_tokens": tokens, "temperature": 0.7} | ({"stream": True} if stream else {})


# name: (what is asked, clients)
CASES = {
    "JSON, c=1": (chat("bench", False, 16), 1),
    "JSON, c=32": (chat("bench", False, 16), 32),
    "SSE 100 events, one burst, c=32": (chat("bench", True, 100), 32),
    "SSE 100 events, separate, c=32": (chat("bench-separate", True, 100), 32),
    "speech, a frame each 10 ms, c=4": ({"model": "bench-speech", "voice": "alloy", "input": "one two three four five"}, 4),
}


@dataclass
class Target:
    """Where the load goes. `paths` is {model: path}; `pids` gives the processes whose CPU is counted."""

    name: str
    port: int
    paths: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)
    pids: object = list


def load(target: Target, case: str, seconds: float, core: int) -> dict:
    """One run: what tests.bench.load prints, and `cpu_us` per request of the target's processes."""
    asked, clients = CASES[case]
    before = cpu_s(target.pids())
    command = [sys.executable, "-m", "tests.bench.load", json.dumps(
        {"host": "127.0.0.1", "port": target.port, "path": target.paths[asked["model"]], "headers": target.headers,
         "body": json.dumps(asked), "clients": clients, "seconds": seconds, "core": core})]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    used_s = cpu_s(target.pids()) - before
    if result["errors"] or not result["requests"]:
        raise RuntimeError(f"{target.name}, {case}: {result}")
    return {**result, "cpu_us": used_s * 1e6 / result["requests"], "rps": result["requests"] / result["seconds"]}


def hold_open(target: Target, model: str, count: int, core: int) -> subprocess.Popen:
    """`count` streams, each open and idle after its first event. Close its stdin to end it."""
    command = [sys.executable, "-m", "tests.bench.load", json.dumps(
        {"host": "127.0.0.1", "port": target.port, "path": target.paths[model], "headers": target.headers,
         "body": json.dumps(chat(model, True, 100)), "clients": count, "seconds": 0, "core": core, "hold": True})]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if json.loads(process.stdout.readline() or "{}").get("open") != count:
        raise RuntimeError(f"{target.name}: {count} streams did not open")
    return process


def cpu_s(pids: list[int]) -> float:
    """User and system seconds of processes, their dead children included."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def rss_kb(pids: list[int]) -> int:
    """Resident memory of processes."""
    return sum(int(line.split()[1]) for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()
               if line.startswith("VmRSS:"))


NGINX = """\
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000;
  upstream far {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://far; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


class Nginx:
    """nginx as a bare proxy before the upstream, when it is on PATH: the yardstick of what a hop costs here."""

    def __init__(self, folder: Path, upstream: int, port: int, core: int):
        folder.mkdir()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
        self.process = subprocess.Popen(
            [shutil.which("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
            preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        until(lambda: (folder / "nginx.pid").exists(), "nginx")

    def pids(self) -> list[int]:
        """Master and worker."""
        return family(self.process.pid)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
