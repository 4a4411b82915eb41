"""One's own first page: the balance, what was spent, how to begin. And for an operator: which account pays."""

from typing import Any

from smartoken.console import spent
from smartoken.console.playkey import PLAY
from smartoken.console.site import Mine
from smartoken.engine.issue import account as stored_account
from smartoken.errors import refuse

DAYS = 30
RANGES = ("7", "30", "90", "365")
LISTED = 50                    # of the sums below the chart
MEASURES = {"cost_p": "Money", "tokens": "Tokens", "calls": "Calls"}

# Whose account is chosen is one's own from then on: its balance is shown, keys are made for it.
CHOOSES = ("accounts.write", "keys.write", "money.read")


class Dashboard(Mine):
    """Money first."""

    key = "home"

    async def get(self) -> None:
        if not self.acct:
            self.go("/account")
            return
        gateway, translate = self.gateway, self.locale.translate
        today = gateway.clock.now_ms() // spent.DAY_MS
        balance = await self.ask(gateway.ledger.balance(self.acct))
        chart, _, by_day = await self.ask(spent.by_bands(gateway.store, self.acct, "model", "cost_p", today - DAYS + 1,
                                                         today + 1, translate("others")))
        rows, _ = await self.ask(spent.rows(gateway.store, self.acct, "", limit=8))
        keys = [one for one in await self.ask(gateway.catalog.all("keys", {"acct": self.acct}))
                if not one["kid"].startswith(PLAY)]
        self.render("dashboard.html", title=translate("Dashboard"), balance=balance, rows=named(rows, keys), days=DAYS,
                    keys=sum(one["active"] for one in keys), spent_p=sum(one["cost_p"] for one in by_day),
                    calls=sum(one["calls"] for one in by_day), tokens=sum(one["tokens"] for one in by_day),
                    today_p=sum(one["cost_p"] for one in by_day if one["day"] == today), charts=True, more="",
                    chart=chart)


class Usage(Mine):
    """Charts and rows."""

    key = "usage"

    async def get(self) -> None:
        if not self.acct:
            self.go("/account")
            return
        store, translate = self.gateway.store, self.locale.translate
        days = self.text("days") if self.text("days") in RANGES else "30"
        measure = self.text("measure") if self.text("measure") in MEASURES else "cost_p"
        split = "key" if self.text("split") == "key" else "model"
        until = self.gateway.clock.now_ms() // spent.DAY_MS + 1
        since = until - int(days)
        rows, more = await self.ask(spent.rows(store, self.acct, self.text("before")))
        keys = await self.ask(self.gateway.catalog.all("keys", {"acct": self.acct}))
        chart, whole, _ = await self.ask(spent.by_bands(
            store, self.acct, split, measure, since, until, translate("others"),
            (lambda kid: named([{"key": kid}], keys)[0]["key"]) if split == "key" else str))
        named([*rows, *(whole if split == "key" else ())], keys)
        part = self.request.headers.get("HX-Target") == "rows"
        self.render("my_rows.html" if part else "my_usage.html", title=translate("Usage"), charts=True, days=days,
                    ranges=RANGES, measure=measure, measures=MEASURES, split=split, whole=whole[:LISTED],
                    more_sums=len(whole) > LISTED, rows=rows, more=more, chart=chart,
                    query={"days": days, "measure": measure, "split": split})


class Export(Mine):
    """All of one's rows as a file."""

    async def get(self) -> None:
        if not self.acct:
            raise refuse("not_found", "You have no account yet.", code="no_account")
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="usage.csv"')
        async for piece in spent.as_csv(self.gateway.store, self.acct):
            self.write(piece)
            await self.flush()
        await self.finish()


class Account(Mine):
    """Which account pays for what somebody does here. Who signed up has one; an operator takes one."""

    key = "home"

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        if self.who.role == "user" and self.acct:
            raise refuse("permission", "Your account is set by the operator.", code="role")
        wanted = self.text("acct")
        if wanted:
            for permission in CHOOSES:
                self.demand(permission)
            _, refusal = await self.attempt(stored_account(self.gateway.catalog, wanted))
        elif self.acct:
            raise refuse("permission", "You have an account already.", code="role")
        else:
            made, refusal = await self.attempt(self.open_account(self.who.name))
            wanted = made["_id"] if made else ""
        if refusal is not None:
            await self._show(refusal)
            return
        before, after = await self.ask(self.gateway.people.change(self.who.name, acct=wanted))
        name = self.who.name
        await self.ask(self.gateway.audit.write(name, "people.account", f"people/{name}", before, after, self.ip))
        self.go("/dashboard", "saved")

    async def _show(self, refusal=None) -> None:
        self.set_status(refusal.status if refusal else 200)
        self.render("my_account.html", title=self.locale.translate("Your account"), refusal=refusal,
                    choose=all(map(self.who.may, CHOOSES)))


def named(rows: list[dict[str, Any]], keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with their keys' names (the id, where a key has none) in `key`."""
    names = {one["kid"]: one["name"] for one in keys}
    for row in rows:
        row["key"] = "Playground" if row["key"].startswith(PLAY) else names.get(row["key"]) or row["key"]
    return rows


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(r"/dashboard", Dashboard, given), (r"/usage", Usage, given), (r"/usage/export", Export, given),
            (r"/account", Account, given)]
