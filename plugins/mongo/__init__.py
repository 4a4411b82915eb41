"""The Store on MongoDB, by Motor: `mongodb://` and `mongodb+srv://`. README.md beside this file is its manual."""

from collections.abc import Callable
from typing import Any

from smartoken.plugin import hookimpl


@hookimpl
def smartoken_adapters() -> dict[str, dict[str, Callable[[str], Any]]]:
    return {"store": {"mongodb": _open, "mongodb+srv": _open}}


def _open(url: str) -> Any:
    # Here and not above: who keeps SQLite does not wait for a driver to be imported.
    from smartoken_plugins.mongo.store import open_mongo

    return open_mongo(url)
