"""How well each channel serves each model, as this process saw it, and what a failure does to it.

In memory only; what another node knows would come too late to matter. The tables come first.
"""

import email.utils
import time
from dataclasses import dataclass

from smartoken.domain.catalog import Channel, Route, Snapshot
from smartoken.plugin.types import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Failure, Provider

S = 1_000_000  # microseconds

# What an HTTP status means when the provider's own table of error codes does not say.
BY_STATUS = {400: CALLER, 401: CREDENTIAL, 402: BROKE, 403: CREDENTIAL, 404: MISSING, 408: RETRY, 409: RETRY,
             413: CALLER, 415: CALLER, 422: CALLER, 425: RETRY, 429: COOL, 529: COOL}

REST_S = {COOL: 5, BROKE: 600, CREDENTIAL: 600}  # without a word from upstream; all but COOL rest the whole channel
LONGEST_REST_S = 600
EJECT_AFTER = 5          # failures in a row
WINDOW_S, WINDOW_MIN = 30, 20  # or less than half good among at least so many
EJECT_S, EJECT_MAX_S = 30, 300
FORGET_S = 600           # of good service, and earlier ejections count no longer
PROBES = 3               # good ones that end an ejection
RAMP_S = 30              # from a tenth of the weight to all of it


def meaning_of(provider: Provider, status: int, failure: Failure) -> str:
    """What a failed attempt means: by the provider's table of codes and types, else by the status.

    A failure inside a 200 without any such sign is the upstream's fault; a 401 or 402 is about us, whatever it is called.
    """
    status = failure.status or status
    for sign in (failure.code, failure.type):
        if sign in provider.errors and not (provider.errors[sign] == CALLER and status in (401, 402)):
            return provider.errors[sign]
    if status in BY_STATUS:
        return BY_STATUS[status]
    return CALLER if 400 <= status < 500 else RETRY


def rest_s(value: bytes | str | None) -> int | None:
    """Seconds of a Retry-After header (seconds, or a date), at most LONGEST_REST_S; None when it says nothing."""
    if not value:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    if seconds != seconds or seconds < 0:
        return None
    return min(int(seconds) + 1, LONGEST_REST_S) if seconds % 1 else min(int(seconds), LONGEST_REST_S)


