"""The admin API, /admin/api/*: one resource a file, each a table of operations that the pages call as well."""

import importlib
import pkgutil
import re
from typing import Any

from smartoken.web.admin import openapi
from smartoken.web.admin.operation import AdminHandler, Operation

BASE = "/admin/api"
_NOT_RESOURCES = frozenset({"desk", "openapi", "operation"})


def operations(registry: Any) -> list[Operation]:
    """All operations that are there with these plugins, by file."""
    found: list[Operation] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if module.name not in _NOT_RESOURCES:
            found += importlib.import_module(f"{__name__}.{module.name}").OPERATIONS
    return [one for one in found if not one.needs or getattr(registry, one.needs)]


def routes(gateway: Any) -> list[tuple]:
    """Tornado's rows: a row a path, with its operations by method."""
    by_path: dict[str, dict[str, Operation]] = {}
    there = operations(gateway.registry)
    for operation in there:
        by_path.setdefault(operation.path, {})[operation.method] = operation

    async def described(desk: Any) -> dict[str, Any]:
        """This document."""
        return openapi.document(there, BASE)

    by_path["/openapi.json"] = {"GET": Operation("GET", "/openapi.json", "self", "This document", described)}
    return [(_pattern(path), AdminHandler, {"gateway": gateway, "by_method": by_method})
            for path, by_method in by_path.items()]


def _pattern(path: str) -> str:
    """/models/{slug} -> a regular expression; a slash within a part is written %2F."""
    return BASE + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
