"""The door for buyers: signing in, signing up where the operator opened it, signing out."""

import secrets
from typing import Any

from smartoken.console import playkey
from smartoken.console.pages.door import SignIn
from smartoken.console.site import SIGN_IN, SIGN_UP, Mine, Site
from smartoken.domain.money import usd_to_u
from smartoken.errors import Refusal, refuse
from smartoken.ports import Want

PER_IP = 5                     # sign-ups a minute


class SiteSignIn(Site, SignIn):
    """The console's sign-in, that leads back to the site."""

    sign_in, home = SIGN_IN, "/dashboard"
    prepare = SignIn.prepare


class SignUp(Site):
    """A name and a password make a person, an account of their own and, where the operator grants it, some credit."""

    async def prepare(self) -> None:
        await super().prepare()
        if self.request.method not in ("GET", "HEAD"):
            self.check_origin()

    async def get(self) -> None:
        if self.who is not None:
            self.go("/dashboard")
            return
        self._show()

    async def post(self) -> None:
        name = self.text("name").lower()
        _, refusal = await self.attempt(self._sign_up(name, self.get_argument("password", "", strip=False)))
        if refusal is not None:
            self._show(refusal)
            return
        agent = self.request.headers.get("User-Agent", "")
        session = await self.ask(self.gateway.people.open_session(name, self.ip, agent))
        self.give_cookie(session)
        self.go("/dashboard", "welcome")

    async def _sign_up(self, name: str, password: str) -> None:
        gateway = self.gateway
        if not self.sign_up_open:
            raise refuse("permission", "Sign-up is closed here; ask the operator for an account.",
                         code="sign_up_closed")
        if password != self.get_argument("again", "", strip=False):
            raise refuse("invalid_request", "The two passwords differ.")
        refused = gateway.limiter.take([Want(f"signup:ip:{self.ip}", PER_IP, 1)])
        if refused is not None:
            wait_s = -(-refused[1] // 1_000_000)
            raise refuse("rate_limit", f"Too many tries; wait {wait_s} s.", code="too_many_tries", retry_after_s=wait_s)
        if await gateway.people.first_run():
            # The first person in the store ends the first run: that has to be the owner, or nobody could become one.
            raise refuse("permission", "This gateway has no owner yet.", code="sign_up_closed")
        acct = f"acc-{secrets.token_hex(6)}"
        made = await gateway.people.add(name, "user", password, acct)
        await self.open_account(name, acct)
        credit_u = usd_to_u(gateway.conf.sign_up.credit_usd)
        if credit_u:
            await gateway.ledger.topup(acct, credit_u, f"signup:{acct}", "sign-up credit")
        await gateway.audit.write(name, "people.sign-up", f"people/{name}", None, made, self.ip)

    def _show(self, refusal: Refusal | None = None) -> None:
        self.set_status(refusal.status if refusal else 200)
        if refusal is not None and refusal.retry_after_s is not None:
            self.set_header("Retry-After", str(refusal.retry_after_s))
        self.render("sign_up.html", title=self.locale.translate("Sign up"), refusal=refusal, name=self.text("name"),
                    closed=not self.sign_up_open, credit_u=usd_to_u(self.gateway.conf.sign_up.credit_usd))


class SiteSignOut(Mine):
    """End this session, and the playground's key with it."""

    async def post(self) -> None:
        if self.acct:
            await self.ask(playkey.end(self.gateway, self.acct))
        await self.ask(self.gateway.people.revoke(self.who.session))
        self.take_cookie()
        self.go("/", "signed-out")


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(SIGN_IN, SiteSignIn, given), (SIGN_UP, SignUp, given), ("/sign-out", SiteSignOut, given)]
