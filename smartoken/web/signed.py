"""What every handler behind the sign-in shares: the session cookie, where a change may come from, who may what.

A change must come from our own pages: its Origin is ours, and it brings the session's CSRF token (header X-CSRF-Token,
or the form's field `_csrf`). The cookie is SameSite=Strict and HttpOnly besides.
"""

import hmac
from typing import Any
from urllib.parse import urlsplit

from tornado.web import RequestHandler

from smartoken.engine.people import SESSION_MS, Who
from smartoken.errors import refuse

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
           "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
           "Permissions-Policy": "camera=(), microphone=(), geolocation=()"}


class Signed(RequestHandler):
    """A handler that knows who asks. `permission` is what it takes to GET and POST here; see domain/people.py."""

    permission = "self"
    gateway: Any = None
    who: Who | None = None

    def initialize(self, gateway: Any) -> None:
        self.gateway = gateway

    async def prepare(self) -> None:
        self.who = await self.gateway.people.who(self.get_cookie(self.cookie_name, ""))
        if self.who is None:
            raise refuse("authentication", "Sign in first.", code="signed_out")
        if self.request.method not in SAFE:
            self.check_origin()
            self.check_csrf()
        self.demand(self.permission)

    def demand(self, permission: str) -> None:
        """Refusal 403 unless whoever is signed in has a permission; 401 for nobody."""
        if self.who is None:
            raise refuse("authentication", "Sign in first.", code="signed_out")
        self.who.demand(permission)

    @property
    def ip(self) -> str:
        return self.request.remote_ip or ""

    # -- the cookie

    @property
    def secure(self) -> bool:
        """Whether browsers reach us over TLS, ours or a proxy's. `public_url` says nothing about the admin port."""
        if self.request.protocol == "https":
            return True
        return not self.settings.get("admin") and self.gateway.conf.base_url.startswith("https:")

    @property
    def cookie_name(self) -> str:
        return "__Host-smartoken" if self.secure else "smartoken"

    def give_cookie(self, text: str) -> None:
        """Sign this browser in."""
        self.set_cookie(self.cookie_name, text, path="/", httponly=True, secure=self.secure, samesite="Strict",
                        max_age=SESSION_MS // 1000)

    def take_cookie(self) -> None:
        """Sign this browser out."""
        self.clear_cookie(self.cookie_name, path="/", httponly=True, secure=self.secure, samesite="Strict")

    # -- where a change comes from

    def check_origin(self) -> None:
        """Refusal 403 for a change that another site's page asks for."""
        origin = self.request.headers.get("Origin")
        if origin is None:
            ours = self.request.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")
        else:
            ours = urlsplit(origin).netloc in {self.request.host, urlsplit(self.gateway.conf.base_url).netloc} - {""}
        if not ours:
            raise refuse("permission", "This request comes from another site.", code="origin")

    def check_csrf(self) -> None:
        """Refusal 403 for a change without the session's token."""
        given = self.request.headers.get("X-CSRF-Token") or self.get_body_argument("_csrf", "")
        if self.who is None or not hmac.compare_digest(self.who.csrf.encode(), given.encode()):
            raise refuse("permission", "This form is out of date; load the page again.", code="csrf")
