"""The console's static files: read once, compressed once, served from memory under a name that changes with them."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tornado.web import RequestHandler

from smartoken.errors import refuse
from smartoken.web.app import ApiHandler

FOLDER = Path(__file__).parent / "static"
BASE = "/console/static/"
FOREVER = "public, max-age=31536000, immutable"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".txt": "text/plain; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file; `packed` is its gzip form, `hash` names its content."""

    content_type: str
    plain: bytes
    packed: bytes
    hash: str


@cache
def assets() -> dict[str, Asset]:
    """{name below static/: Asset}."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            plain = path.read_bytes()
            kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain; charset=utf-8"
            found[path.relative_to(FOLDER).as_posix()] = Asset(kind, plain, gzip.compress(plain, mtime=0),
                                                               hashlib.sha256(plain).hexdigest()[:16])
    return found


def url(name: str) -> str:
    """Where a file is. KeyError for one that is not there."""
    return f"{BASE}{name}?v={assets()[name].hash}"


class Static(ApiHandler):
    """Anybody may read these; they say nothing that is not in the source."""

    def get(self, name: str) -> None:
        asset = assets().get(name)
        if asset is None:
            raise refuse("not_found", "There is no such file.", code="file_not_found")
        self.set_header("Content-Type", asset.content_type)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", FOREVER if self.get_query_argument("v", "") == asset.hash else "no-cache")
        self.set_header("Vary", "Accept-Encoding")
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            self.finish(asset.packed)
        else:
            self.finish(asset.plain)


def routes() -> list[tuple[str, type[RequestHandler]]]:
    return [(BASE + "(.+)", Static)]
