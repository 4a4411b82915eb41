"""Usage in lines: every quantity that somebody paid for stands beside what they paid."""

import asyncio
import csv
import io

from smartoken.console import spent
from smartoken.domain.usage import Usage, UsageRecord
from smartoken.engine.export import summed
from smartoken.testing.lossy import sqlite_in


def test_every_measure_is_summed(tmp_path):
    async def main():
        measures = {name: number for number, name in enumerate(Usage.__struct_fields__, 1) if name != "source"}
        async with sqlite_in(tmp_path) as store:
            await store.put_usage([UsageRecord(rid=rid, acct="a", key="k", model="m", at_ms=1, cost_p=7,
                                               usage=Usage(**measures)) for rid in ("r1", "r2")])
            [line] = await summed(store, ("account",))
            own = csv.DictReader(io.StringIO("".join([part async for part in spent.as_csv(store, "a")])))
        del measures["reasoning"]
        assert line.counts == {"requests": 2, "cost_p": 14} | {name: 2 * count for name, count in measures.items()}
        assert [{name: row[name] for name in measures} for row in own] == [
            {name: str(count) for name, count in measures.items()}] * 2

    asyncio.run(main())
