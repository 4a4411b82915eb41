"""Prometheus figures of this process, and of all workers beside it when one of them is asked.

Calls are only remembered while they run by; they are folded into counters in batches, so that a request costs an append.
Workers share figures through the client library's files in the folder PROMETHEUS_MULTIPROC_DIR, which serve sets
before this module is imported.
"""

import asyncio
import bisect
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from smartoken.domain.money import P_PER_U
from smartoken.domain.usage import UsageRecord
from smartoken.engine.beside import is_beside

FOLD_AT = 500
LAG_S = 0.010
_FIRST = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
_TOTAL = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

calls = Counter("smartoken_calls", "Settled calls.", ["wire", "model", "channel", "status"])
refusals = Counter("smartoken_refusals", "Requests turned down before any money was held.", ["path", "status"])
tokens = Counter("smartoken_tokens", "Tokens charged, by kind.", ["model", "kind"])
cost = Counter("smartoken_cost_micro_usd", "What calls cost their accounts, in micro-USD.", ["model"])
first_byte = Histogram("smartoken_first_byte_seconds", "Time to the upstream's first byte.", ["model"], buckets=_FIRST)
total = Histogram("smartoken_call_seconds", "Time from the request to its settlement.", ["model"], buckets=_TOTAL)
attempts = Counter("smartoken_attempts", "Attempts at channels, by how they went.", ["channel", "result"])
store_calls = Counter("smartoken_store_calls", "Calls to the store, by requests that wait for them or beside them.",
                      ["name", "by"])
inflight = Gauge("smartoken_calls_inflight", "Calls that hold money now.", multiprocess_mode="livesum")
tools = Gauge("smartoken_tools_running", "Server-side tools that run now.", multiprocess_mode="livesum")
connections = Gauge("smartoken_connections", "Client connections now.", multiprocess_mode="livesum")
healthy = Gauge("smartoken_journal_healthy", "1 while the journal takes records on every worker.",
                multiprocess_mode="livemin")
alarms = Gauge("smartoken_channel_alarms", "Channels that an operator must look at.", multiprocess_mode="livemax")

lag = Histogram("smartoken_loop_lag_seconds", "How late the event loop came to a timer of every 10 ms.",
                buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1))

_BOUNDS = {first_byte: (*_FIRST,), total: (*_TOTAL,)}
_SUM = -1
_KINDS = ("input", "output", "cache_read", "cache_write")


class Metrics:
    """The counters' one user."""

    def __init__(self) -> None:
        self._finished: list[UsageRecord] = []

    def call(self, record: UsageRecord) -> None:
        """A settled call."""
        self._finished.append(record)
        if len(self._finished) >= FOLD_AT:
            self.fold()

    def refusal(self, path: str, status: int) -> None:
        """A request turned down; `path` is one of the wires' own."""
        refusals.labels(path, status).inc()

    def fold(self) -> None:
        """Move what was remembered into the counters: sums first, since an increment costs more than an addition."""
        finished, self._finished = self._finished, []
        sums: dict[tuple, float] = {}

        def add(amount: float, *key: Any) -> None:
            sums[key] = sums.get(key, 0) + amount

        for record in finished:
            model, usage = record.model, record.usage
            add(1, calls, record.wire, model, record.channel, record.status)
            add(record.cost_p / P_PER_U, cost, model)
            for kind in _KINDS:
                count = getattr(usage, kind)
                if count:
                    add(count, tokens, model, kind)
            for attempt in record.attempts:
                add(1, attempts, attempt.channel, attempt.result)
            self._time(add, total, model, record.total_ms / 1000)
            if record.first_ms:
                self._time(add, first_byte, model, record.first_ms / 1000)
        for (counter, *labels), amount in sums.items():
            if type(counter) is not int:
                counter.labels(*labels).inc(amount)
        for (place, histogram, model), amount in ((key, value) for key, value in sums.items() if type(key[0]) is int):
            child = histogram.labels(model)
            # What observe() does, many at a time; the library has no public way to do so.
            (child._sum if place == _SUM else child._buckets[place]).inc(amount)

    @staticmethod
    def _time(add: Any, histogram: Histogram, model: str, seconds: float) -> None:
        add(1, bisect.bisect_left(_BOUNDS[histogram], seconds), histogram, model)
        add(seconds, _SUM, histogram, model)

    async def page(self, gateway: Any) -> bytes:
        """The exposition text over all live workers. It is as long as there are models and channels, so it is read and
        written in a thread; the figures of this process are brought up to date before, where they live."""
        self.update(gateway)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return await asyncio.to_thread(generate_latest, registry)

    def update(self, gateway: Any) -> None:
        """Bring this process's figures up to date; each worker does so every few seconds."""
        self.fold()
        inflight.set(len(gateway.calls))
        tools.set(len(gateway.tools))
        connections.set(gateway.connections())
        healthy.set(1 if gateway.journal.healthy else 0)
        gateway.health.keep(gateway.snapshots.current)
        alarms.set(len(gateway.health.alarms))


async def watch_lag() -> None:
    """Notice for ever how busy or blocked the event loop is: at its worst, each request is so late."""
    while True:
        due = time.monotonic() + LAG_S
        await asyncio.sleep(LAG_S)
        lag.observe(max(0.0, time.monotonic() - due))


class Counted:
    """A Store that counts the calls made to it and is otherwise the store it wraps."""

    def __init__(self, store: Any):
        self._store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        counters = store_calls.labels(name, "request"), store_calls.labels(name, "beside")

        def counted(*args: Any, **kwargs: Any) -> Any:
            counters[is_beside()].inc()
            return method(*args, **kwargs)
        setattr(self, name, counted)
        return counted
