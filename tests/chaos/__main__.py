"""`python -m tests.chaos [NAME ...] [--short] [--seed N] [--write]`: run proofs and print what they found.

`make chaos` runs all in their long form; --write puts the table into README.md beside this file. Exit code 1 when
anything went wrong.
"""

import argparse
import contextlib
import functools
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.proof import Means, Proof, claim, proofs

HEAD = ("proof", "claim", "seed", "tried", "wrong", "wrong at most (95 %)", "figures", "took")


def main() -> int:
    known = proofs()
    words = argparse.ArgumentParser(prog="python -m tests.chaos")
    words.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    words.add_argument("--short", action="store_true", help="what the test suite runs")
    words.add_argument("--long", action="store_true", help="the full length, which is the default")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--write", action="store_true", help="write the table into tests/chaos/README.md")
    given = words.parse_args()
    for name in given.names:
        if name not in known:
            words.error(f"no proof '{name}'; there are {', '.join(known)}")
    logging.getLogger().addHandler(logging.NullHandler())    # thousands of warnings are what some proofs are about
    console = Console(emoji=False, markup=False, highlight=False)
    rows, wrong = [], 0
    for name in given.names or known:
        console.print(f"{name}: {claim(known[name])}", style="dim")
        started = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="chaos-") as folder, contextlib.ExitStack() as ends:
                proof = known[name].prove(Means(not given.short, given.seed, Path(folder), ends))
        except Exception:              # the others are still to be run, and the table to be printed
            console.print_exception()
            proof = Proof("of it: it broke off", 0, 1)
        wrong += proof.wrong
        rows.append(_row(name, claim(known[name]), given.seed, proof, time.monotonic() - started))
        console.print(f"{'✓' if not proof.wrong else '✗'} {rows[-1][3]}, {proof.wrong:,} wrong, {rows[-1][-1]}", style="dim")
        if given.write:
            _write(rows[-1:])
    table = Table(*(word for word in HEAD if word != "claim"))
    for row in rows:
        table.add_row(row[0], *row[2:])
    console.print(table)
    console.print(_where(), style="dim")
    return 1 if wrong else 0


def _row(name: str, title: str, seed: int, proof: Proof, took_s: float) -> tuple[str, ...]:
    figures = "; ".join(f"{label} {value:,}" if type(value) is int else f"{label} {value}"
                        for label, value in proof.figures.items())
    return (name, title, str(seed), f"{proof.runs:,} {proof.what}", f"{proof.wrong:,}", f"{proof.upper:.2g}", figures,
            f"{took_s:.0f} s")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


@functools.cache
def _where() -> str:
    """The commit, and whether anything but the table was changed since."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    commit += "-dirty" * bool(_git("status", "--porcelain", "--untracked-files=no", ":/", ":(exclude)tests/chaos/README.md"))
    return (f"commit {commit}, {time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores, "
            f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}")


def _write(rows: list[tuple[str, ...]]) -> None:
    """Put the rows into README.md's table; rows of proofs that were not run stay."""
    file = Path(__file__).with_name("README.md")
    start, end = "<!-- table -->\n", "<!-- end -->\n"
    before, _, rest = file.read_text(encoding="utf-8").partition(start)
    old, _, after = rest.partition(end)
    kept = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ")}
    head, line = "| " + " | ".join((*HEAD, "where")) + " |", "|" + "---|" * (len(HEAD) + 1)
    kept.pop(HEAD[0], None)
    kept |= {row[0]: "| " + " | ".join((*row, _where())) + " |" for row in rows}
    table = "\n".join([head, line, *(kept[name] for name in sorted(kept))]) + "\n"
    file.write_text(before + start + table + end + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
