"""Keys: the list, a new one (shown once), one with its limits and its revocation."""

from datetime import UTC, datetime
from typing import Any

from smartoken.console.form import Form, day_end
from smartoken.console.page import Page, link
from smartoken.strict import decode
from smartoken.web.admin import keys

NEW = {"name": "", "models": [], "exp_ms": 0, "rpm": 0, "tpm": 0, "show_cost": False}


class List(Page):
    """All keys, a page at a time."""

    key = "keys"
    permission = "accounts.read"

    async def get(self) -> None:
        query = keys.KeyQuery(acct=self.text("acct"), q=self.text("q"), after=self.text("after"))
        found = await self.ask(keys.list_keys(self.desk, query))
        self.render("keys.html", title=self.locale.translate("Keys"), keys=found["keys"], more=found["next"],
                    acct=query.acct, q=query.q, show_account=True, now_ms=self.gateway.clock.now_ms())


class New(Page):
    """Make a key. Its text is in the answer to the form, and nowhere else ever."""

    key = "keys"
    permission = "keys.write"

    async def get(self) -> None:
        self._show()

    async def post(self) -> None:
        form = Form(self)
        made, refusal = await self.attempt(self._create(form))
        if refusal is None:
            self.render("key_made.html", title=self.locale.translate("New key"), made=made,
                        base_url=self.gateway.conf.base_url)
            return
        self.set_status(refusal.status)
        self._show(refusal)

    async def _create(self, form: Form) -> dict[str, Any]:
        return await keys.create(self.desk,
                                 decode(keys.KeyBody, {"acct": form.text("acct"), **_fields(form)}, "the key"))

    def _show(self, refusal: Any = None) -> None:
        self.render("key_new.html", title=self.locale.translate("New key"), acct=self.text("acct"), one=NEW,
                    refusal=refusal, exp="", slugs=sorted(self.gateway.snapshots.current.models))


class One(Page):
    """One key."""

    key = "keys"
    permission = "accounts.read"

    async def get(self, kid: str) -> None:
        await self._show(kid)

    async def post(self, kid: str) -> None:
        self.demand("keys.write")
        form = Form(self)
        revoke = self.text("do") == "revoke"
        _, refusal = await self.attempt(keys.revoke(self.desk, kid) if revoke else self._change(kid, form))
        if refusal is None:
            self.go(link("keys", kid), "revoked" if revoke else "saved")
            return
        self.set_status(refusal.status)
        await self._show(kid, refusal)

    async def _change(self, kid: str, form: Form) -> None:
        await keys.change(self.desk, kid, decode(keys.KeyChange, _fields(form), "the key"))

    async def _show(self, kid: str, refusal: Any = None) -> None:
        one = await self.ask(keys.get_key(self.desk, kid))
        self.render("key.html", title=one["name"] or kid, one=one, refusal=refusal, exp=_date(one["exp_ms"]),
                    slugs=sorted(self.gateway.snapshots.current.models), now_ms=self.gateway.clock.now_ms())


def _fields(form: Form) -> dict[str, Any]:
    return {"name": form.text("name"), "models": form.words("models"), "exp_ms": day_end(form.text("exp")),
            "rpm": form.number("rpm"), "tpm": form.number("tpm"), "show_cost": form.flag("show_cost")}


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d") if ms else ""


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/keys", List, with_gateway), (r"/console/keys/new", New, with_gateway),
            (r"/console/keys/([^/]+)", One, with_gateway)]
