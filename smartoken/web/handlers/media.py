"""GET /media/…: what a media store of our own folder keeps, with ranges, for ever and for anybody who has the link.

A key never changes its content, so its ETag is its own name, and nothing is read to answer a HEAD or a revalidation.
"""

from typing import Any

from tornado.web import HTTPError, StaticFileHandler

from smartoken.domain.media import is_key, type_of
from smartoken.domain.trace import new_rid
from smartoken.errors import Refusal
from smartoken.web.answers import refusal_body, refusal_of_status

FOR_EVER_S = 365 * 24 * 3600


class MediaFile(StaticFileHandler):
    """Hot-linkable, and harmless as a page of our own address: it is what its type says and runs nothing."""

    def set_default_headers(self) -> None:
        self.set_header("X-Request-Id", new_rid())

    @classmethod
    def get_content_version(cls, abspath: str) -> str:
        return abspath.rpartition("/")[2]

    def compute_etag(self) -> str:
        return f'"{self.path}"'

    def get_content_type(self) -> str:
        return type_of(self.path)

    def get_cache_time(self, path: str, modified: Any, mime_type: str) -> int:
        return FOR_EVER_S

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", f"public, max-age={FOR_EVER_S}, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox")
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        if not is_key(self.path):
            raise HTTPError(404)
        return super().validate_absolute_path(root, absolute_path)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A path out of the folder (403) is no more than one that is not there."""
        refusal = refusal_of_status(404 if status_code == 403 else status_code)
        self.set_status(refusal.status)
        if refusal.status == 405:
            self.set_header("Allow", "GET, HEAD")
        self._refuse(refusal)

    def finish(self, chunk: Any = None) -> Any:
        """A range that the file does not have is answered by Tornado itself, in plain text."""
        if self.get_status() == 416 and chunk is None:
            return self._refuse(refusal_of_status(416))
        return super().finish(chunk)

    def _refuse(self, refusal: Refusal) -> Any:
        for name in ("Cache-Control", "Content-Security-Policy", "Expires", "Etag", "Last-Modified"):
            self.clear_header(name)
        self.set_header("Content-Type", "application/json")
        return super().finish(refusal_body(refusal))


def routes(gateway) -> list:
    """None where the media store has an address of its own."""
    root = getattr(gateway.media, "root", None)
    return [] if root is None else [(r"/media/(.*)", MediaFile, {"path": str(root.absolute())})]
