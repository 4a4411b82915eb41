"""One structured line per request.

Lines are JSON, written by an allow-list of fields: no prompt, credential, header or URL ever gets here. They are written
a few times a second, so that a request costs an append and no system call.
"""

import asyncio
import os
import time
from typing import Any

import msgspec

from smartoken.domain.usage import UsageRecord

FLUSH_S = 0.2
MOST_WAITING = 10_000
_encode = msgspec.json.encode


class Access:
    """`fd` -1 writes no lines."""

    def __init__(self, fd: int, worker: int):
        self._fd, self._worker = fd, worker
        self._waiting: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None

    def call(self, record: UsageRecord) -> None:
        """A settled call."""
        if self._fd >= 0:
            self._add(record)

    def refusal(self, rid: str, path: str, status: int, code: str | None, key: str = "") -> None:
        """A request that was turned down before any money was held."""
        if self._fd >= 0:
            self._add({"rid": rid, "path": path, "http": status, "code": code, "key": key})

    def other(self, rid: str, method: str, path: str, status: int, ms: int) -> None:
        """A request served by a plain handler."""
        if self._fd >= 0:
            self._add({"rid": rid, "method": method, "path": path, "http": status, "ms": ms})

    def flush(self) -> None:
        """Write what waits."""
        self._timer = None
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines = b"".join(_encode(self._line(stamp, one)) + b"\n" for one in waiting)
        while lines:
            try:
                lines = lines[os.write(self._fd, lines):]
            except BlockingIOError:
                return  # whoever reads our output is stuck: lines are dropped, requests are not
            except OSError:
                self._fd = -1
                return

    def _add(self, one: Any) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(one)

    def _line(self, stamp: str, one: Any) -> dict[str, Any]:
        head = {"at": stamp, "worker": self._worker}
        if type(one) is dict:
            return head | {name: value for name, value in one.items() if value not in ("", None)}
        usage = one.usage
        return head | {
            "rid": one.rid, "wire": one.wire, "http": one.http_status, "status": one.status, "acct": one.acct,
            "key": one.key, "model": one.model, "channel": one.channel, "stream": one.stream, "input": usage.input,
            "cached": usage.cache_read, "output": usage.output, "usage": usage.source, "cost_p": one.cost_p,
            "first_ms": one.first_ms, "ms": one.total_ms, "attempts": len(one.attempts)}
