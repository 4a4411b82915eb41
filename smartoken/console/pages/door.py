"""The pages before the sign-in: the first run, signing in and out."""

import re

from smartoken.console.page import HOME, SIGN_IN, Page
from smartoken.errors import refuse

WELCOME = "/console/welcome"
OURS = re.compile(r"/(?!/)[!-\[\]-~]*")       # a path of this site: no second slash, backslash, space or control


class Open(Page):
    """For whoever is not signed in. A change must come from our own pages all the same."""

    async def prepare(self) -> None:
        if self.request.method not in ("GET", "HEAD"):
            self.check_origin()


class Welcome(Open):
    """The first owner, by the one-time token. Over once there is an owner."""

    async def get(self) -> None:
        if not await self.ask(self.gateway.people.first_run()):
            self.go(SIGN_IN)
            return
        self._show()

    async def post(self) -> None:
        people = self.gateway.people
        if self.get_argument("password", strip=False) != self.get_argument("again", strip=False):
            self._show(refuse("invalid_request", "The two passwords differ."))
            return
        name = self.text("name").lower()
        made, refusal = await self.attempt(
            people.first_owner(self.text("token"), name, self.get_argument("password", strip=False), self.ip))
        if refusal is not None:
            self._show(refusal)
            return
        await self.ask(self.gateway.audit.write(name, "people.first", f"people/{name}", None, made, self.ip))
        session = await self.ask(people.open_session(name, self.ip, self.request.headers.get("User-Agent", "")))
        self.give_cookie(session)
        self.go(HOME)

    def _show(self, refusal=None) -> None:
        self.set_status(refusal.status if refusal else 200)
        self.render("welcome.html", title=self.locale.translate("Welcome"), refusal=refusal, token=self.text("token"),
                    name=self.text("name"))


class SignIn(Open):
    """Name, password, perhaps a code."""

    async def get(self) -> None:
        if await self.ask(self.gateway.people.first_run()):
            self.go(WELCOME)
            return
        self._show()

    async def post(self) -> None:
        name = self.text("name").lower()
        people = self.gateway.people
        session, refusal = await self.attempt(people.sign_in(
            name, self.get_argument("password", "", strip=False), self.text("code"), self.ip,
            self.request.headers.get("User-Agent", "")))
        if refusal is not None:
            self._show(refusal)
            return
        who = await self.ask(people.who(session))
        await self.ask(self.gateway.audit.write(name, "people.sign-in", f"people/{name}", ip=self.ip))
        self.give_cookie(session)
        buyer = who.role == "user" and self._next().startswith(HOME)
        self.go(f"{self.gateway.conf.buyers_url}/dashboard" if buyer else self._next())

    def _show(self, refusal=None) -> None:
        self.set_status(refusal.status if refusal else 200)
        if refusal is not None and refusal.retry_after_s is not None:
            self.set_header("Retry-After", str(refusal.retry_after_s))
        self.render("sign_in.html", title=self.locale.translate("Sign in"), refusal=refusal, next_url=self._next(),
                    name=self.text("name"))

    def _next(self) -> str:
        """Where to go afterwards: a page of ours, never another site."""
        wanted = self.text("next")
        return wanted if OURS.fullmatch(wanted) else self.home


class SignOut(Page):
    """End this session."""

    async def post(self) -> None:
        await self.ask(self.gateway.people.revoke(self.who.session))
        self.take_cookie()
        self.go(SIGN_IN, "signed-out")


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(WELCOME, Welcome, with_gateway), (SIGN_IN, SignIn, with_gateway),
            ("/console/sign-out", SignOut, with_gateway)]
