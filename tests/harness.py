"""A whole gateway for a test: a folder of its own, the real command line, real worker processes, real upstream.

Nothing here reaches into the gateway: it is driven by `smartoken …` and HTTP, and read from its logs, its metrics and
its store, as an operator would.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartoken.adapters.sqlite import open_sqlite
from smartoken.cli._books import open_store
from smartoken.conf import load
from smartoken.domain.money import P_PER_U, usd_to_u
from smartoken.domain.price import Price, token_cost_p
from smartoken.domain.usage import Usage, UsageRecord
from smartoken.ports import Store
from smartoken.testing.counts import Line

COMMAND = str(Path(sys.executable).with_name("smartoken"))
START_S, STOP_S, COME_S = 60, 60, 20
PRICE = Price(input_u=270_000, output_u=1_100_000, cache_read_u=70_000)
PRICING = "{ input_per_mtok = 270000, output_per_mtok = 1100000, cache_read_per_mtok = 70000 }"
CONF = """\
[server]
host = "127.0.0.1"
workers = {workers}
max_body = {max_body}
max_connections_per_ip = 0    # whole crowds come from one address here
drain_s = {drain_s}
{server}
[data]
folder = "{folder}/var"
node = "{node}"
[store]
url = "{store}"
"""


@dataclass(frozen=True)
class Client:
    """An account with one key."""

    acct: str
    key: str
    kid: str
    credit_u: int


def model(slug: str, **fields: object) -> str:
    """A [[models]] table at PRICE."""
    more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    return f'[[models]]\nslug = "{slug}"\ntype = "llm"\ncontext_length = 128000\npricing = {PRICING}\n{more}'


def channel(name: str, base_url: str, models: dict[str, str], **fields: object) -> str:
    """A [[channels]] table of a server that speaks chat and needs no credential; `models` is {slug: upstream name}."""
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    names = ", ".join(f"{json.dumps(slug)} = {json.dumps(upstream)}" for slug, upstream in models.items())
    return (f'[[channels]]\nname = "{name}"\nprovider = "vllm"\nbase_url = "{base_url}"\nwire_api = ["chat"]\n'
            f"models = {{ {names} }}\n{more}")


def cost_of(line: Line) -> int:
    """pUSD at PRICE of what an attempt sent, by the upstream's own books."""
    return token_cost_p(PRICE, Usage(input=line.input, output=line.output, cache_read=line.cache_read))


def until(true: Callable[[], object], what: str, seconds: float = COME_S) -> object:
    """Wait for something that must come; its value. Fails by name when it does not."""
    deadline = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)


