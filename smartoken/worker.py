"""A worker process: what the supervisor starts, `python -m smartoken.worker`. It only ties pipes and signals to run."""

import argparse
import importlib
import os
import signal
import sys
import threading

from smartoken.conf import load, with_workers
from smartoken.errors import ConfigError, StoreAway

WRONG, OUR_FAULT = 2, 70


def main() -> int:
    """0 after a drained stop; 2 with one sentence on stderr when the configuration, the store or the installation does
    not do; 70 with one when a start fails by a fault of ours. What fails later is told whole, for the log."""
    served = debug = False

    def ready() -> None:
        nonlocal served
        served = True
        _say_ready(given.ready)

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
        conf = load()
        debug = conf.log.level == "debug"
        run(with_workers(conf, given.workers), given.index, ready)
    except ConfigError as err:
        return _told(f"{err}", WRONG)
    except StoreAway as err:
        return _told(err.sentence(), WRONG)
    except ImportError as err:
        return _told(f"cannot import {err.name or 'what it needs'} ({err}); install Smartoken again, with all it needs: "
                     "pip install .", WRONG)
    except Exception as err:
        if served or debug:
            raise
        return _told(f"unexpected {type(err).__name__}: {err} ([log] level = \"debug\" shows where)", OUR_FAULT)
    return 0


def _told(sentence: str, code: int) -> int:
    print(f"smartoken: {sentence}", file=sys.stderr)
    return code


def _say_ready(pipe: int) -> None:
    os.write(pipe, b"ready\n")
    os.close(pipe)


def _until_orphaned(pipe: int) -> None:
    """The supervisor alone holds the other end and never writes: this read ends when it does."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
