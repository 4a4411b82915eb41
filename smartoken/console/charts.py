"""Sums by day as the data of one stacked chart (static/app.js draws it) and of the table that says the same in text."""

import json
from collections.abc import Sequence
from typing import Any

from smartoken.domain.money import P_PER_U, U_PER_USD

DAY_S = 86_400
SHOWN = 5                      # the largest; the rest is one


def stacked(sums: Sequence[dict[str, Any]], field: str, measure: str, since_day: int, until_day: int,
            rest: str = "others") -> dict[str, Any]:
    """`sums` by (day, field) -> {data: JSON for data-chart, names, empty}. `measure` is calls, tokens or cost_p."""
    totals: dict[str, int] = {}
    for one in sums:
        totals[one[field]] = totals.get(one[field], 0) + one[measure]
    names = sorted(totals, key=lambda name: -totals[name])
    top, others = names[:SHOWN], names[SHOWN:]
    days = list(range(since_day, until_day))
    rows = {name: [0] * len(days) for name in [*top, *([rest] if others else [])]}
    for one in sums:
        at = one["day"] - since_day
        if 0 <= at < len(days):
            rows[one[field] if one[field] in top else rest][at] += one[measure]
    money = measure.endswith("_p")
    scale = P_PER_U * U_PER_USD if money else 1
    series = [{"name": name or "–", "values": [value / scale if money else value for value in values]}
              for name, values in rows.items()]
    return {"data": json.dumps({"days": [day * DAY_S for day in days], "series": series, "unit": "$" if money else ""}),
            "names": [name or "–" for name in rows], "empty": not any(totals.values())}
