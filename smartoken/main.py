"""The one composition root: configuration -> plugins -> adapters -> engine -> web; serve; drain.

A worker calls `run`. Parts are opened in the order in which they need each other and closed in reverse, whatever failed
on the way; books come last: calls settle, the journal is shipped, leases are given back.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvloop

from smartoken.conf import Conf

log = logging.getLogger("smartoken")

METRICS_EVERY_S = 5
COLD_SWEEP_S = 30        # how often leases and journals without an owner are looked for


def run(conf: Conf, index: int, ready: Callable[[], None]) -> None:
    """Serve as worker `index` until SIGTERM, then drain. `ready` is called once it answers."""
    metrics = conf.data_folder / "metrics"
    metrics.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(metrics))  # read when prometheus_client is imported
    from smartoken.assemble import worker
    logging.basicConfig(level=conf.log.level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(serve(conf, index, ready, worker))


async def serve(conf: Conf, index: int, ready: Callable[[], None], worker) -> None:
    """Open everything, serve until told to stop, drain, close in reverse."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        gateway, server = await worker(conf, node_name(conf, index), index, stack)
        gateway.ready = True
        gc.collect()
        gc.freeze()                         # what was made at the start lives for ever: never walk it again
        gc.set_threshold(50_000, 50, 100)
        ready()
        await stop.wait()
        log.info("draining")
        await server.drain(conf.server.drain_s)
        gateway.ready = False


def node_name(conf: Conf, index: int) -> str:
    """This worker's name in books and journals: the machine's, and its place in the row."""
    return f"{conf.data.node or socket.gethostname().split('.')[0]}-{index}"


def journal_folder(conf: Conf) -> Path:
    """Where the workers of this node keep their journals."""
    return conf.data_folder / "journal"
