"""The one composition root: configuration -> plugins -> adapters -> engine -> web; serve; drain.

A worker calls `run`. Parts are opened in the order in which they need each other and closed in reverse, whatever failed
on the way. At the end calls settle first, then the journal is shipped and the plugins hear of it, then they are
closed, then the leases are given back.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from smartoken import console, logs
from smartoken.adapters.clock import SystemClock
from smartoken.conf import Conf
from smartoken.engine import figures
from smartoken.engine.access import Access
from smartoken.engine.audit import Audit
from smartoken.engine.auth import Keys, check_pepper
from smartoken.engine.beside import beside, kept
from smartoken.engine.changes import Catalog
from smartoken.engine.gateway import Gateway
from smartoken.engine.heap import trim_now_and_then
from smartoken.engine.idempotency import KeyedCalls
from smartoken.engine.jobs import Jobs
from smartoken.engine.journal import Journal
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.engine.metrics import Counted, Metrics, watch_lag
from smartoken.engine.people import People
from smartoken.engine.prune import Pruner
from smartoken.engine.reaper import Reaper
from smartoken.engine.replay import replay, replay_neighbours
from smartoken.engine.seal import open_pepper, open_ring
from smartoken.engine.ship import Shipper
from smartoken.engine.snapshot import SnapshotKeeper
from smartoken.engine.telling import Tell, Teller
from smartoken.engine.vouchers import Vouchers
from smartoken.errors import StoreAway
from smartoken.plugin import loader
from smartoken.plugin.host import Host
from smartoken.upstream.pool import Pool
from smartoken.web.app import found_routes, make_app, parted
from smartoken.web.door import Door, HotPaths
from smartoken.web.forwarded import Proxies
from smartoken.web.guest import guests
from smartoken.web.http1 import Edge
from smartoken.web.render import renderer
from smartoken.web.server import FrontServer
from smartoken.web.trace import TraceHeaders

log = logging.getLogger("smartoken")

METRICS_S = 5
ORPHANS_S = 30           # how often journals of dead neighbours are looked for
SETTLE_S = 5             # after the drain, for calls whose client left; the supervisor waits for this, too
CHARGE_S = 3             # after that, for what tools cost that were stopped


def run(conf: Conf, index: int, ready: Callable[[], None]) -> None:
    """Serve as worker `index` until SIGTERM, then drain. `ready` is called once it answers."""
    logs.set_up(conf.log)
    uvloop.run(serve(conf, index, ready))


async def serve(conf: Conf, index: int, ready: Callable[[], None]) -> None:
    """Open everything, serve until told to stop, drain, close in reverse."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        host = loader.load(conf)
        with beside():
            gateway = await open_gateway(conf, index, host, stack)
        servers = await open_servers(conf, gateway, host, stack)
        gateway.ready = True
        gc.collect()
        gc.freeze()                         # what was made at the start lives for ever: never walk it again
        gc.set_threshold(50_000, 50, 100)
        ready()
        await stop.wait()
        log.info("worker %d drains", index)
        await asyncio.gather(*(server.drain(conf.server.drain_s) for server in servers))
        gateway.ready = False
        await settled(gateway)


async def open_gateway(conf: Conf, index: int, host: Host, stack: contextlib.AsyncExitStack) -> Gateway:
    """The engine, opened; the stack closes it."""
    clock, registry = SystemClock(), host.registry
    node = f"{conf.data.node or socket.gethostname().split('.')[0]}-{index}"
    store = Counted(registry.adapter("store", conf.store.url, conf.file))
    await store.open()
    stack.push_async_callback(store.close)
    limiter = registry.adapter("limiter", conf.limiter.url, conf.file)
    await limiter.open()
    stack.push_async_callback(limiter.close)

    ledger = Ledger(store, node, clock)
    root = journal_root(conf)
    journal = Journal(root / node, node, clock)
    await journal.open()
    stack.callback(journal.close)
    name = f"{node}-{journal.boot}"
    leases = Leases(ledger, clock, name, journal.intent)
    metrics = Metrics()
    access = Access(sys.stdout.fileno(), index)
    stack.callback(access.flush)
    tell = host.usage if host.listens else None
    shipper = Shipper(journal, leases, store, teller := Teller(tell))
    stack.push_async_callback(give_back, shipper, leases)

    pepper = open_pepper(conf.data_folder, conf.secrets.pepper)
    with contextlib.suppress(StoreAway):    # then it is checked at the next start
        await check_pepper(store, pepper)
    keys = Keys(store, pepper, now_ms=clock.now_ms)
    stack.push_async_callback(keys.close)
    sealer = open_ring(conf.data_folder, conf.secrets.key_ring)
    snapshots = SnapshotKeeper(store, registry, sealer, conf.data_folder, listeners=(keys.apply,),
                               secret=host.secret)
    people = People(store, sealer, limiter, clock, conf.data_folder)
    stack.callback(people.close)
    pool = Pool()
    stack.push_async_callback(pool.close)
    with contextlib.suppress(StoreAway):    # the sign-in page makes it, too
        await people.first_run()
    gateway = Gateway(conf=conf, node=node, registry=registry, store=store, clock=clock, limiter=limiter,
                      ledger=ledger, leases=leases, journal=journal, keys=keys, snapshots=snapshots, pool=pool,
                      access=access, metrics=metrics, catalog=Catalog(store, sealer, node=node), sealer=sealer,
                      pepper=pepper, people=people, audit=Audit(store, node, clock, pepper), plugins=host.plugins,
                      strict=conf.money.durability == "strict")
    stack.push_async_callback(gateway.answers.close)
    gateway.vouchers = Vouchers(store, ledger, pepper, clock)
    gateway.keyed = KeyedCalls(store, clock, name)
    stack.push_async_callback(gateway.keyed.close)
    await host.open(gateway)
    stack.push_async_callback(host.close, gateway)
    stack.push_async_callback(tell_last, shipper, teller)
    await own_remains(journal, store, ledger, tell)
    await snapshots.open()                  # after the plugins: some know their base URL only now
    stack.push_async_callback(snapshots.close)
    gateway.media = registry.adapter("media", conf.media.url, conf.file)
    await gateway.media.open()
    stack.push_async_callback(gateway.media.close)
    gateway.jobs = Jobs(gateway, gateway.media)
    await gateway.jobs.open()
    stack.push_async_callback(gateway.jobs.close)
    reaper = Reaper(store, ledger, leases, name, clock, (gateway.vouchers.finish, gateway.keyed.sweep, Pruner(store, ledger, clock).some))
    for work in (leases.run, shipper.run, reaper.beats, reaper.run, partial(orphans, root, journal, store, ledger, tell),
                 partial(measure, gateway), watch_lag, partial(figures.tell, gateway), trim_now_and_then):
        stack.push_async_callback(ended, asyncio.create_task(kept(work)))
    return gateway


