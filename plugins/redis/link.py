"""How we connect: our own options in the URL, and a client that gives up quickly and never repeats a command."""

import asyncio
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from smartoken.plugin import ConfigError

PATIENCE_S = 0.25              # for one exchange; three of them fail within the second that switches to shares
PREFIX = "smartoken"
PROCESSES = 4
FAILURES = (RedisError, OSError, TimeoutError, ValueError)


class Address(NamedTuple):
    """`url` for the driver; `prefix` of all our keys and channels; `processes` to reckon with at least, while Redis
    was never reached to tell how many there are."""

    url: str
    prefix: str
    processes: int


def address(url: str) -> Address:
    """Take our options `prefix` and `processes` out of a URL. ConfigError."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix, processes = options.pop("prefix", PREFIX), options.pop("processes", str(PROCESSES))
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ConfigError("'limiter.url': write redis://host:6379/0 or rediss://host:6379/0")
    if not prefix or "{" in prefix or not processes.isdecimal() or not 1 <= int(processes) <= 10_000:
        raise ConfigError("'limiter.url': prefix must be a word without braces, processes a number from 1 to 10000")
    clean = urlunsplit(parts._replace(query=urlencode(options)))
    try:
        connect(clean)
    except ValueError as error:
        raise ConfigError(f"'limiter.url': {error}") from error
    return Address(clean, prefix, int(processes))


def connect(url: str, patience_s: float | None = PATIENCE_S) -> Redis:
    """A client, not connected yet. The driver would repeat a command up to ten times when no reply comes, and with it
    whatever the command takes."""
    return Redis.from_url(url, socket_timeout=patience_s, socket_connect_timeout=PATIENCE_S,
                          retry=Retry(NoBackoff(), 0), protocol=2, max_connections=4)


async def end(*tasks: asyncio.Task) -> None:
    """Cancel tasks until they are done: the driver uses wait_for, and Python 3.11's may swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)
