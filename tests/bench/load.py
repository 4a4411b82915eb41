"""The load, in a process of its own: n connections, each with one request at a time, as fast as answers come.

`python -m tests.bench.load '{"host", "port", "path", "headers", "body", "clients", "seconds", "core", "hold"}'` prints
one JSON line: {"requests", "seconds", "errors", "p50_us", "p99_us", "first_p50_us", "first_p99_us"}, where `first` is
the first byte of the body. With `hold` every connection sends
one request, waits for the first byte of its body, prints {"open": n} and keeps all open until its stdin ends.
"""

import asyncio
import json
import os
import sys
from time import perf_counter_ns

import httptools
import uvloop


class Client(asyncio.Protocol):
    """One connection in a closed loop. An answer that is not a 200, or breaks off, is an error."""

    __slots__ = ("began", "busy", "first", "load", "parser", "transport")

    def __init__(self, load: "Load"):
        self.load, self.busy = load, False

    def connection_made(self, transport):
        self.transport = transport
        self._send()

    def _send(self):
        self.parser = httptools.HttpResponseParser(self)
        self.busy, self.first = True, 0
        self.began = perf_counter_ns()
        self.transport.write(self.load.request)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, data):
        if not self.first:
            self.first = perf_counter_ns()
        if self.load.hold and self.busy:
            self.busy = False
            self.load.opened()

    def on_message_complete(self):
        now = perf_counter_ns()
        self.busy = False
        if self.parser.get_status_code() != 200:
            self.load.errors += 1
        self.load.times.append(now - self.began)
        self.load.firsts.append(self.first - self.began)
        if now < self.load.until:
            asyncio.get_running_loop().call_soon(self._send)  # not from inside the parser
        else:
            self.transport.close()

    def connection_lost(self, error):
        if self.busy:
            self.load.errors += 1
        self.load.lost()


class Load:
    """What all connections share."""

    def __init__(self, settings: dict):
        self.settings, self.hold = settings, settings.get("hold", False)
        body = settings["body"].encode()
        head = f"POST {settings['path']} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in settings["headers"].items())
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.times: list[int] = []
        self.firsts: list[int] = []
        self.errors = self.open = 0
        self.left = settings["clients"]
        self.until = 0

    async def run(self) -> dict:
        """Drive all connections to their end."""
        loop = asyncio.get_running_loop()
        self.done, self.all_open = asyncio.Event(), asyncio.Event()
        began = perf_counter_ns()
        self.until = began + int(self.settings["seconds"] * 1e9)
        for _ in range(self.settings["clients"]):
            await loop.create_connection(lambda: Client(self), self.settings["host"], self.settings["port"])
        if self.hold:
            await self.all_open.wait()
            print(json.dumps({"open": self.open}), flush=True)
            await loop.run_in_executor(None, sys.stdin.read)
            return {}
        await self.done.wait()
        return {"requests": len(self.times), "seconds": (perf_counter_ns() - began) / 1e9, "errors": self.errors,
                "p50_us": quantile(self.times, 0.5), "p99_us": quantile(self.times, 0.99),
                "first_p50_us": quantile(self.firsts, 0.5), "first_p99_us": quantile(self.firsts, 0.99)}

    def opened(self) -> None:
        """One more connection has the first byte of its body."""
        self.open += 1
        if self.open == self.settings["clients"]:
            self.all_open.set()

    def lost(self) -> None:
        """A connection is gone."""
        self.left -= 1
        if not self.left:
            self.done.set()


def quantile(times_ns: list[int], share: float) -> float:
    """In µs; 0 when there are none."""
    return sorted(times_ns)[min(int(len(times_ns) * share), len(times_ns) - 1)] / 1000 if times_ns else 0.0


def main() -> None:
    """One run, settings in argv[1]."""
    settings = json.loads(sys.argv[1])
    if settings.get("core") is not None:
        os.sched_setaffinity(0, {settings["core"]})
    print(json.dumps(uvloop.run(Load(settings).run())), flush=True)


if __name__ == "__main__":
    main()
