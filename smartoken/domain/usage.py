"""What a request used, in disjoint counts, and the immutable row that a finished request leaves behind."""

from collections.abc import Iterable, Mapping, Sequence
from operator import add, attrgetter
from types import MappingProxyType

import msgspec

NOTHING: Mapping[str, str] = MappingProxyType({})

REPORTED, COUNTED, ESTIMATED, NONE = "reported", "counted", "estimated", "none"
"""Where a Usage comes from: the upstream said so; we counted what was delivered; guessed from sizes; nothing used."""


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Counts that never overlap, so that cost is a plain sum of products.

    `input` is the part of the prompt billed in full: a wire whose prompt count includes cached tokens subtracts them.
    `voices` are those that were cloned. `reasoning` is a part of `output`, for information only. `video_ms` and `audio_ms` are the length billed, in
    milliseconds.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    images: int = 0
    video_ms: int = 0
    characters: int = 0
    audio_ms: int = 0
    voices: int = 0
    source: str = REPORTED

    @property
    def total(self) -> int:
        """Tokens in all."""
        return self.input + self.output + self.cache_read + self.cache_write


class Attempt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One try at a channel: `result` is 'ok' or why it failed; `cost_p` is what it cost the operator, if known."""

    channel: str
    result: str
    status: int = 0
    ms: int = 0
    cost_p: int = 0


USAGE_FIELDS = ("rid", "acct", "key", "model", "channel", "status")
"""What rows can be looked for by."""

SUM_FIELDS = ("day", "acct", "key", "model", "channel")
"""What sums can be taken by; a day is a number of days since 1970, in UTC."""

BAD = ("broken", "failed", "killed")
"""Statuses that count as failed in sums: what went wrong on our side or upstream."""


class UsageSum(msgspec.Struct, gc=False, omit_defaults=True):
    """Many rows as one: `calls` of them, `failed` of these with a status of BAD. A field that the sum was not taken
    by is empty. `upstream_p` is what the attempts cost the operator; `total_ms` the time of all calls together."""

    day: int = 0
    acct: str = ""
    key: str = ""
    model: str = ""
    channel: str = ""
    calls: int = 0
    failed: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    images: int = 0
    video_ms: int = 0
    characters: int = 0
    cost_p: int = 0
    upstream_p: int = 0
    total_ms: int = 0

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.input + self.output + self.cache_read + self.cache_write


class UsageRecord(msgspec.Struct, gc=False, omit_defaults=True):
    """The row of one finished request; keyed by `rid`, so that writing it twice is writing it once.

    `tools` are the calls of server-side tools charged in it. `split` says which pockets paid, in pUSD, and sums to `cost_p`. `at_ms` is the wall clock at the start.
    `status` is the outcome: 'ok', 'cut' (client left), 'broken' (upstream died), 'void' (nothing billable),
    'refused' (an upstream's 4xx), 'failed' (every channel failed), 'killed' (our process died; written by replay).
    """

    rid: str
    acct: str
    key: str
    model: str
    at_ms: int
    wire: str = ""
    channel: str = ""
    status: str = "ok"
    http_status: int = 200
    usage: Usage = Usage()
    price_rev: str = ""
    cost_p: int = 0
    lease: str = ""
    split: dict[str, int] = {}
    stream: bool = False
    first_ms: int = 0
    total_ms: int = 0
    attempts: list[Attempt] = []
    note: str = ""
    tools: dict[str, int] = {}


DAY_MS = 86_400_000
_ADDED = ("calls", "failed", "input", "output", "cache_read", "cache_write", "images", "video_ms", "characters", "cost_p",
          "upstream_p", "total_ms")
_added_of = attrgetter(*_ADDED)


def sum_of(record: UsageRecord) -> UsageSum:
    """One record as a sum by all of SUM_FIELDS."""
    usage = record.usage
    return UsageSum(
        day=record.at_ms // DAY_MS, acct=record.acct, key=record.key, model=record.model, channel=record.channel,
        calls=1, failed=int(record.status in BAD), input=usage.input, output=usage.output, cache_read=usage.cache_read,
        cache_write=usage.cache_write, images=usage.images, video_ms=usage.video_ms, characters=usage.characters,
        cost_p=record.cost_p, upstream_p=sum(attempt.cost_p for attempt in record.attempts), total_ms=record.total_ms)


def regroup(sums: Iterable[UsageSum], by: Sequence[str], where: Mapping[str, str] = NOTHING, since_day: int = 0,
            until_day: int = 2**31) -> list[UsageSum]:
    """Sums by all of SUM_FIELDS summed by fewer: what ports.Store.usage_sums promises, in the order it promises."""
    # A page puts tens of thousands together: no attribute is read or set one by one.
    key_of = attrgetter(*by, "calls")              # with two names at least it gives a tuple
    found: dict[tuple, tuple[int, ...]] = {}
    for one in sums:
        if since_day <= one.day < until_day and all(getattr(one, name) == value for name, value in where.items()):
            key, values = key_of(one)[:-1] if by else (), _added_of(one)
            known = found.get(key)
            found[key] = values if known is None else tuple(map(add, known, values))
    totals = [UsageSum(**dict(zip(by, key, strict=True)), **dict(zip(_ADDED, values, strict=True)))
              for key, values in found.items()]
    if by and by[0] == "day":
        return sorted(totals, key=attrgetter(*by))
    return sorted(totals, key=lambda one: (-one.cost_p, -one.calls))
