"""One awaited call to an upstream, for work that is not on the hot path; on a connection of its own, sent once."""

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

from smartoken.domain.catalog import Channel
from smartoken.engine.endpoint import USER_AGENT
from smartoken.engine.masking import masked_body
from smartoken.plugin.types import Maker, Outgoing
from smartoken.upstream.exchange import Exchange
from smartoken.upstream.origin import Limits, Origin, render_head
from smartoken.upstream.pool import Pool


class Reply(NamedTuple):
    """A whole answer; header names in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes:
        """A header's value, b'' when absent."""
        return next((value for found, value in self.headers if found == name), b"")


class Unanswered(Exception):
    """No whole answer came. `sent`: some byte of the call may have reached the upstream. `kind` is of origin.FAILS."""

    def __init__(self, kind: str, detail: str, sent: bool):
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail, self.sent = kind, detail, sent


class _Collector:
    """The pool's Answer of one call."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exchange: Exchange | None = None
        self.status, self.headers = 0, []
        self.parts: list[bytes] = []

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status, self.headers = status, headers

    def on_data(self, data: bytes) -> None:
        self.parts.append(data)

    def on_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def on_fail(self, kind: str, detail: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(Unanswered(kind, detail, self.exchange.sent))


async def send(pool: Pool, channel: Channel, maker: Maker, outgoing: Outgoing, first_byte_s: int) -> Reply:
    """Make the call below the maker's root of the channel; Unanswered. A cancelled caller hangs up."""
    root = maker.root(channel.base_url.rstrip("/"))
    url = urlsplit(root + outgoing.path)
    target = url.path + (f"?{url.query}" if url.query else "")
    headers = [("Accept", "*/*"), ("User-Agent", USER_AGENT), *channel.provider.headers,
               *channel.provider.auth(channel.credential), *outgoing.headers]
    if outgoing.body:
        headers.append(("Content-Type", outgoing.content_type))
    head = render_head(outgoing.method, target, url.netloc, headers)
    collector = _Collector()
    collector.exchange = exchange = pool.send(
        Origin.of(root, proxy=channel.proxy or None), head, outgoing.body, collector,
        Limits(first_byte_s=first_byte_s, idle_s=channel.idle_s, total_s=channel.total_s, fresh=True))
    try:
        await collector.ended
    finally:
        exchange.abort()
    return Reply(collector.status, collector.headers, masked_body(channel, b"".join(collector.parts)))
