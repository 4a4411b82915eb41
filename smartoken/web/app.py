"""The Tornado application: everything that is not a relayed call. Each file in handlers/ brings its own routes."""

import importlib
import logging
import pkgutil
from typing import Any

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler

from smartoken.domain.trace import new_rid
from smartoken.errors import Refusal, refuse
from smartoken.plugin.registry import BEHIND
from smartoken.web import handlers
from smartoken.web.answers import refusal_body, refusal_headers, refusal_of_status
from smartoken.web.trace import TraceHeaders

# What operators see answers on the admin port only, where there is one; these few on both.
ADMIN, SHARED = (*BEHIND, "/metrics"), ("/console/static/", "/healthz", "/readyz")

log = logging.getLogger("smartoken.web")


class ApiHandler(RequestHandler):
    """JSON in and out. Raise a Refusal to refuse; `rid` is the request's id, which every answer carries, and `lines`
    are header lines that `tell` was given."""

    rid, lines = "", b""

    def set_default_headers(self) -> None:
        self.rid = self.rid or new_rid()
        self.set_header("X-Request-Id", self.rid)
        own = self.settings["trace"].of(self.request.path) if "trace" in self.settings else ""
        if own:
            self.set_header(own, self.rid)
        self.set_header("Content-Type", "application/json")
        self.tell(self.lines)           # Tornado clears an answer that becomes a refusal, and comes here again

    def tell(self, lines: bytes) -> None:
        """Answer with these header lines as well, also when it is a refusal."""
        self.lines = lines
        for line in lines.decode("latin-1").splitlines():
            self.set_header(*line.split(": ", 1))

    def send(self, value: Any, status: int = 200) -> None:
        """Answer with a value as JSON."""
        self.set_status(status)
        self.finish(msgspec.json.encode(value))

    def head(self, *args: str, **kwargs: str) -> Any:
        """As GET; Tornado leaves the body out."""
        return self.get(*args, **kwargs)

    def compute_etag(self) -> str | None:
        """None: an API answer has an ETag only if its handler says so."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        refusal = cause if isinstance(cause, Refusal) else refusal_of_status(status_code)
        self.set_status(refusal.status)
        if refusal.status == 405:
            self.set_header("Allow", ", ".join(self.methods()))
        for name, value in refusal_headers(refusal):
            self.set_header(name, value)
        self.finish(refusal_body(refusal))

    def methods(self) -> list[str]:
        """What this path can be asked to do."""
        missing = RequestHandler._unimplemented_method
        found = [name for name in self.SUPPORTED_METHODS if getattr(type(self), name.lower()) is not missing]
        return [name for name in found if name != "HEAD" or "GET" in found]

    def log_exception(self, typ, value, tb) -> None:
        if isinstance(value, Refusal | HTTPError | StreamClosedError):
            return
        log.error("request %s failed on %s", self.rid, self.request.path, exc_info=(typ, value, tb))


class NotFound(ApiHandler):
    """Every path that nobody claims."""

    def prepare(self) -> None:
        raise refuse("not_found", "There is nothing at this path.", code="unknown_route")


def make_app(routes: list, trace: TraceHeaders | None = None, admin: bool = False) -> Application:
    """The application over its routes; every other path is a 404 in JSON. `admin` is that of the admin port."""
    return Application(routes, default_handler_class=NotFound, log_function=_log_nothing, compress_response=False,
                       trace=trace or TraceHeaders({}), admin=admin)


def parted(routes: list) -> tuple[list, list]:
    """(those of the public port, those of the admin port), each in order."""
    public = [row for row in routes if _path(row).startswith(SHARED) or not _path(row).startswith(ADMIN)]
    return public, [row for row in routes if _path(row).startswith((*SHARED, *ADMIN))]


def _path(row: Any) -> str:
    """The pattern of a tuple or a URLSpec."""
    return (row[0] if isinstance(row, tuple) else row.regex.pattern).removeprefix("^")


def found_routes(gateway: Any) -> list:
    """What `routes(gateway)` of each module in handlers/ gives, by module name."""
    found = []
    for module in sorted(pkgutil.iter_modules(handlers.__path__), key=lambda module: module.name):
        found += importlib.import_module(f"{handlers.__name__}.{module.name}").routes(gateway)
    return found


def _log_nothing(handler: RequestHandler) -> None:
    """No access log: paths may hold secrets; usage records and metrics say what was served."""
