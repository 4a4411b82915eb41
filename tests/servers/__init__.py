"""The real MongoDB-wire and Redis servers that tests run against, and where they come from.

A URL in the environment wins; else a server on PATH; else the one that `python -m tests.servers install` put into
.cache/ or that came with the test extra. What is missing is a skip that says what to do, and a failure when
SMARTOKEN_TEST_REQUIRE (a comma-separated list: mongo, indexed, redis) names it.

Two servers speak MongoDB's wire, since neither is all of it. `mongo`: FerretDB 1.x on SQLite, whose updates are not
atomic, a good adversary; but it looks through all of a collection for whatever is not one `_id`. `indexed`: SecantusDB
over WiredTiger, MongoDB's own storage, which uses indexes and presents itself as a replica set. A mongod on PATH is both.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FERRETDB = ROOT / ".cache" / "ferretdb"

URLS = {"mongo": "SMARTOKEN_TEST_MONGO_URL", "redis": "SMARTOKEN_TEST_REDIS_URL"}


class Missing(Exception):
    """No server of this kind here; says what to do."""

    def __init__(self, kind: str, what: str):
        remedy = ("run `python -m tests.servers install`" if kind == "indexed" else
                  f"run `python -m tests.servers install` (it needs Go for FerretDB), or set {URLS[kind]}"
                  if kind in URLS else f"install {kind} with your system's package manager")
        super().__init__(f"no {what}: {remedy}")
        self.kind = kind


def required(kind: str) -> bool:
    return kind in os.environ.get("SMARTOKEN_TEST_REQUIRE", "").split(",")


def find(*names: str) -> str | None:
    """A program on PATH or beside this Python."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return next((path for name in names if (path := shutil.which(name, path=beside))), None)


@dataclass
class Server:
    """A server process on `host`:`port`, its data in `folder`. `restart` keeps the port."""

    kind: str
    command: list[str]
    port: int
    host: str = "127.0.0.1"
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"{'redis' if self.kind == 'redis' else 'mongodb'}://{self.host}:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"{self.command[0]} did not start: exit {self.process.returncode}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mongo_command(folder: Path, port: int) -> list[str]:
    """The command line of the MongoDB-wire server that is here. Missing."""
    if mongod := find("mongod"):
        return [mongod, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    if not FERRETDB.exists():
        raise Missing("mongo", "MongoDB server")
    return [str(FERRETDB), "-folder", str(folder), "-listen", f"127.0.0.1:{port}"]


def indexed_command(folder: Path, port: int) -> list[str]:
    """The same of one whose indexes are used. Missing."""
    if mongod := find("mongod"):
        return [mongod, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    if (server := find("secantusd-py")) is None:
        raise Missing("indexed", "MongoDB server with indexes")
    return [server, "--storage-path", str(folder), "--port", str(port), "--cache-size", "1GB"]


def redis_command(folder: Path, port: int) -> list[str]:
    """The same for Redis; nothing is kept on disk."""
    server = find("redis-server")
    if server is None:
        raise Missing("redis", "redis-server")
    return [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
            "--appendonly", "no"]


COMMANDS = {"mongo": mongo_command, "indexed": indexed_command, "redis": redis_command}


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Server]:
    """A server of a kind of COMMANDS, its data in `folder`, ended at the end. Missing."""
    port = _free_port()
    server = Server(kind, COMMANDS[kind](folder, port), port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
