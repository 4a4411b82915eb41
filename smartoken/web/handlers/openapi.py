"""GET /openapi.json, and GET /docs: the same for people, without a line of script."""

import html
from functools import lru_cache
from typing import Any

import msgspec

from smartoken.engine.storefront import etag_of
from smartoken.web.openapi import document
from smartoken.web.page import STYLE, page_of
from smartoken.web.public import PublicHandler
from smartoken.web.schema import PUBLIC

OPENAPI = {
    "/openapi.json": {"get": {
        "summary": "This document", "tags": ["About"], "security": PUBLIC, "responses": {
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {
                "type": "object", "required": ["openapi", "info", "paths", "components"]}}}}}}},
}


BASE = "https://gateway.invalid"     # stands in what is kept for the address by which each client reached us


@lru_cache(maxsize=2)
def described(gateway: Any, snapshot: Any) -> tuple[bytes, str]:
    """(the document, the page), made once for each snapshot: it takes tens of milliseconds."""
    made = document(gateway, BASE)
    return msgspec.json.encode(made), page_of(made)


class Document(PublicHandler):
    """For machines."""

    def get(self) -> None:
        document, _ = described(self.gateway, self.gateway.snapshots.current)
        body = document.replace(BASE.encode(), msgspec.json.encode(self.base_url())[1:-1])
        self.show(body, etag_of(body))

    def base_url(self) -> str:
        """As the client reached us."""
        public = self.gateway.conf.server.public_url
        return public or f"{self.request.protocol}://{self.request.host}"


class Page(Document):
    """For people."""

    def get(self) -> None:
        _, page = described(self.gateway, self.gateway.snapshots.current)
        body = page.replace(BASE, html.escape(self.base_url())).encode()
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy",
                        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
                        "frame-ancestors 'none'")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.show(body, etag_of(body))


class Style(PublicHandler):
    """The page's looks."""

    def get(self) -> None:
        body = STYLE.encode()
        self.set_header("Content-Type", "text/css; charset=utf-8")
        self.show(body, etag_of(body))


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(r"/openapi\.json", Document, given), (r"/docs", Page, given), (r"/docs\.css", Style, given)]
