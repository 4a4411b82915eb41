"""The console: pages for people at /console, over the operations of the admin API.

How a page is added: one file in pages/ with handlers (subclasses of page.Page) and `routes(gateway)`, one template in
templates/ that extends base.html, a line in nav.py if it stands in the menu, and its texts in locale/zh_CN.csv
(tests/console proves that none is missing). No build step: what is in static/ is served as it is.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornado import locale

from smartoken.web import admin
from smartoken.web.admin.system import stop_reconcile

FOLDER = Path(__file__).parent


def routes(gateway: Any, guests: Sequence[tuple] = ()) -> list[tuple]:
    """Tornado's rows: the admin API's, the static files', those of each file in pages/, the plugins' (`guests`), and
    at last the one for every other address."""
    from smartoken.console import files, nothing, pages

    locale.load_translations(str(FOLDER / "locale"))
    locale.set_default_locale("en")
    found = [*admin.routes(gateway), *files.routes()]
    for module in sorted(pkgutil.iter_modules(pages.__path__), key=lambda module: module.name):
        found += importlib.import_module(f"{pages.__name__}.{module.name}").routes(gateway)
    return [*found, *guests, *nothing.routes(gateway)]


async def close() -> None:
    """End what pages began and that still runs."""
    await stop_reconcile()
