"""Usage by day as the data of one stacked chart, which static/app.js draws: the largest few, and all others as one."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from smartoken.domain.money import P_PER_U, U_PER_USD
from smartoken.web.admin import usage
from smartoken.web.admin.desk import Desk

DAY_S = 86_400
SHOWN = 5                      # the largest; the rest is one
LARGEST = 10                   # accounts whose keys are looked at where no account was named
ADDED = ("calls", "failed", "tokens", "input", "output", "cache_read", "cost_p", "upstream_p", "margin_p", "total_ms")

Band = tuple[str, list[int]]   # a name and its value on each day
Sums = Sequence[dict[str, Any]]


async def stacked(ask_day: Callable[[str], Awaitable[Sums]], by_day: Sums, parts: Sums, field: str, measure: str,
                  since: int, until: int, rest: str, name: Callable[[str], str] = str) -> dict[str, Any]:
    """A chart of the days since <= day < until: the largest of `parts` (sums by `field`), whose sums by day `ask_day`
    gives, and what they leave of `by_day` as `rest`. `name` is what people call a part."""
    # An empty name would be no filter: what has none falls to the others.
    largest = sorted((one for one in parts if one[field]), key=lambda one: -one[measure])[:SHOWN]
    found = await asyncio.gather(*(ask_day(one[field]) for one in largest))
    bands = [(name(one[field]), _line(sums, measure, since, until))
             for one, sums in zip(largest, found, strict=True)]
    return _chart(bands, _line(by_day, measure, since, until), measure, since, until, rest)


async def by_bands(desk: Desk, field: str, measure: str, days: str, rest: str = "others",
                   **where: str) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """(chart, sums by `field` as usage.sums gives them, sums by day) over any number of accounts and keys: a query a
    band, so that a chart over ten thousand keys reads no more than one over ten. `where` as usage.Filter."""
    def ask(by: str, **more: str) -> Any:
        return usage.sums(desk, usage.SumsQuery(by=by, days=days, **{**where, **more}))

    named = where.get("acct") or where.get("key")
    whole, parts = await asyncio.gather(ask("day"), _keys(ask) if field == "key" and not named else ask(field))
    since, until = whole["since_day"], whole["until_day"]

    async def ask_day(name: str) -> Sums:
        return (await ask("day", **{field: name}))["sums"]

    chart = await stacked(ask_day, whole["sums"], parts["sums"], field, measure, since, until, rest)
    return chart, parts, whole["sums"]


def total(by_day: Sums) -> dict[str, int]:
    """Sums by day as one."""
    return {name: sum(one.get(name, 0) for one in by_day) for name in ADDED}


async def _keys(ask: Any) -> dict[str, Any]:
    """Keys of the LARGEST accounts: sums over all of ten thousand keys would read every row of the sums."""
    accounts = await ask("acct")
    keys = await asyncio.gather(*(ask("key", acct=account["acct"]) for account in accounts["sums"][:LARGEST]))
    found = [one for some in keys for one in some["sums"]]
    return {**accounts, "by": ["key"], "sums": sorted(found, key=lambda one: (-one.get("cost_p", 0), -one["calls"]))}


def _line(sums: Sums, measure: str, since: int, until: int) -> list[int]:
    """The sum of each day."""
    line = [0] * (until - since)
    for one in sums:
        if since <= one["day"] < until:
            line[one["day"] - since] += one[measure]
    return line


def _chart(bands: list[Band], totals: list[int], measure: str, since: int, until: int, rest: str) -> dict[str, Any]:
    """{data: JSON for data-chart, names, empty}; what the bands leave of the totals is one band more."""
    left = [total - sum(line[at] for _, line in bands) for at, total in enumerate(totals)]
    bands = [band for band in [*bands, (rest, left)] if any(band[1])]
    money = measure.endswith("_p")
    series = [{"name": name, "values": [value / (P_PER_U * U_PER_USD) for value in line] if money else line}
              for name, line in bands]
    data = {"days": [day * DAY_S for day in range(since, until)], "series": series, "unit": "$" if money else ""}
    return {"data": json.dumps(data), "names": [name for name, _ in bands], "empty": not bands}
