"""Accounts that sign in instead of showing a key: the list with their limits, signing in by a code, import, sign-out."""

from typing import Any

from smartoken.console.form import Form
from smartoken.console.page import Page, link
from smartoken.strict import decode
from smartoken.web.admin import oauth

HOME = "/console/oauth"


class List(Page):
    """All of them; the table renews itself."""

    key = "oauth"
    permission = "catalog.read"

    async def get(self) -> None:
        found = await self.ask(oauth.list_all(self.desk))
        template = "oauth_table.html" if self.request.headers.get("HX-Request") else "oauth.html"
        self.render(template, title=self.locale.translate("Signed-in accounts"), rows=found["accounts"],
                    titles={one["name"]: one["title"] for one in found["issuers"]},
                    now_ms=self.gateway.clock.now_ms())

    async def post(self) -> None:
        self.demand("catalog.write")
        form = Form(self)
        gone = await self.ask(oauth.remove(self.desk, form.text("issuer"), form.text("id")))
        self.go(HOME, "given-up" if gone["revoked"] else "forgotten")


class New(Page):
    """Whose terms apply, and a name; then a code, or the file of another program."""

    key = "oauth"
    permission = "catalog.write"

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        form = Form(self)
        issuer, imports = form.text("issuer"), form.text("do") == "import"
        made, refusal = await self.attempt(self._import(issuer, form) if imports else self._begin(issuer, form))
        if refusal is not None:
            self.set_status(refusal.status)
            await self._show(refusal)
        elif imports:
            self.go(HOME, "signed-in")
        else:
            self.go(link("oauth", issuer, "sign-ins", made["ref"]))

    async def _begin(self, issuer: str, form: Form) -> dict[str, Any]:
        body = decode(oauth.SignInBody, {"id": form.text("id"), "terms": form.flag("terms")}, "the account")
        return await oauth.begin(self.desk, issuer, body)

    async def _import(self, issuer: str, form: Form) -> dict[str, Any]:
        body = decode(oauth.ImportBody, {"id": form.text("id"), "terms": form.flag("terms"),
                                         "file": form.secret("file")}, "the account")
        return await oauth.take(self.desk, issuer, body)

    async def _show(self, refusal: Any = None) -> None:
        issuers = (await self.ask(oauth.list_all(self.desk)))["issuers"]
        chosen = next((one for one in issuers if one["name"] == self.text("issuer")), issuers[0])
        self.render("oauth_new.html", title=self.locale.translate("Sign an account in"), issuers=issuers,
                    chosen=chosen, id=self.text("id"), refusal=refusal)


class Under(Page):
    """One sign-in: its code, and what came of it."""

    key = "oauth"
    permission = "catalog.write"

    async def get(self, issuer: str, ref: str) -> None:
        pending = await self.ask(oauth.look(self.desk, issuer, ref))
        self.render("oauth_under.html", title=self.locale.translate("Sign an account in"), issuer=issuer,
                    ref=ref, pending=pending, state=pending["state"], why=pending["why"])

    async def post(self, issuer: str, ref: str) -> None:
        await self.ask(oauth.cancel(self.desk, issuer, ref))
        self.go(HOME)


class Follow(Page):
    """What came of it so far, as a part of the page, which asks every two seconds; while it waits there is nothing new,
    and nothing for a screen reader to say again."""

    permission = "catalog.write"

    async def post(self, issuer: str, ref: str) -> None:
        pending, refusal = await self.attempt(oauth.follow(self.desk, issuer, ref))
        state = pending["state"] if pending else "cancelled" if refusal.status == 404 else "waiting"
        if state == "waiting" and refusal is None:
            self.set_status(204)
            return
        if state == "signed in":
            self.set_header("HX-Redirect", f"{HOME}?done=signed-in")
        self.render("oauth_state.html", issuer=issuer, ref=ref, state=state, why=pending["why"] if pending else "",
                    refusal=refusal)


def routes(gateway) -> list[tuple]:
    if not gateway.registry.sign_ins:
        return []
    with_gateway = {"gateway": gateway}
    return [(HOME, List, with_gateway), (f"{HOME}/new", New, with_gateway),
            (rf"{HOME}/([^/]+)/sign-ins/([^/]+)", Under, with_gateway),
            (rf"{HOME}/([^/]+)/sign-ins/([^/]+)/follow", Follow, with_gateway)]
