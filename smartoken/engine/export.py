"""Usage summed for other people's tables: one line per account, key, model and day (UTC). Amounts are exact."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from smartoken.domain.usage import Usage, UsageRecord
from smartoken.ports import Store

PAGE = 1000
BY = ("day", "account", "key", "model")
# All that a Usage counts, so that no line has a cost without a quantity; reasoning is in the output already.
MEASURES = tuple(name for name in Usage.__struct_fields__ if name not in ("reasoning", "source"))
COUNTS = ("requests", *MEASURES, "cost_p")


@dataclass(slots=True)
class Line:
    """`of` are the values of what was grouped by; `counts` are those of Usage, the number of `requests`, and `cost_p` in
    pUSD."""

    of: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def add(self, row: UsageRecord) -> None:
        counts, usage = self.counts, row.usage
        counts["requests"] += 1
        counts["cost_p"] += row.cost_p
        for name in MEASURES:
            counts[name] += getattr(usage, name)


async def rows(store: Store, acct: str, since_ms: int, until_ms: int) -> AsyncIterator[UsageRecord]:
    """Records of an account ('' is every one) that began in [since, until), by ascending rid. StoreAway."""
    after = ""
    while page := await store.usage(acct, since_ms=since_ms, until_ms=until_ms, after=after, limit=PAGE):
        after = page[-1].rid
        for row in page:
            yield row


async def summed(store: Store, by: Sequence[str] = BY, *, acct: str = "", since_ms: int = 0,
                 until_ms: int = 2**62) -> list[Line]:
    """The lines, sorted. `by` is any of BY."""
    lines: dict[tuple[str, ...], Line] = {}
    async for row in rows(store, acct, since_ms, until_ms):
        value = {"account": row.acct, "key": row.key, "model": row.model, "day": day_of(row.at_ms)}
        of = tuple(value[name] for name in by)
        lines.setdefault(of, Line(of)).add(row)
    return [lines[of] for of in sorted(lines)]


def day_of(at_ms: int) -> str:
    """A moment's day in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
