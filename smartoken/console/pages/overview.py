"""The first page: what was sold, what went wrong, what wants attention."""

from smartoken.console import charts
from smartoken.console.page import Page
from smartoken.engine import figures
from smartoken.web.admin import channels, usage

DAYS = 30


class Overview(Page):
    """Of the last days."""

    key = "overview"
    permission = "usage.read"

    async def get(self) -> None:
        desk, money = self.desk, self.who.may("money.read")
        chart, _, by_day = await self.ask(charts.by_bands(desk, "model", "cost_p" if money else "calls", str(DAYS),
                                                          self.locale.translate("others")))
        today = usage.today()
        now = charts.total([one for one in by_day if one["day"] == today])
        before = charts.total([one for one in by_day if one["day"] == today - 1])
        month = charts.total(by_day)
        accounts = await self.ask(usage.sums(desk, usage.SumsQuery(by="acct", days=str(DAYS))))
        names = {one["acct"]: await self.gateway.catalog.get("accounts", one["acct"]) for one in accounts["sums"][:6]}
        recent = await self.ask(usage.rows(desk, usage.RowsQuery()))
        live = (await self.ask(channels.list_channels(desk)))["channels"]
        nodes = await self.ask(figures.nodes(self.gateway.store, self.gateway.clock.now_ms()))
        self.render("overview.html", title=self.locale.translate("Overview"), charts=True, today=now, yesterday=before,
                    month=month, chart=chart, accounts=accounts["sums"][:6],
                    names={acct: found["name"] for acct, found in names.items() if found}, recent=recent["rows"][:8],
                    live=live,
                    nodes=nodes, days=DAYS, steps=self._first_steps(live))

    def _first_steps(self, live: list) -> list[tuple[bool, str, str]]:
        """(done, what, where) of an empty gateway; empty when all was done."""
        snapshot = self.gateway.snapshots.current
        sold = any(model.routes for model in snapshot.models.values())
        if live and sold:
            return []
        return [(bool(live), "Add a channel to a provider", "/console/channels/new"),
                (bool(snapshot.models), "Add a model with its prices", "/console/models/new"),
                (False, "Make an account, top it up, and make its first key", "/console/accounts")]


def routes(gateway) -> list[tuple]:
    return [(r"/console/?", Overview, {"gateway": gateway})]
