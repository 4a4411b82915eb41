"""The adapters that need no plugin: SQLite, media in a folder, limits in memory. Each is imported when it is chosen."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from smartoken.plugin.spec import hookimpl


@hookimpl
def smartoken_adapters() -> dict[str, dict[str, Callable[[str], Any]]]:
    return {
        "store": {"sqlite": _lazily("sqlite", "open_sqlite")},
        "limiter": {"memory": _lazily("memory", "open_memory")},
        "media": {"folder": _lazily("folder", "open_folder")},
    }


def _lazily(module: str, factory: str) -> Callable[[str], Any]:
    return lambda url: getattr(import_module(f"smartoken.adapters.{module}"), factory)(url)
