"""A worker process: what the supervisor starts, `python -m smartoken.worker`. It only ties pipes and signals to run."""

import argparse
import importlib
import os
import signal
import sys
import threading

from smartoken.conf import load, with_workers
from smartoken.errors import ConfigError, StoreAway


def main() -> int:
    """0 after a drained stop; 2 with one sentence on stderr when the configuration or the store does not do."""
    words = argparse.ArgumentParser()
    for name in ("index", "workers", "ready", "life"):
        words.add_argument(f"--{name}", type=int, required=True)
    words.add_argument("--entry", required=True)
    given = words.parse_args()
    # Ctrl-C reaches the whole group: the supervisor alone decides, and asks by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_until_orphaned, args=(given.life,), name="life", daemon=True).start()
    module, _, function = given.entry.partition(":")
    try:
        run = getattr(importlib.import_module(module), function)
        run(with_workers(load(), given.workers), given.index, lambda: _say_ready(given.ready))
    except (ConfigError, StoreAway) as err:
        print(f"smartoken: {err}", file=sys.stderr)
        return 2
    return 0


def _say_ready(pipe: int) -> None:
    os.write(pipe, b"ready\n")
    os.close(pipe)


def _until_orphaned(pipe: int) -> None:
    """The supervisor alone holds the other end and never writes: this read ends when it does."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
