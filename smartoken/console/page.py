"""The base of every page: sign-in, language, theme, headers, and what templates can call."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import tornado.locale
from tornado.escape import xhtml_escape
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from smartoken.console import figures, files
from smartoken.console.nav import menu
from smartoken.console.tell import tell
from smartoken.console.widgets import Widgets
from smartoken.domain.trace import new_rid
from smartoken.errors import Refusal
from smartoken.web.admin.desk import Desk
from smartoken.web.admin.operation import refusal_of
from smartoken.web.answers import refusal_of_status
from smartoken.web.app import log
from smartoken.web.signed import HEADERS, Signed

TEMPLATES = str(Path(__file__).parent / "templates")
SIGN_IN, HOME = "/console/sign-in", "/console"
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
       "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
LANGUAGES = {"en": "English", "zh_CN": "简体中文"}
THEMES = ("light", "dark")

# What a page says after it sent you on, by the word in ?done=; texts never come from the URL itself.
DONE = {"saved": "Saved. It is in force on every node within 3 seconds.", "created": "Created.",
        "removed": "Removed.", "revoked": "Revoked: it is refused on every node within 3 seconds.",
        "moved": "The books have it.", "signed-out": "Signed out.", "password": "The password was changed.",
        "second-factor": "The second factor was changed.", "ended": "Those sessions were ended.",
        "welcome": "Welcome. Create a key, or try a model in the playground.",
        "redeemed": "Redeemed. The credit is on your account.",
        "signed-in": "The account is signed in. Use it on a channel by the credential that stands beside it.",
        "given-up": "Signed out there, and forgotten here.",
        "forgotten": "Forgotten here, but the issuer could not be told: sign out there, too.",
        "redeemed-before": "You had redeemed this voucher before; nothing changed."}


class Page(Signed):
    """One page. `key` marks its entry in the menu; `permission` is what it takes to see it.

    `desk` is for calling operations of the admin API; `attempt` calls one and gives its Refusal instead of raising.
    """

    key = ""
    rid = ""
    sign_in, home = SIGN_IN, HOME      # where one signs in, and where one is then unless one came from elsewhere

    def set_default_headers(self) -> None:
        self.rid = self.rid or new_rid()
        self.set_header("X-Request-Id", self.rid)
        self.set_header("Content-Security-Policy", CSP)
        for name, value in HEADERS.items():
            self.set_header(name, value)

    @property
    def desk(self) -> Desk:
        return Desk(self.gateway, self.who, self.ip)

    async def prove(self, password: str) -> None:
        """Take the password that a form asked for again; '' is none."""
        if password:
            self.who = await self.gateway.people.prove(self.who, password)

    async def attempt(self, work: Any) -> tuple[Any, Refusal | None]:
        """(what an awaitable gave, None), or (None, why not)."""
        try:
            return await work, None
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return None, refusal

    async def ask(self, work: Any) -> Any:
        """What an operation gives; its failures become an error page."""
        value, refusal = await self.attempt(work)
        if refusal is not None:
            raise refusal
        return value

    def go(self, url: str, done: str = "") -> None:
        """Send the browser on; `done` is a word of DONE."""
        self.redirect(url + (("&" if "?" in url else "?") + f"done={done}" if done else ""), status=303)

    def text(self, name: str, default: str = "") -> str:
        """A field of the form or the query, trimmed."""
        return self.get_argument(name, default).strip()

    def tell(self, text: str) -> str:
        """What went wrong, in the language of this page."""
        return tell(self.locale, text)

    def typed(self, name: str, otherwise: Any = "", do: str = "") -> Any:
        """What stood in a field of the form that was just refused; `otherwise` on any other page. `do` tells the forms
        of a page apart. Not for passwords: they are never given back."""
        if self.request.method != "POST" or self.get_status() < 400 or self.get_body_argument("do", "") != do:
            return otherwise
        return self.get_body_argument(name, "").strip()

    def op(self, refusal: Refusal | None, do: str = "") -> str:
        """The name under which a form books its money: the one that it was refused with, so that sending it again books
        nothing twice, even where nobody knows what became of the first time. A name that is taken is no use any more."""
        kept = self.typed("op", do=do)
        taken = refusal is None or refusal.code in ("op_taken", "reused")
        return kept if kept and not taken else f"console-{secrets.token_hex(8)}"

    # -- language and theme

    def get_user_locale(self) -> tornado.locale.Locale:
        chosen = self.get_cookie("lang", "")
        if chosen in LANGUAGES:
            return tornado.locale.get(chosen)
        wanted = [part.split(";")[0].strip().lower() for part in
                  self.request.headers.get("Accept-Language", "en").split(",")]
        first = next((word for word in wanted if word[:2] in ("zh", "en")), "en")
        return tornado.locale.get("zh_CN" if first.startswith("zh") else "en")

    # -- templates

    def get_template_path(self) -> str:
        return TEMPLATES

    def get_template_namespace(self) -> dict[str, Any]:
        names = super().get_template_namespace()
        theme = self.get_cookie("theme", "")
        done = self.get_query_argument("done", "")
        names.update(
            who=self.who, key=self.key, menu=menu(self.gateway.registry), languages=LANGUAGES, lang=self.locale.code,
            theme=theme if theme in THEMES else "", asset=files.url, icon=icon, link=link,
            w=Widgets(self.locale), n=figures, when=when, day=figures.day, done=DONE.get(done, ""), refusal=None,
            now_at="", typed=self.typed,
            tell=self.tell, title="", csrf=self.who.csrf if self.who else "", money=self.who is not None and self.who.may("money.read"),
            may=self.who.may if self.who else lambda permission: False, charts=False, home=self.home,
            sign_in=self.sign_in, site=False,
            stale=self.who is not None and not self.who.proved(self.gateway.clock.now_ms()))
        return names

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        refusal = (refusal_of(cause) if cause is not None else None) or refusal_of_status(status_code)
        if refusal.code == "signed_out":
            self._to_sign_in()
            return
        self.set_status(refusal.status)
        if refusal.retry_after_s is not None:
            self.set_header("Retry-After", str(refusal.retry_after_s))
        self.error_page(refusal)

    def error_page(self, refusal: Refusal) -> None:
        """What is shown when nothing else can be."""
        self.render("error.html", title=self.tell(refusal.message), refusal=refusal, rid=self.rid)

    def _to_sign_in(self) -> None:
        back = self.request.uri if self.request.method == "GET" else self.home
        where = f"{self.sign_in}?{urlencode({'next': back})}" if back != self.home else self.sign_in
        if self.request.headers.get("HX-Request"):
            self.set_status(401)
            self.set_header("HX-Redirect", where)
            self.finish()
        else:
            self.redirect(where, status=303)

    def log_exception(self, typ, value, tb) -> None:
        if isinstance(value, Refusal | HTTPError | StreamClosedError) or refusal_of(value) is not None:
            return
        log.error("request %s failed on %s", self.rid, self.request.path, exc_info=(typ, value, tb))


def icon(name: str) -> str:
    """A symbol of icons.svg, silent to screen readers."""
    return f'<svg class="icon" aria-hidden="true"><use href="{files.url("icons.svg")}#{name}"/></svg>'


def link(*parts: str, **query: Any) -> str:
    """A URL below /console from its parts, each escaped whole; an empty value leaves its field out of the query."""
    path = "/".join([HOME, *(quote(part, safe="") for part in parts)])
    fields = {name: value for name, value in query.items() if value not in ("", None, 0)}
    return path + (f"?{urlencode(fields)}" if fields else "")


def when(ms: int) -> str:
    """Milliseconds since 1970 as a time element, in UTC until the browser makes it local; a dash for 0."""
    if not ms:
        return "–"
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return (f'<time datetime="{xhtml_escape(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))}">'
            f'{moment.strftime("%Y-%m-%d %H:%M:%S")} UTC</time>')