async def open_servers(conf: Conf, gateway: Gateway, host: Host, stack: contextlib.AsyncExitStack) -> list[FrontServer]:
    """The listening server, and that of the admin port if there is one: the wires' paths by the hot door, all else by
    Tornado."""
    registry = gateway.registry
    doors = HotPaths({path.encode(): Door(gateway, wire, conf.server.max_body)
                      for path, wire in registry.paths.items()})
    edge = Edge(connections_max=conf.server.max_connections or sys.maxsize,
                connections_per_ip=conf.server.max_connections_per_ip or sys.maxsize)
    routes = [*found_routes(gateway), *console.routes(gateway, guests(gateway))]
    stack.push_async_callback(console.close)
    public, admin = parted(routes)
    here = conf.server
    places = [(public if here.admin_port else routes, doors, here.host, here.port, False)]
    if here.admin_port:
        places.append((admin, {}, here.admin_host, here.admin_port, True))
    proxies, trace, render = Proxies(here.trusted_proxies), TraceHeaders(registry.paths), renderer(registry)
    servers: list[FrontServer] = []
    gateway.connections = lambda: sum(server.counts()["connections"] for server in servers)
    for rows, hot, address, port, is_admin in places:
        server = FrontServer(make_app(rows, trace, is_admin), hot, render, edge, proxies=proxies)
        stack.push_async_callback(server.close)
        servers.append(server)
        await server.listen(address, port, reuse_port=True)
    return servers


def journal_root(conf: Conf) -> Path:
    """Where the workers of this node keep their journals, a folder each."""
    return conf.data_folder / "journal"


async def own_remains(journal: Journal, store: Counted, ledger: Ledger, tell: Tell | None) -> None:
    """Bring home what an earlier start of this worker left; with the store away, `orphans` does it later."""
    try:
        report = await replay(journal.folder, store, ledger, journal, tell)
    except StoreAway as away:
        log.warning("what an earlier start left in the journal waits for the store: %s", away)
        return
    if report is not None and report.records:
        log.warning("replayed the journal: %s", report)


async def orphans(root: Path, journal: Journal, store: Counted, ledger: Ledger, tell: Tell | None,
                  every_s: float = ORPHANS_S) -> None:
    """Bring home, now and then, what dead neighbours left, and what is still there of our own earlier starts."""
    while True:
        await asyncio.sleep(every_s)
        await own_remains(journal, store, ledger, tell)
        try:
            for report in await replay_neighbours(root, store, ledger, journal.node, tell):
                log.warning("replayed a dead neighbour's journal: %s", report)
        except StoreAway as away:
            log.warning("a neighbour's journal waits for the store: %s", away)


async def measure(gateway: Gateway) -> None:
    """Keep the figures of this process up to date for whichever worker is asked."""
    while True:
        gateway.metrics.update(gateway)
        await asyncio.sleep(METRICS_S)


async def settled(gateway: Gateway) -> None:
    """Wait a little for calls that go on without their client, then end what is left; of rounds the tools that ran are
    charged by a task, as soon as the others have ended."""
    await until(lambda: not gateway.calls and not gateway.between, SETTLE_S)
    for call in [*gateway.calls, *gateway.between]:
        call.stop()
    await until(lambda: not gateway.between, CHARGE_S)


async def until(true: Callable[[], bool], most_s: float) -> None:
    """Wait until it is so, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            while not true():
                await asyncio.sleep(0.05)


async def tell_last(shipper: Shipper, teller: Teller) -> None:
    """Before the plugins are closed: ship what is left and let them hear of it."""
    try:
        await shipper.drain()
    except StoreAway as away:
        log.warning("the plugins hear of the last usage at the next start: %s", away)
    finally:
        await teller.close()


async def give_back(shipper: Shipper, leases: Leases) -> None:
    """The last of the books: ship what is left, return the leases. With the store away the journal keeps it all."""
    try:
        await shipper.drain()
        await leases.close_all()
    except StoreAway as away:
        log.warning("the journal keeps what could not be shipped: %s", away)


async def ended(task: asyncio.Task) -> None:
    """Cancel a background task and wait for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
