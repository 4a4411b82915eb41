"""Under which header names a path's answers carry the request's id: X-Request-Id, and the surface's own besides.

A wire names its surface's header (`rid_header`); it holds for all that is below the version in that wire's paths, so that
unknown routes and broken requests there carry it, too.
"""

import re
from collections.abc import Mapping
from typing import Any

_ROOT = re.compile(r"/(?:[^/]+/)*?v\d[^/]*/")


class TraceHeaders:
    """`of(path)` -> the surface's own header name, '' where X-Request-Id is all."""

    def __init__(self, wires: Mapping[str, Any]):
        """`wires`: client path -> the wire served there (Registry.paths)."""
        roots = {}
        for path, wire in wires.items():
            root = _ROOT.match(path)
            if wire.rid_header and root is not None:
                roots[root[0]] = wire.rid_header
        self._roots = tuple(roots.items())

    def of(self, path: str) -> str:
        """By the beginning of the path."""
        for root, name in self._roots:
            if path.startswith(root) or path == root[:-1]:
                return name
        return ""

    def lines(self, path: str, rid: str) -> bytes:
        """The header lines, ready to send."""
        own = self.of(path)
        line = b"X-Request-Id: %b\r\n" % rid.encode()
        return line + b"%b: %b\r\n" % (own.encode(), rid.encode()) if own else line
