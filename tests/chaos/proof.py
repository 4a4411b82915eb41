"""What a proof is: a file of this folder with a `prove(means) -> Proof`. Its docstring's first line is its claim."""

import contextlib
import importlib
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import tests.chaos
from tests.servers import Server, running

NO_PROOFS = {"__main__", "proof", "test_short"}


@dataclass
class Means:
    """What a proof gets: `long` or short, a seed, a folder of its own and servers that end with it."""

    long: bool
    seed: int
    folder: Path
    ends: contextlib.ExitStack

    def server(self, kind: str) -> Server:
        """A new server (of tests.servers.COMMANDS) of its own. tests.servers.Missing."""
        folder = self.folder / f"{kind}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        return self.ends.enter_context(running(kind, folder))


@dataclass
class Proof:
    """`runs` things were tried (`what` they are) and `wrong` of them went wrong; `figures` were measured besides."""

    what: str
    runs: int
    wrong: int
    figures: dict[str, str | int | float] = field(default_factory=dict)

    @property
    def upper(self) -> float:
        """The upper 95 % bound of the share that goes wrong: 3/N when none did, else a normal approximation."""
        if not self.wrong or not self.runs:
            return min(3 / max(self.runs, 1), 1.0)
        share = self.wrong / self.runs
        return min(share + 1.645 * (share * (1 - share) / self.runs) ** 0.5 + 0.5 / self.runs, 1.0)


def proofs() -> dict[str, ModuleType]:
    """{name: module} of all files here that prove something."""
    modules = {info.name: importlib.import_module(f"tests.chaos.{info.name}")
               for info in pkgutil.iter_modules(tests.chaos.__path__) if info.name not in NO_PROOFS}
    return {name: module for name, module in sorted(modules.items()) if hasattr(module, "prove")}


def claim(module: ModuleType) -> str:
    return module.__doc__.strip().splitlines()[0]
