"""Accounts: the list, one account with its balance, keys and books, and what moves its money."""

from typing import Any

from smartoken.console import charts, figures
from smartoken.console.form import Form
from smartoken.console.page import Page, link
from smartoken.domain.money import usd_to_u
from smartoken.strict import decode
from smartoken.web.admin import accounts, keys

DAYS = "30"


class List(Page):
    """All accounts, a page at a time; and the form for a new one."""

    key = "accounts"
    permission = "accounts.read"

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        self.demand("accounts.write")
        form = Form(self)
        made, refusal = await self.attempt(self._create(form))
        if refusal is None:
            self.go(link("accounts", made["id"]), "created")
            return
        self.set_status(refusal.status)
        await self._show(refusal)

    async def _create(self, form: Form) -> dict[str, Any]:
        body = decode(accounts.AccountBody, {"name": form.text("name"), "id": form.text("id")}, "the account")
        return await accounts.create(self.desk, body)

    async def _show(self, refusal: Any = None) -> None:
        found = await self.ask(accounts.list_accounts(self.desk, accounts.AccountQuery(q=self.text("q"),
                                                                                      after=self.text("after"))))
        self.render("accounts.html", title=self.locale.translate("Accounts"), rows=found["accounts"],
                    more=found["next"],
                    q=self.text("q"), refusal=refusal, name=self.text("name"), id=self.text("id"))


class One(Page):
    """One account. Its forms name what they do in `do`; each that moves money brings the op it was shown with."""

    key = "accounts"
    permission = "accounts.read"

    async def get(self, id: str) -> None:
        await self._show(id)

    async def post(self, id: str) -> None:
        form = Form(self)
        does = {"topup": ("money.write", self._topup, "moved"), "adjust": ("money.write", self._adjust, "moved"),
                "change": ("accounts.write", self._change, "saved"),
                "suspend": ("accounts.write", self._suspend, "saved"),
                "resume": ("accounts.write", self._resume, "saved")}
        permission, work, done = does[self.text("do")] if self.text("do") in does else does["change"]
        self.demand(permission)
        _, refusal = await self.attempt(work(id, form))
        if refusal is None:
            self.go(link("accounts", id), done)
            return
        self.set_status(refusal.status)
        await self._show(id, refusal)

    async def _topup(self, id: str, form: Form) -> None:
        await self.prove(form.secret("password"))
        await accounts.topup(self.desk, id, decode(accounts.TopupBody, {
            "amount_u": _amount(form), "op": form.text("cause") or form.text("op"),
            "note": form.text("note")}, "the top-up"))

    async def _adjust(self, id: str, form: Form) -> None:
        await accounts.adjust(self.desk, id, decode(accounts.AdjustBody, {
            "amount_u": _amount(form), "op": form.text("op"), "note": form.text("note"),
            "below_zero": form.flag("below_zero"), "password": form.secret("password")}, "the adjustment"))

    async def _change(self, id: str, form: Form) -> None:
        fields = {"rev": form.number("rev"), "name": form.text("name"), "rpm": form.number("rpm"),
                  "tpm": form.number("tpm")}
        if self.who.may("money.write"):
            await self.prove(form.secret("password"))
            fields["overdraft_u"] = form.usd("overdraft") or 0
        await accounts.change(self.desk, id, decode(accounts.AccountChange, fields, "the account"))

    async def _suspend(self, id: str, form: Form) -> None:
        await accounts.change(self.desk, id, accounts.AccountChange(rev=form.number("rev"), active=False))

    async def _resume(self, id: str, form: Form) -> None:
        await accounts.change(self.desk, id, accounts.AccountChange(rev=form.number("rev"), active=True))

    async def _show(self, id: str, refusal: Any = None) -> None:
        money = self.who.may("money.read")
        account = await self.ask(accounts.get_account(self.desk, id))
        books = await self.ask(accounts.books(self.desk, id,
                                              accounts.BooksQuery(before=self.text("before")))) if money else None
        found = await self.ask(keys.list_keys(self.desk, keys.KeyQuery(acct=id)))
        chart, _, _ = await self.ask(charts.by_bands(self.desk, "model", "cost_p" if money else "calls", DAYS,
                                                        self.locale.translate("others"), acct=id))
        self.render("account.html", title=account["name"] or id, charts=True, account=account, books=books,
                    keys=sorted(found["keys"], key=lambda one: -one["created_ms"]), more_keys=found["next"],
                    chart=chart, refusal=refusal,
                    ops={do: self.op(refusal, do) for do in ("topup", "adjust")},
                    overdraft=figures.exact_u(account.get("overdraft_u")), now_ms=self.gateway.clock.now_ms(),
                    now_at=link("accounts", id))


def _amount(form: Form) -> Any:
    """µUSD of the field `amount`; what does not parse goes on as text, and is refused with the reason."""
    text = form.usd("amount") or ""
    try:
        return usd_to_u(text)
    except ValueError:
        return text


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/accounts", List, with_gateway), (r"/console/accounts/([^/]+)", One, with_gateway)]
