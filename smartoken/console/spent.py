"""What one account used, for the pages of whoever it belongs to: money included, the operator's channels not."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

from smartoken.console import charts
from smartoken.domain.usage import UsageRecord
from smartoken.ports import Store

DAY_MS = 86_400_000
PAGE = 50
FILE_PAGE = 1000
FIELDS = ("rid", "at_ms", "key", "model", "status", "stream", "first_ms", "total_ms", "input", "output", "cache_read",
          "cache_write", "reasoning", "images", "video_ms", "characters", "audio_ms", "voices", "cost_p")


async def by_bands(store: Store, acct: str, field: str, measure: str, since_day: int, until_day: int, rest: str,
                   name: Callable[[str], str] = str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """(chart as charts.stacked, sums by `field`, sums by day) of one account's rows; `measure` is calls, tokens or
    cost_p. A query a band: sums by day and field together pass any limit, and what is cut off is the newest."""
    async def ask(by: str, **where: str) -> list[dict[str, Any]]:
        found = await store.usage_sums((by,), {"acct": acct, **where}, since_day=since_day, until_day=until_day,
                                       limit=5000)
        return [{name: getattr(one, name) for name in one.__struct_fields__} | {"tokens": one.tokens} for one in found]

    async def ask_day(part: str) -> list[dict[str, Any]]:
        return await ask("day", **{field: part})

    by_day, parts = await asyncio.gather(ask("day"), ask(field))
    return await charts.stacked(ask_day, by_day, parts, field, measure, since_day, until_day, rest, name), parts, by_day


async def rows(store: Store, acct: str, before: str, limit: int = PAGE) -> tuple[list[dict[str, Any]], str]:
    """A page of rows, newest first, and the `before` of the next one."""
    found = await store.usage_page({"acct": acct}, before=before, limit=limit + 1)
    return [row(one) for one in found[:limit]], found[limit - 1].rid if len(found) > limit else ""


def row(record: UsageRecord) -> dict[str, Any]:
    """One row: the fields of FIELDS, with `tokens` and what else was delivered in `amount`."""
    usage = {name: getattr(record.usage, name) for name in record.usage.__struct_fields__}
    mine = {name: usage[name] if name in usage else getattr(record, name) for name in FIELDS}
    return mine | {"tokens": record.usage.total}


async def as_csv(store: Store, acct: str) -> AsyncIterator[str]:
    """All rows of an account, newest first, as CSV in pieces. What a spreadsheet would run gets a quote in front."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(FIELDS)
    before, more = "", True
    while more:
        found = await store.usage_page({"acct": acct}, before=before, limit=FILE_PAGE)
        for record in found:
            mine = row(record)
            writer.writerow([_cell(mine[name]) for name in FIELDS])
        more = len(found) == FILE_PAGE
        before = found[-1].rid if found else ""
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
