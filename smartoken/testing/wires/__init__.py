"""One file per wire that the pretend upstream speaks; a new file here is a new wire.

Each has: `PATHS`, endings of the paths it serves; `read(body) -> asked` (an object with `model`, `stream`, `x_fault`;
msgspec.ValidationError or DecodeError becomes a 400); `answer(asked, play, talk) -> Answer`; `error_events(play)`, an
error in the midst of its stream.
"""

import importlib
import pkgutil
from types import ModuleType


def wires() -> dict[str, ModuleType]:
    """{path ending: module} of every wire in this folder."""
    found: dict[str, ModuleType] = {}
    for item in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{item.name}")
        found.update(dict.fromkeys(module.PATHS, module))
    return found
