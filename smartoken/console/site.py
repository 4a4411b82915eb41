"""The base of the pages for buyers: the market for anybody, and what is one's own for whoever is signed in."""

import gzip
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from smartoken.console import shelf
from smartoken.console.page import Page
from smartoken.domain.documents import AccountDoc, from_store
from smartoken.engine.issue import create_account
from smartoken.errors import ConfigError, Refusal, StoreAway

SMALL = 1400                   # bytes: one packet, which gzip cannot make fewer
SIGN_IN, SIGN_UP, PLAYGROUND = "/sign-in", "/sign-up", "/playground"


class Place(NamedTuple):
    """One entry of the bar; `mine` shows it only to whoever is signed in."""

    key: str
    label: str
    url: str
    mine: bool = False


BAR = (Place("home", "Dashboard", "/dashboard", mine=True), Place("market", "Models", "/models"),
       Place("playground", "Playground", PLAYGROUND), Place("keys", "Keys", "/keys", mine=True),
       Place("usage", "Usage", "/usage", mine=True))


class Site(Page):
    """A page that anybody may see. Whoever is signed in is known; with the store away nobody is, and it still opens."""

    sign_in, home = SIGN_IN, "/"

    async def prepare(self) -> None:
        try:
            self.who = await self.gateway.people.who(self.get_cookie(self.cookie_name, ""))
        except StoreAway:
            self.who = None

    @property
    def base_url(self) -> str:
        """Where clients reach the API, as this browser reached us unless the operator names it."""
        named = self.gateway.conf.server.public_url
        return f"{named or f'{self.request.protocol}://{self.request.host}'}/v1"

    @property
    def sign_up_open(self) -> bool:
        return self.gateway.conf.sign_up.open

    async def open_account(self, name: str, id: str = "") -> dict[str, Any]:
        """A new account as stored, for whoever is called so; the audit says who made it. ConfigError: the id is
        taken."""
        made = await create_account(self.gateway.catalog, name, id=id)
        await self.gateway.audit.write(name, "accounts.create", f"accounts/{made['_id']}", None, made, self.ip)
        return made

    def get_template_namespace(self) -> dict[str, Any]:
        names = super().get_template_namespace()
        names.update(bar=[place for place in BAR if self.who or not place.mine], base_url=self.base_url, url=url,
                     sign_up_open=self.sign_up_open, model_url=model_url, types=shelf.TYPES, scripts=(), about="",
                     site=True, operator=self.who is not None and self.who.role != "user" and not self.gateway.conf.server.admin_port)
        return names

    def finish(self, chunk: Any = None) -> Any:
        """A visitor's page is sent compressed. One that holds somebody's token is not: what is compressed together with
        something that a stranger chose can be guessed from its length."""
        if isinstance(chunk, str) and self.who is None and len(chunk) > SMALL \
                and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            self.set_header("Vary", "Accept-Encoding, Cookie")
            chunk = gzip.compress(chunk.encode(), 5, mtime=0)
        return super().finish(chunk)

    def error_page(self, refusal: Refusal) -> None:
        self.render("site_error.html", title=self.tell(refusal.message), refusal=None, said=refusal,
                    rid=self.rid)


class Mine(Site):
    """A page of whoever is signed in. `acct` is the account that pays, '' while an operator has chosen none."""

    acct = ""
    account: AccountDoc | None = None

    async def prepare(self) -> None:
        await Page.prepare(self)
        self.acct = self.who.acct
        if self.acct:
            self.account = await self.ask(self._account())

    async def _account(self) -> AccountDoc:
        """The account's document. One that is missing is made: a sign-up that broke off half-way is ended here."""
        catalog = self.gateway.catalog
        stored = await catalog.get("accounts", self.acct)
        if stored is None:
            try:
                stored = await self.open_account(self.who.name, self.acct)
            except ConfigError:            # another tab was quicker
                stored = await catalog.get("accounts", self.acct)
        return from_store(AccountDoc, stored)

    def get_template_namespace(self) -> dict[str, Any]:
        return super().get_template_namespace() | {"acct": self.acct, "account": self.account}


def url(path: str, **query: Any) -> str:
    """A path with a query; an empty value leaves its field out."""
    fields = {name: value for name, value in query.items() if value not in ("", None, 0)}
    return path + (f"?{urlencode(fields)}" if fields else "")


def model_url(slug: str) -> str:
    """The page of a model; a slash of its slug stands as it is."""
    return f"/models/{quote(slug, safe='/:')}"