class Gateway:
    """Made stopped; `apply` a catalog, `start`, make a `client`, call `url`, `check_books`, `close`."""

    def __init__(self, folder: Path, *, workers: int = 1, max_body: int = 1_048_576, conf: str = "", node: str = "",
                 store: str = "sqlite:///{data}/smartoken.db", server: str = "", drain_s: int = 10):
        """Gateways of one folder with different `node`s are one installation of several machines. `server` are lines
        more for the table [server], `conf` tables more."""
        self.folder, self.workers, self.port = folder, workers, 0
        self.conf = folder / f"smartoken{node}.toml"
        self.conf.write_text(CONF.format(workers=workers, folder=folder, max_body=max_body, node=node, store=store,
                                         server=server, drain_s=drain_s) + conf)
        self.log = folder / f"serve{node}.log"
        self.process: subprocess.Popen | None = None
        self._rows: dict[str, UsageRecord] = {}
        self.env = {name: value for name, value in os.environ.items()
                    if name not in ("HOST", "PORT") and not name.startswith("SMARTOKEN_")}
        self.env |= {"SMARTOKEN_CONF": str(self.conf), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}

    # the command line

    def run(self, *words: str, code: int = 0) -> str:
        """`smartoken …`: what it printed on stdout. Fails unless it ends with `code`."""
        done = subprocess.run([COMMAND, *words], cwd=self.folder, env=self.env, capture_output=True, text=True,
                              timeout=120, check=False)
        said = f"smartoken {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, said
        return done.stdout

    def apply(self, *tables: str, name: str = "catalog.toml", options: tuple[str, ...] = ()) -> None:
        """Put a catalog in force."""
        file = self.folder / name
        file.write_text("\n".join(tables))
        self.run("catalog", "apply", str(file), "--yes", *options)

    def client(self, name: str, usd: str = "10", *key_options: str) -> Client:
        """A new account with `usd` on it ('' tops nothing up) and a key."""
        acct = json.loads(self.run("account", "create", name, "--json"))["id"]
        if usd:
            self.run("account", "topup", acct, usd)
        made = json.loads(self.run("key", "create", acct, "--json", *key_options))
        return Client(acct, made["key"], made["kid"], usd_to_u(usd) if usd else 0)

    def account(self, client: Client) -> dict:
        """`smartoken account show --json`."""
        return json.loads(self.run("account", "show", client.acct, "--json"))

    def reconcile(self) -> tuple[int, str]:
        """(exit code, what it printed) of `smartoken reconcile`: 0 means that the books agree."""
        done = subprocess.run([COMMAND, "reconcile"], cwd=self.folder, env=self.env, capture_output=True, text=True,
                              timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    # the processes

    def start(self, core: int | None = None) -> "Gateway":
        """Serve until `stop`; returns when every worker answers. The port stays the same over restarts."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([COMMAND, "serve", "--port", str(self.port)], cwd=self.folder, env=self.env,
                                            stdout=log, stderr=log, preexec_fn=pin)
        try:
            until(lambda: self._answers(begin), "readiness", START_S)
        except BaseException:
            self.close()
            raise
        return self

    def _answers(self, begin: int) -> bool:
        said = self.log.read_bytes()[begin:].decode(errors="replace")
        assert self.process.poll() is None, f"the gateway did not start, exit {self.process.returncode}:\n{said}"
        banner = re.search(r"http://127\.0\.0\.1:(\d+)/v1", said)
        if banner is None:
            return False
        self.port = int(banner[1])
        return self.get("/readyz")[0] == 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def worker_pids(self) -> list[int]:
        """The worker processes alive now."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def all_ready(self) -> bool:
        """Every worker answers: connections of their own are spread by the kernel, so ask until each was met."""
        met = set()
        for _ in range(16 * self.workers):
            status, _, body = self.get("/readyz")
            if status == 200:
                met.add(json.loads(body)["node"])
        return len(met) == self.workers

    def kill_worker(self, index: int = 0) -> int:
        """SIGKILL one worker; its supervisor will start another. The pid killed."""
        pid = self.worker_pids()[index]
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> None:
        """SIGTERM: drain and go. Fails if it does not end well."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        self.process = None
        assert code == 0, f"the gateway ended with {code}:\n{self.tail()}"

    def close(self) -> None:
        """End whatever still runs, without asking."""
        if self.process is None:
            return
        workers = self.worker_pids() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it saw its supervisor go and went, too
        self.process = None

    def tail(self, size: int = 4000) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-size:]

    # what it shows

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body) of a GET; status 0 when nobody answers."""
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path: str, body: object, key: str = "") -> tuple[int, dict[str, str], bytes]:
        """The same of a POST on a connection of its own; `body` goes as it is if it is bytes, else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return self._open(urllib.request.Request(self.url + path, data, headers))

    def _open(self, request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
        except (urllib.error.URLError, ConnectionError):
            return 0, {}, b""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all workers and labels but those given."""
        lines = self.get("/metrics")[2].decode().splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if re.match(rf"{name}(\{{| )", line) and all(one in line for one in wanted))

    def records(self, client: Client | None = None) -> list[UsageRecord]:
        """The usage records that the store has, oldest first."""
        async def read() -> list[UsageRecord]:
            store = open_store(load(str(self.conf)))
            await store.open()
            try:
                rows: list[UsageRecord] = []
                while page := await store.usage(client.acct if client else "", after=rows[-1].rid if rows else ""):
                    rows += page
                return rows
            finally:
                await store.close()
        return asyncio.run(read())

    def in_sqlite(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        """What `work(store)` gives, on the SQLite file of the gateway, past whatever stands before it."""
        async def run() -> Any:
            store = open_sqlite(f"sqlite:///{self.folder}/var/smartoken.db")
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()
        return asyncio.run(run())

    def record(self, rid: str) -> UsageRecord:
        """The record of one request, waited for: records come to the store in batches, every two seconds or so."""
        def look() -> UsageRecord | None:
            if rid not in self._rows:
                self._rows = {row.rid: row for row in self.records()}
            return self._rows.get(rid)
        return until(look, f"the record of {rid}")

    def check_books(self, *clients: Client) -> list[UsageRecord]:
        """Stop the gateway and prove that nothing is left open and every cent is accounted for; the records.

        No hold open, no lease open, as many final records as settled calls, the store's books agree with themselves,
        and each client's balance fell by exactly what its records say.
        """
        if self.process is not None:
            until(lambda: self.metric("smartoken_calls_inflight") == 0, "the end of all calls")
            self.stop()
        code, text = self.reconcile()
        assert code == 0, text
        for client in clients:
            shown = self.account(client)
            cost_p = sum(row.cost_p for row in self.records(client))
            assert shown["balance_u"] == shown["available_u"], f"something is still set aside: {shown}"
            assert client.credit_u - shown["balance_u"] == cost_p // P_PER_U, shown
        return self.records()
