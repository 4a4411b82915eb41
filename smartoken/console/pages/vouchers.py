"""Vouchers: the list, a new batch (its codes shown once, to copy or keep as CSV), stopping one."""

from typing import Any

from smartoken.console.form import Form, day_end
from smartoken.console.page import Page
from smartoken.strict import decode
from smartoken.web.admin import vouchers


class List(Page):
    """A page of vouchers, and the form for a batch."""

    key = "vouchers"
    permission = "money.read"

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        self.demand("money.write")
        form = Form(self)
        if form.text("do") == "stop":
            await self.ask(vouchers.stop(self.desk, form.text("id")))
            self.go("/console/vouchers", "saved")
            return
        made, refusal = await self.attempt(self._create(form))
        if refusal is None:
            self.render("vouchers_made.html", title=self.locale.translate("New vouchers"), made=made,
                        amount=form.usd("face"))
            return
        self.set_status(refusal.status)
        await self._show(refusal)

    async def _create(self, form: Form) -> dict[str, Any]:
        await self.prove(form.secret("password"))
        return await vouchers.create(self.desk, decode(vouchers.VoucherBody, {
            "op": form.text("cause") or form.text("op"), "face_u": form.usd("face") or "", "count": form.number("count", 1), "models": form.words("models"),
            "uses": form.number("uses", 1), "days": form.number("days"), "until_ms": day_end(form.text("until")),
            "note": form.text("note")}, "the vouchers"))

    async def _show(self, refusal: Any = None) -> None:
        query = vouchers.VoucherQuery(batch=self.text("batch"), after=self.text("after"))
        found = await self.ask(vouchers.list_vouchers(self.desk, query))
        self.render("vouchers.html", title=self.locale.translate("Vouchers"), rows=found["vouchers"],
                    more=found["next"],
                    batch=self.text("batch"), refusal=refusal, op=self.op(refusal), now_ms=self.gateway.clock.now_ms(),
                    slugs=sorted(self.gateway.snapshots.current.models))


def routes(gateway) -> list[tuple]:
    return [(r"/console/vouchers", List, {"gateway": gateway})]
