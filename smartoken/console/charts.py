"""Usage by day as the data of one stacked chart, which static/app.js draws: the largest few, and all others as one."""

import json
from typing import Any

from smartoken.domain.money import P_PER_U, U_PER_USD
from smartoken.web.admin import usage
from smartoken.web.admin.desk import Desk

DAY_S = 86_400
SHOWN = 5                      # the largest; the rest is one
LARGEST = 10                   # accounts whose keys are looked at where no account was named


async def stacked(desk: Desk, field: str, measure: str, days: str, rest: str = "others",
                  **where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(chart, sums by `field`): {data: JSON for data-chart, names, empty}, and what usage.sums gives.

    `measure` is calls, tokens or cost_p; `where` as usage.Filter. A query a band, so that a chart over ten thousand
    keys reads no more than one over ten.
    """
    ask = lambda by, **more: usage.sums(desk, usage.SumsQuery(by=by, days=days, **{**where, **more}))
    whole = await ask("day")
    if field == "key" and not (where.get("acct") or where.get("key")):
        parts = await _keys(ask)
    else:
        parts = await ask(field)
    since, until = whole["since_day"], whole["until_day"]
    largest = sorted(parts["sums"], key=lambda one: -one[measure])[:SHOWN]
    bands = []
    for one in largest:
        # A filter of the same field leaves one band; an empty name is no filter, and falls to the others.
        if one[field]:
            found = await ask("day", **{field: one[field]})
            bands.append((one[field], _line(found["sums"], measure, since, until)))
    totals = _line(whole["sums"], measure, since, until)
    left = [total - sum(line[at] for _, line in bands) for at, total in enumerate(totals)]
    if any(left):
        bands.append((rest, left))
    scale = P_PER_U * U_PER_USD if measure.endswith("_p") else 1
    series = [{"name": name, "values": [value / scale if scale > 1 else value for value in line]}
              for name, line in bands]
    chart = {"data": json.dumps({"days": [day * DAY_S for day in range(since, until)], "series": series,
                                 "unit": "$" if scale > 1 else ""}),
             "names": [name for name, _ in bands], "empty": not bands}
    return chart, parts


async def _keys(ask: Any) -> dict[str, Any]:
    """Keys of the LARGEST accounts: sums over all of ten thousand keys would read every row of the sums."""
    accounts = await ask("acct")
    found = [one for account in accounts["sums"][:LARGEST] for one in (await ask("key", acct=account["acct"]))["sums"]]
    return {**accounts, "by": ["key"], "sums": sorted(found, key=lambda one: (-one.get("cost_p", 0), -one["calls"]))}


def _line(sums: list[dict[str, Any]], measure: str, since: int, until: int) -> list[int]:
    """A value for each day."""
    by_day = {one["day"]: one[measure] for one in sums}
    return [by_day.get(day, 0) for day in range(since, until)]
