"""Which channel next: by priority, then by weight among the healthy, better of two."""

import hashlib
import math
import random
from collections.abc import Collection, Sequence

from smartoken.domain.catalog import Model, Route
from smartoken.engine.health import Health, HealthBook
from smartoken.errors import Refusal, refuse

MAX_ATTEMPTS = 3
RETRY_SHARE_PCT = 20     # retries may be so many per hundred requests,
RETRY_PER_S = 3          # and so many per second besides
RETRY_BURST = 60
LONG_REST_S = 120        # OpenAI's SDKs give up on a Retry-After past this


def routes_of(model: Model, wire: str, pin: str | None) -> Sequence[Route]:
    """The routes that serve a model on a wire; with `pin` that channel's alone. Refusal 400 or 503 when there is none."""
    routes = model.routes.get(wire, ())
    if pin is not None:
        pinned = [route for route in routes if route.channel.name == pin]
        if not pinned:
            raise refuse("invalid_request", f"Channel '{pin}' does not serve the model '{model.slug}' here.",
                         code="channel_not_serving", param="channel")
        return pinned
    if not routes:
        raise _unserved(model, wire)
    return routes


def _unserved(model: Model, wire: str) -> Refusal:
    others = sorted(name for name, routes in model.routes.items() if routes)
    if others:
        return refuse("invalid_request", f"The model '{model.slug}' is not served on the wire {wire}, only on: "
                      f"{', '.join(others)}.", code="wire_not_served", param="model")
    return refuse("upstream", f"No channel serves the model '{model.slug}' at the moment.", code="no_channel",
                  retry_after_s=30)


def pick(book: HealthBook, slug: str, routes: Sequence[Route], tried: Collection[Route],
         now_us: int, affinity: str = "") -> tuple[Route, Health] | None:
    """The next route to try, None when none is left that may be asked.

    Resting channels (they asked for patience) are never asked. Ejected ones are, when more than half of a tier is out,
    or nothing else is left: then our own judgement is the likelier fault. With `affinity` equal texts meet the same
    one of a tier's healthy routes, in every process alike.
    """
    if len(routes) == 1 and not tried:
        only = routes[0]
        health = book.of(only, slug)
        limit = only.channel.max_inflight
        if book.resting_us(only, health, now_us) or (limit and health.inflight >= limit):
            return None
        return only, health
    fallback: list[tuple[Route, Health]] = []
    at = 0
    while at < len(routes):
        tier = routes[at].channel.priority
        healthy: list[tuple[Route, Health]] = []
        out: list[tuple[Route, Health]] = []
        while at < len(routes) and routes[at].channel.priority == tier:
            route = routes[at]
            at += 1
            if route in tried:
                continue
            health = book.of(route, slug)
            if book.resting_us(route, health, now_us):
                continue
            limit = route.channel.max_inflight
            if limit and health.inflight >= limit:
                continue
            (out if book.ejected(health, now_us) else healthy).append((route, health))
        if out:
            out.sort(key=lambda pair: pair[1].ejected_until_us)
            while len(out) > len(healthy) and healthy:
                healthy.append(out.pop(0))
            fallback += out
        if healthy:
            if len(healthy) == 1:
                return healthy[0]
            return _nearest(healthy, affinity) if affinity else _better_of_two(healthy, now_us)
    return fallback[0] if fallback else None


def soonest_s(book: HealthBook, slug: str, routes: Sequence[Route], now_us: int) -> int:
    """Seconds until the first of the routes may be asked again; at least 1."""
    waits = [book.resting_us(route, book.of(route, slug), now_us) for route in routes]
    return max(1, -(-min(waits, default=0) // 1_000_000))


def resting_long(book: HealthBook, slug: str, routes: Sequence[Route], now_us: int) -> bool:
    """Every route asked for patience, for longer than any SDK would wait."""
    return all(book.of(route, slug).rest_until_us - now_us > LONG_REST_S * 1_000_000 for route in routes)


def _nearest(healthy: list[tuple[Route, Health]], affinity: str) -> tuple[Route, Health]:
    """Rendezvous hashing: each channel wins its weight's share of texts, and keeps it when others come or go."""
    def score(pair: tuple[Route, Health]) -> float:
        channel = pair[0].channel
        digest = hashlib.blake2b(f"{affinity}|{channel.name}".encode(), digest_size=8).digest()
        return -channel.weight / math.log((int.from_bytes(digest) + 1) / (2**64 + 1))
    return max(healthy, key=score)


def _better_of_two(healthy: list[tuple[Route, Health]], now_us: int) -> tuple[Route, Health]:
    weights = [health.weight(route.channel.weight, now_us) for route, health in healthy]
    if not any(weights):
        weights = [1] * len(healthy)
    first = random.choices(healthy, weights)[0]
    second = random.choices(healthy, weights)[0]
    return min(first, second, key=lambda pair: (pair[1].inflight + 1) * (pair[1].first_us or 1))


class RetryBudget:
    """Keeps a failing upstream from being asked twice for everything."""

    __slots__ = ("_hundredths", "_now_us")

    def __init__(self) -> None:
        self._hundredths, self._now_us = RETRY_BURST * 100, 0

    def request(self) -> None:
        """A first attempt earns its share."""
        if self._hundredths < RETRY_BURST * 100:
            self._hundredths += RETRY_SHARE_PCT

    def retry(self, now_us: int) -> bool:
        """Take one retry, if there is one."""
        earned = (now_us - self._now_us) * RETRY_PER_S // 10_000
        if earned:
            self._now_us = now_us
            self._hundredths = min(self._hundredths + earned, RETRY_BURST * 100)
        if self._hundredths < 100:
            return False
        self._hundredths -= 100
        return True
