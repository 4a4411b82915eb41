"""Usage: the chart and the sums, the rows, one request found by its trace id, exports."""

from typing import Any

from smartoken.console import charts
from smartoken.console.form import Form
from smartoken.console.page import Page, link
from smartoken.strict import decode
from smartoken.web.admin import usage

RANGES = ("7", "30", "90", "365")
SPLITS = ("model", "acct", "key", "channel")
FILTERS = ("acct", "key", "model", "channel")
MEASURES = ("cost_p", "tokens", "calls")
LISTED = 50                    # of the sums below the chart


class Usage(Page):
    """Everything below one filter; `split` and `measure` choose the chart."""

    key = "usage"
    permission = "usage.read"

    async def get(self) -> None:
        money = self.who.may("money.read")
        where = {name: self.text(name) for name in FILTERS}
        days = self.text("days") if self.text("days") in RANGES else "30"
        splits = _splits(where)
        split = self.text("split") if self.text("split") in splits else "model"
        measures = MEASURES if money else MEASURES[1:]
        measure = self.text("measure") if self.text("measure") in measures else measures[0]
        chart, by_split, by_day = await self.ask(charts.by_bands(self.desk, split, measure, days,
                                                                 self.locale.translate("others"), **where))
        status = self.text("status")
        rows = await self.ask(usage.rows(self.desk, usage.RowsQuery(
            **where, status=status, before=self.text("before"), since_ms=str(by_split["since_day"] * usage.DAY_MS))))
        query = {**where, "days": days, "split": split, "measure": measure, "status": status}
        template = "usage_rows.html" if self.request.headers.get("HX-Target") == "rows" else "usage.html"
        self.render(template, title=self.locale.translate("Usage"), charts=True, where=where, days=days, split=split,
                    measure=measure, measures=measures, ranges=RANGES, splits=splits, chart=chart,
                    sums=by_split["sums"][:LISTED], more_sums=len(by_split["sums"]) > LISTED,
                    whole=charts.total(by_day), rows=rows["rows"], more=rows["next"],
                    status=status,
                    query=query, compact=False)


class Find(Page):
    """The request finder of the top bar."""

    permission = "usage.read"

    async def get(self) -> None:
        self.go(f"/console/usage/{self.text('rid')}" if self.text("rid").isalnum() else "/console/usage")


class One(Page):
    """One request: attempts, timings, money."""

    key = "usage"
    permission = "usage.read"

    async def post(self, rid: str) -> None:
        self.demand("money.write")
        form = Form(self)
        _, refusal = await self.attempt(self._refund(rid, form))
        if refusal is None:
            self.go(link("usage", rid), "moved")
            return
        self.set_status(refusal.status)
        await self.get(rid, refusal)

    async def _refund(self, rid: str, form: Form) -> None:
        await usage.refund(self.desk, rid, decode(usage.RefundBody, {
            "amount_u": form.usd("amount") or 0, "op": form.text("op"), "note": form.text("note"),
            "password": form.secret("password")}, "the refund"))

    async def get(self, rid: str, wrong: Any = None) -> None:
        row, refusal = await self.attempt(usage.one(self.desk, rid))
        if refusal is not None:
            self.set_status(refusal.status)
            self.render("request_none.html", title=self.locale.translate("No such request"), rid=rid)
            return
        total = max(1, row["total_ms"])
        before = row["total_ms"] - sum(attempt["ms"] for attempt in row["attempts"])
        steps, at = [], max(0, before)
        for attempt in row["attempts"]:
            steps.append((attempt, 100 * at / total, max(0.6, 100 * attempt["ms"] / total)))
            at += attempt["ms"]
        self.render("request.html", title=self.locale.translate("Request"), row=row, steps=steps, refusal=wrong,
                    op=self.op(wrong))


class Export(Page):
    """The rows of the filter as a file."""

    permission = "usage.read"

    async def get(self) -> None:
        fields = {name: self.text(name) for name in (*FILTERS, "status")}
        days = self.text("days") if self.text("days") in RANGES else "30"
        since = (usage.today() + 1 - int(days)) * usage.DAY_MS
        form = "jsonl" if self.text("format") == "jsonl" else "csv"
        file = await self.ask(usage.export(self.desk, usage.ExportQuery(**fields, since_ms=str(since), format=form)))
        await file.send(self)


def _splits(where: dict[str, str]) -> tuple[str, ...]:
    """What sums can be parted by without reading everything: below a model or channel not by account or key."""
    if (where["model"] or where["channel"]) and not (where["acct"] or where["key"]):
        return ("model", "channel")
    return SPLITS


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/usage", Usage, with_gateway), (r"/console/usage/find", Find, with_gateway),
            (r"/console/usage/export", Export, with_gateway), (r"/console/usage/([^/]+)", One, with_gateway)]
