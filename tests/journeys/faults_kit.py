"""A gateway whose store fails as a test says, call by call (faulty/faulty.py)."""

import json
import os
from pathlib import Path

from tests.harness import Gateway, until

PLUGINS = f"[plugins]\nenabled = ['*', 'faulty']\npaths = ['{Path(__file__).parent / 'faulty'}']\n"


def faulty_gateway(folder: Path, **given) -> Gateway:
    """A Gateway on such a store."""
    return Gateway(folder, store="faulty:///{data}/smartoken.db", conf=PLUGINS, **given)


def fail(gateway: Gateway, rules: dict[str, str]) -> None:
    """From now on the store fails by these rules alone."""
    file = gateway.folder / "var" / "smartoken.faults"
    file.with_suffix(".new").write_text(json.dumps(rules))
    os.replace(file.with_suffix(".new"), file)
    file.with_suffix(".met").unlink(missing_ok=True)


def met(gateway: Gateway) -> list[str]:
    """What failed since then, as "method subject"."""
    file = gateway.folder / "var" / "smartoken.met"
    return [line.partition(" ")[2] for line in file.read_text().splitlines()] if file.exists() else []


def until_met(gateway: Gateway, call: str, times: int = 1) -> None:
    """Wait until a call failed by its rule."""
    until(lambda: met(gateway).count(call) >= times, f"{call!r}, {times} times")


def in_store(gateway: Gateway, work):
    """What `work(store)` gives, past all faults."""
    return gateway.in_sqlite(work)
