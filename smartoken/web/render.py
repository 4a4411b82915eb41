"""How a refusal is written when no handler writes it: in the shape of the wire that serves the path."""

from typing import Any

from smartoken.domain.trace import new_rid
from smartoken.engine.client import refusal_headers
from smartoken.errors import Refusal
from smartoken.web.answers import JSON, refusal_body
from smartoken.web.door import HotPaths
from smartoken.web.http1 import RenderRefusal
from smartoken.web.trace import TraceHeaders


def renderer(registry: Any) -> RenderRefusal:
    """For web.server.FrontServer; `registry.paths` says which wire serves a path."""
    trace = TraceHeaders(registry.paths)
    wires = HotPaths({path.encode(): wire for path, wire in registry.paths.items()})

    def render(refusal: Refusal, path: bytes) -> tuple[bytes, bytes, bytes]:
        rid = new_rid()
        wire = wires.get(path)
        body = wire.refuse(refusal, rid) if wire is not None else refusal_body(refusal)
        return JSON, body, trace.lines(path.decode("latin-1"), rid) + refusal_headers(refusal)
    return render