@dataclass(slots=True, eq=False)
class Health:
    """One (channel, model)."""

    slug: str = ""
    inflight: int = 0
    first_us: int = 0            # moving average of the time to the first byte
    in_a_row: int = 0
    good: int = 0
    bad: int = 0
    window_us: int = 0
    rest_until_us: int = 0       # it asked for patience: only ever extended
    ejected_until_us: int = 0    # 0: in service
    ejections: int = 0
    in_service_us: int = 0
    probing: bool = False
    probes: int = 0

    def weight(self, weight: int, now_us: int) -> int:
        """The configured weight, less while a channel comes back."""
        age = now_us - self.in_service_us
        if not self.ejections or age >= RAMP_S * S:
            return weight
        return max(1, weight * (10 + 90 * age // (RAMP_S * S)) // 100)


class HealthBook:
    """Health of every (channel, model), and the rest of whole channels. Another revision of a channel begins anew; what
    the catalog does not have any more is forgotten (`keep`)."""

    def __init__(self) -> None:
        self._health: dict[tuple[str, str, int], Health] = {}
        self._rest: dict[tuple[str, int, int], int] = {}
        # (channel, model, the channel's revision): why an operator must look at it; model '' is all of the channel.
        self._alarms: dict[tuple[str, str, int], str] = {}

    @property
    def alarms(self) -> dict[str, str]:
        """{channel: why an operator must look at it}."""
        found: dict[str, str] = {}
        for (channel, _, _), why in sorted(self._alarms.items()):
            found[channel] = f"{found[channel]}; {why}" if channel in found else why
        return found

    def keep(self, snapshot: Snapshot) -> None:
        """Forget what `snapshot` does not have: channels, revisions of them, models that they serve no more."""
        channels, models = snapshot.channels, snapshot.models

        def known(name: str, slug: str, rev: int) -> bool:
            if name not in channels or channels[name].rev != rev:
                return False
            return not slug or (slug in models and any(
                route.channel.name == name for routes in models[slug].routes.values() for route in routes))

        self._health = {key: health for key, health in self._health.items() if known(*key)}
        self._alarms = {key: why for key, why in self._alarms.items() if known(*key)}
        self._rest = {key: until for key, until in self._rest.items()
                      if key[0] in channels and key == _now_of(channels[key[0]])}

    def of(self, route: Route, slug: str) -> Health:
        """The Health of a route to a model."""
        key = (route.channel.name, slug, route.channel.rev)
        health = self._health.get(key)
        if health is None:
            health = self._health[key] = Health(slug)
        return health

    def rows(self) -> list[tuple[str, str, int, Health]]:
        """(channel, slug, the channel's revision, Health) of everything that was asked since the start."""
        return [(*key, health) for key, health in self._health.items()]

    def channel_rest_us(self, channel: Channel, now_us: int) -> int:
        """Microseconds that a whole channel still rests."""
        return max(0, self._rest.get(_now_of(channel), 0) - now_us) if self._rest else 0

    def resting_us(self, route: Route, health: Health, now_us: int) -> int:
        """Microseconds that a route still rests because it said so; 0 when it may be asked."""
        return max(0, health.rest_until_us - now_us, self.channel_rest_us(route.channel, now_us))

    def ejected(self, health: Health, now_us: int) -> bool:
        """True while it is out of service; one that may be probed, by one request at a time, is not."""
        if not health.ejected_until_us:
            return False
        return now_us < health.ejected_until_us or health.probing

    def began(self, health: Health) -> None:
        """An attempt was sent."""
        health.inflight += 1
        if health.ejected_until_us:
            health.probing = True

    def ended(self, health: Health) -> None:
        """An attempt is over, however it went."""
        health.inflight -= 1
        health.probing = False

    def succeeded(self, route: Route, health: Health, now_us: int, first_us: int) -> None:
        """It answered well; `first_us` is the time to its first byte."""
        health.in_a_row = 0
        health.first_us = first_us if not health.first_us else (health.first_us * 7 + first_us) // 8
        self._count(health, now_us, good=True)
        if health.ejected_until_us:
            health.probes += 1
            if health.probes >= PROBES:
                health.ejected_until_us = 0
                health.in_service_us = now_us
                health.good = health.bad = 0
        elif health.ejections and now_us - health.in_service_us > FORGET_S * S:
            health.ejections = 0
        if self._alarms:
            for slug in ("", health.slug):
                self._alarms.pop((route.channel.name, slug, route.channel.rev), None)

    def failed(self, route: Route, health: Health, now_us: int, meaning: str, retry_after_s: int | None,
               message: str) -> None:
        """An attempt failed for a reason of MEANINGS."""
        channel = route.channel
        if meaning == RETRY:
            health.in_a_row += 1
            self._count(health, now_us, good=False)
            seen = health.good + health.bad
            if health.ejected_until_us or health.in_a_row >= EJECT_AFTER or (
                    seen >= WINDOW_MIN and health.good * 2 < seen):
                self._eject(health, now_us)
        elif meaning in REST_S:
            until = now_us + (REST_S[meaning] if retry_after_s is None else retry_after_s) * S
            if meaning == COOL:
                health.rest_until_us = max(health.rest_until_us, until)
            else:
                key = _now_of(channel)
                self._rest[key] = max(self._rest.get(key, 0), until)
        if meaning in (BROKE, CREDENTIAL):
            self._alarms[channel.name, "", channel.rev] = f"{meaning}: {message}"[:300]
        elif meaning == MISSING:           # of this model alone: that others are served says nothing about it
            self._alarms[channel.name, health.slug, channel.rev] = f"{meaning}: {health.slug}: {message}"[:300]

    def _eject(self, health: Health, now_us: int) -> None:
        health.ejections += 1
        health.ejected_until_us = now_us + min(EJECT_S * health.ejections, EJECT_MAX_S) * S
        health.in_service_us = health.ejected_until_us
        health.in_a_row = health.probes = 0

    def _count(self, health: Health, now_us: int, good: bool) -> None:
        if now_us - health.window_us > WINDOW_S * S:
            health.window_us, health.good, health.bad = now_us, 0, 0
        if good:
            health.good += 1
        else:
            health.bad += 1


def _now_of(channel: Channel) -> tuple[str, int, int]:
    """The channel as it is: another revision is another chance, and so is another credential behind a reference."""
    return channel.name, channel.rev, hash(channel.credential)
