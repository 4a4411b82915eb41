"""Charts by day: every day has its own bar under its own name, wherever the browser is, however many models there are."""

import asyncio
import json
import time

import pytest

from smartoken.adapters.sqlite import open_sqlite
from smartoken.console import spent
from smartoken.domain.usage import Usage, UsageRecord
from smartoken.ports import Store
from tests.console.browser import Watched, browser
from tests.console.kit import Person
from tests.harness import Gateway

DAY_MS = 86_400_000
MODELS, DAYS = 16, 365

# What a canvas was told to write, with its place: [[text, x of its middle]].
LISTEN = """
window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  window.written.push([text, this.getTransform().transformPoint(new DOMPoint(x, y)).x / devicePixelRatio]);
  return write.apply(this, arguments);
};
"""


def row(day: int, model: str, cost_p: int = 10**9) -> UsageRecord:
    at_ms = day * DAY_MS + 7 * 3_600_000
    return UsageRecord(rid=f"{at_ms:011x}{model:0>20}", acct="acc-1", key=f"key-{model}", model=model, at_ms=at_ms,
                       usage=Usage(input=9, output=3), cost_p=cost_p, split={"main": cost_p})


async def filled(url: str, rows: list[UsageRecord]) -> Store:
    store = open_sqlite(url)
    await store.open()
    for start in range(0, len(rows), 1000):
        await store.put_usage(rows[start:start + 1000])
    return store


@pytest.mark.parametrize("field", ["model", "key"])
def test_a_buyers_chart_has_its_newest_days(tmp_path, field):
    until = int(time.time() * 1000) // DAY_MS + 1
    rows = [row(day, f"m{n}", 10**9 * (n + 1)) for day in range(until - DAYS, until) for n in range(MODELS)]

    async def look():
        store = await filled(f"sqlite:///{tmp_path}/many.db", rows)
        together = await store.usage_sums(("day", field), {"acct": "acc-1"}, limit=5000)
        assert together[-1].day < until - 1, "one query does not reach today"
        found = await spent.by_bands(store, "acc-1", field, "cost_p", until - DAYS, until, "others",
                                     lambda name: f"the {name}")
        await store.close()
        return found

    chart, parts, by_day = asyncio.run(look())
    data = json.loads(chart["data"])
    first = "key-m15" if field == "key" else "m15"
    assert chart["names"][0] == f"the {first}" and chart["names"][-1] == "others" and len(chart["names"]) == 6
    assert [round(sum(one["values"][day] for one in data["series"]), 6) for day in range(DAYS)] == [0.136] * DAYS
    assert len(parts) == MODELS and len(by_day) == DAYS


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles", "UTC"])
def test_a_label_stands_below_the_bar_of_its_day(charted, zone):
    gateway, cookies = charted
    with browser() as chromium:
        context = chromium.new_context(locale="en-US", timezone_id=zone)
        context.add_cookies(cookies)
        context.add_init_script(LISTEN)
        watched = Watched(context.new_page())
        page = watched.page
        page.goto(f"{gateway.url}/console/usage")
        page.locator(".chart canvas").wait_for()
        plot = page.evaluate("(() => { const b = document.querySelector('.u-over'); return [b.offsetLeft, b.offsetWidth]; })()")
        days = json.loads(page.locator(".chart").get_attribute("data-chart"))["days"]
        named = {time.strftime("%b %-d", time.gmtime(day)): at for at, day in enumerate(days)}
        labels = [(text, x) for text, x in page.evaluate("window.written") if text in named]
        wide = plot[1] / len(days)
        assert len(labels) >= 3
        off = {text: (x - plot[0]) / wide - (named[text] + 0.5) for text, x in labels}
        assert {text: days for text, days in off.items() if abs(days) > 0.1} == {}, "days beside its bar"
        assert watched.wrong == []


@pytest.fixture(scope="module")
def charted(tmp_path_factory):
    """A gateway whose store has thirty days of usage, and the cookies of its owner."""
    gateway = Gateway(tmp_path_factory.mktemp("charted"))
    gateway.start()
    owner = Person(gateway).first_owner()
    today = int(time.time() * 1000) // DAY_MS

    async def fill() -> None:
        rows = [row(today - back, "m") for back in range(30)]
        await (await filled(f"sqlite:///{gateway.folder}/var/smartoken.db", rows)).close()

    asyncio.run(fill())
    cookies = [{"name": one.name, "value": one.value, "url": gateway.url} for one in owner.http.cookies.jar]
    yield gateway, cookies
    owner.close()
    gateway.close()
