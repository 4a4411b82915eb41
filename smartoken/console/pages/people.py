"""People who may sign in, and one's own account: password, second factor, sessions."""

from typing import Any

from smartoken.console.form import Form
from smartoken.console.page import SIGN_IN, Page, link
from smartoken.domain.people import PERMISSIONS, ROLES
from smartoken.strict import decode
from smartoken.web.admin import people


class People(Page):
    """A page of everybody, found by name or role, and the form for somebody new."""

    key = "people"
    permission = "people.write"

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        form = Form(self)
        _, refusal = await self.attempt(self._do(form))
        if refusal is None:
            self.go(link("people", **self._where()), "password" if form.text("do") == "password" else "saved")
            return
        self.set_status(refusal.status)
        await self._show(refusal)

    def _where(self) -> dict[str, str]:
        """What the address looks for; the forms below have fields of their own."""
        return {name: self.get_query_argument(name, "").strip() for name in ("q", "only", "after")}

    async def _do(self, form: Form) -> None:
        do, name = form.text("do"), form.text("name").lower()
        if do == "add":
            await people.add(self.desk, decode(people.PersonBody, {
                "name": name, "role": form.text("role"), "password": form.secret("password"),
                "acct": form.text("acct")},
                "the person"))
        elif do == "end":
            await people.end_sessions(self.desk, name)
        else:
            changes: dict[str, Any] = {"role": {"role": form.text("role")}, "off": {"active": False},
                                       "on": {"active": True},
                                       "no-factor": {"second_factor": False},
                                       "password": {"password": form.secret("password")}}.get(do, {})
            await people.change(self.desk, name, decode(people.PersonChange, changes, "the person"))

    async def _show(self, refusal: Any = None) -> None:
        where = self._where()
        only = where["only"] if where["only"] in ROLES else ""
        found = await self.ask(people.list_people(self.desk, people.PeopleQuery(
            q=where["q"], role=only, after=where["after"])))
        more = link("people", **{**where, "after": found["next"]}) if found["next"] else ""
        self.render("people.html", title=self.locale.translate("People"), rows=found["people"], more=more, q=where["q"],
                    only=only, roles=ROLES, refusal=refusal, permissions=PERMISSIONS)


class Me(Page):
    """One's own password, second factor and sessions."""

    permission = "self"

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        form = Form(self)
        does = {"password": (self._password, "password"), "factor": (self._factor, "second-factor"),
                "end": (self._end, "ended")}
        work, done = does.get(form.text("do"), does["end"])
        _, refusal = await self.attempt(work(form))
        if refusal is not None:
            self.set_status(refusal.status)
            await self._show(refusal)
        elif form.text("do") == "password":
            self.take_cookie()
            self.go(SIGN_IN, done)
        else:
            self.go("/console/me", done)

    async def _password(self, form: Form) -> None:
        await people.own_password(self.desk, people.OwnPassword(old=form.secret("old"), new=form.secret("new")))

    async def _factor(self, form: Form) -> None:
        await people.own_factor(self.desk, people.OwnFactor(secret=form.text("secret"), code=form.text("code"),
                                                            password=form.secret("password")))

    async def _end(self, form: Form) -> None:
        await people.end_own_session(self.desk, form.text("session"))

    async def _show(self, refusal: Any = None) -> None:
        factor = await self.ask(people.offer_factor(self.desk))
        if refusal is not None and refusal.code == "totp":
            factor["secret"] = self.text("secret")
        sessions = (await self.ask(people.own_sessions(self.desk)))["sessions"]
        self.render("me.html", title=self.locale.translate("My account"), factor=factor, sessions=sessions,
                    refusal=refusal)


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/people", People, with_gateway), (r"/console/me", Me, with_gateway)]
