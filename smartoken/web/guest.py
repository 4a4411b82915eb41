"""A plugin's page where operators are: behind the sign-in like ours, whether its author thought of that or not."""

import inspect
from typing import Any
from urllib.parse import urlencode

from smartoken.errors import Refusal
from smartoken.plugin.registry import BEHIND, permission_of
from smartoken.web.answers import refusal_body
from smartoken.web.signed import HEADERS, SAFE, Signed


def guests(gateway: Any) -> list[tuple]:
    """Tornado's rows of the plugins' handlers, those of BEHIND behind the sign-in."""
    return [(row[0], _behind(row[1]), {"gateway": gateway, "given": row[2] if len(row) > 2 else {}})
            if row[0].startswith(BEHIND) else row for row in gateway.registry.handlers]


def _behind(page: type) -> type:
    class Behind(Signed, page):
        """The plugin's handler; it finds `who` and `gateway` on itself, and `permission` says what it takes."""

        permission = permission_of(page)

        def initialize(self, gateway: Any, given: dict[str, Any]) -> None:
            self.gateway = gateway
            page.initialize(self, **given)

        def set_default_headers(self) -> None:
            for name, value in HEADERS.items():
                self.set_header(name, value)
            page.set_default_headers(self)

        async def prepare(self) -> None:
            try:
                await Signed.prepare(self)
            except Refusal as refusal:
                self._turn_away(refusal)
                return
            begun = page.prepare(self)
            if inspect.isawaitable(begun):
                await begun

        def _turn_away(self, refusal: Refusal) -> None:
            if refusal.code == "signed_out" and self.request.method in SAFE:
                self.redirect(f"/console/sign-in?{urlencode({'next': self.request.uri})}", status=303)
                return
            self.set_status(refusal.status)
            self.set_header("Content-Type", "application/json")
            self.finish(refusal_body(refusal))

    Behind.__name__ = Behind.__qualname__ = page.__name__
    return Behind
