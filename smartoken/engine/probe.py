"""A test call through a channel: the same bytes, connection and reading as a client's call, but for nobody's account.

It goes by the channel's document, not by the snapshot, so that one that is switched off or was saved a moment ago can
be tried as well.
"""

import asyncio
import json
import time
from typing import Any

from smartoken.engine.compile import compile_snapshot
from smartoken.engine.endpoint import endpoint_of
from smartoken.engine.health import meaning_of
from smartoken.engine.masking import masked
from smartoken.errors import ConfigError
from smartoken.plugin.types import RETRY, Failure

SAID = "Say OK."
SHOWN = 4000                   # bytes of the answer
PATIENCE_S = 60

# wire: the body of a small call, without its model
SAMPLES: dict[str, dict[str, Any]] = {
    "openai.chat": {"messages": [{"role": "user", "content": SAID}], "max_tokens": 16},
    "openai.responses": {"input": SAID, "max_output_tokens": 16},
    "openai.embeddings": {"input": SAID},
    "anthropic.messages": {"messages": [{"role": "user", "content": SAID}], "max_tokens": 16},
}


class _Listener:
    """Notes when what came of an exchange; an upstream.exchange.Answer."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.steps: list[tuple[str, int]] = []
        self.status, self.headers, self.parts = 0, [], []
        self.done: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    def mark(self, step: str) -> None:
        self.steps.append((step, int((time.perf_counter() - self.begun) * 1000)))

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.mark("head")
        self.status, self.headers = status, headers

    def on_data(self, data: bytes) -> None:
        if not self.parts:
            self.mark("first bytes")
        self.parts.append(data)

    def on_end(self) -> None:
        self._finish("", "")

    def on_fail(self, kind: str, detail: str) -> None:
        self._finish(kind, detail)

    def _finish(self, kind: str, detail: str) -> None:
        self.mark(kind or "end")
        if not self.done.done():
            self.done.set_result((kind, detail))


async def probe(gateway: Any, stored: dict[str, Any], wire: str = "", upstream_name: str = "") -> dict[str, Any]:
    """What one small call to a channel came to: {ok, failure, meaning, status, steps, usage, answer, …}.

    `wire` and `upstream_name` empty take the first that the channel has. ConfigError when it cannot be asked at all.
    """
    name = stored["_id"]
    made, problems = compile_snapshot({"models": [], "channels": [{**stored, "active": True}]}, gateway.registry,
                                      gateway.sealer, gateway.snapshots.secret)
    channel = made.channels.get(name)
    if channel is None:
        raise ConfigError("; ".join(problem.what for problem in problems) or f"channel '{name}' cannot be used")
    known = [one for one in channel.wires if one in SAMPLES and one in gateway.registry.wires]
    wire = wire or next(iter(known), "")
    if wire not in known:
        raise ConfigError(f"there is no test call for the wire '{wire}' on this channel; those there are: "
                          f"{', '.join(known) or 'none'}")
    upstream_name = upstream_name or next(iter(channel.models.values()), "")
    if not upstream_name:
        raise ConfigError("the channel names no model; write one that the provider knows")
    spoken = gateway.registry.wires[wire]
    ask = spoken.peek(json.dumps({"model": upstream_name, **SAMPLES[wire]}).encode())
    endpoint = endpoint_of(channel, wire)
    listener = _Listener()
    exchange = gateway.pool.send(endpoint.origin, endpoint.head, spoken.body(ask, upstream_name, channel.settings),
                                 listener, endpoint.limits._replace(total_s=PATIENCE_S))
    try:
        kind, detail = await listener.done
    finally:
        exchange.abort()
    if channel.provider.heard is not None and listener.headers:
        channel.provider.heard(channel.credential, listener.headers)
    return _told(channel, spoken, ask, upstream_name, listener, kind, detail)


def _told(channel: Any, wire: Any, ask: Any, upstream_name: str, listener: _Listener, kind: str,
          detail: str) -> dict[str, Any]:
    data = b"".join(listener.parts)
    usage, failure, meaning = None, None, ""
    if kind:
        failure, meaning = Failure(detail or kind, code=kind), RETRY
    elif listener.status == 200:
        if wire.gather is not None and channel.settings.get("stream_only"):
            data = wire.gather(data)
        usage, failure, _ = wire.whole(data, ask, channel.settings)
    else:
        failure = wire.failure(data)
    if failure is not None and not meaning:
        meaning = meaning_of(channel.provider, listener.status, failure)
    text = data[:SHOWN].decode("utf-8", "replace")
    return {"ok": failure is None, "channel": channel.name, "wire": wire.name, "model": upstream_name,
            "url": channel.base_url + channel.wires[wire.name], "status": listener.status, "steps": listener.steps,
            "failure": "" if failure is None else masked(channel, failure.message) or failure.code or "refused",
            "code": "" if failure is None else failure.code or failure.type, "meaning": meaning,
            "usage": None if usage is None else {"input": usage.input, "output": usage.output,
                                                 "cache_read": usage.cache_read},
            "answer": masked(channel, text)}
