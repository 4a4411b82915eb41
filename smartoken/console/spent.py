"""What one account used, for the pages of whoever it belongs to: money included, the operator's channels not."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

from smartoken.console.charts import DAY_S, SHOWN
from smartoken.domain.money import P_PER_U, U_PER_USD
from smartoken.domain.usage import UsageRecord
from smartoken.ports import Store

DAY_MS = 86_400_000
PAGE = 50
FILE_PAGE = 1000
FIELDS = ("rid", "at_ms", "key", "model", "status", "stream", "first_ms", "total_ms", "input", "output", "cache_read",
          "cache_write", "reasoning", "images", "video_ms", "characters", "voices", "cost_p")


async def sums(store: Store, acct: str, by: tuple[str, ...], since_day: int, until_day: int) -> list[dict[str, Any]]:
    """Sums of an account's rows, as dicts with `tokens` besides."""
    found = await store.usage_sums(by, {"acct": acct}, since_day=since_day, until_day=until_day, limit=5000)
    return [{name: getattr(one, name) for name in one.__struct_fields__} | {"tokens": one.tokens} for one in found]


def stacked(found: list[dict[str, Any]], field: str, measure: str, since_day: int, until_day: int,
            rest: str) -> dict[str, Any]:
    """Sums by (day, field) of one account as a chart: {data: JSON for data-chart, names, empty}; the largest SHOWN bands
    and the rest as one. `measure` is calls, tokens or cost_p."""
    totals: dict[str, int] = {}
    for one in found:
        totals[one[field]] = totals.get(one[field], 0) + one[measure]
    names = sorted(totals, key=lambda name: -totals[name])
    top, others = names[:SHOWN], names[SHOWN:]
    bands = {name: [0] * (until_day - since_day) for name in [*top, *([rest] if others else [])]}
    for one in found:
        if since_day <= one["day"] < until_day:
            bands[one[field] if one[field] in top else rest][one["day"] - since_day] += one[measure]
    money = measure.endswith("_p")
    scale = P_PER_U * U_PER_USD
    series = [{"name": name or "–", "values": [value / scale for value in line] if money else line}
              for name, line in bands.items()]
    days = [day * DAY_S for day in range(since_day, until_day)]
    return {"data": json.dumps({"days": days, "series": series, "unit": "$" if money else ""}),
            "names": [one["name"] for one in series], "empty": not any(totals.values())}


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
