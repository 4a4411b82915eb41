"""Answers for anybody: no key, any origin, cached and revalidated by ETag."""

from typing import Any

from smartoken.web.app import ApiHandler

CACHED = "public, max-age=30, stale-while-revalidate=60"
EXPOSED = "ETag, X-Request-Id, X-Solquir-Trace-Id"
PREFLIGHT_S = 86_400


class PublicHandler(ApiHandler):
    """`gateway.snapshots.current` is the catalog. `show` ends a GET."""

    etag = ""

    def initialize(self, gateway: Any) -> None:
        self.gateway = gateway

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Access-Control-Expose-Headers", EXPOSED)

    def compute_etag(self) -> str:
        return self.etag

    def show(self, body: bytes, etag: str) -> None:
        """The JSON, or 304 to whoever has it."""
        self.etag = etag
        self.set_header("Cache-Control", CACHED)
        self.finish(body)

    def options(self, *args: str) -> None:
        """A browser asks before it asks: yes to reading."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.set_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match")
        self.set_header("Access-Control-Max-Age", str(PREFLIGHT_S))
        self.finish()
