"""The parts of one running process, put together by main.py and passed to whoever serves a request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from smartoken.engine.access import Access
from smartoken.engine.answers import Answers
from smartoken.engine.audit import Audit
from smartoken.engine.auth import Keys
from smartoken.engine.changes import Catalog
from smartoken.engine.estimate import Estimate
from smartoken.engine.health import HealthBook
from smartoken.engine.idempotency import KeyedCalls
from smartoken.engine.journal import Journal
from smartoken.engine.leases import Leases
from smartoken.engine.ledger import Ledger
from smartoken.engine.metrics import Metrics
from smartoken.engine.people import People
from smartoken.engine.routing import RetryBudget
from smartoken.engine.seal import Sealer
from smartoken.engine.snapshot import SnapshotKeeper
from smartoken.engine.voices import Voices
from smartoken.engine.vouchers import Vouchers
from smartoken.ports import Clock, Limiter, Media, Store
from smartoken.upstream.pool import Pool


@dataclass(slots=True, eq=False)
class Gateway:
    """Nothing is decided here. `ready` is True while this process can serve; `strict` keeps an answer's last bytes
    until the books are on disk."""

    conf: Any
    node: str
    registry: Any
    store: Store
    clock: Clock
    limiter: Limiter
    ledger: Ledger
    leases: Leases
    journal: Journal
    keys: Keys
    snapshots: SnapshotKeeper
    pool: Pool
    access: Access
    metrics: Metrics
    catalog: Catalog
    sealer: Sealer
    pepper: bytes = field(repr=False)
    people: People
    audit: Audit
    plugins: tuple = ()                             # plugin.host.Loaded, in the order in which they were loaded
    strict: bool = False
    ready: bool = False
    connections: Callable[[], int] = lambda: 0      # open client connections; the server sets it
    health: HealthBook = field(default_factory=HealthBook)
    retries: RetryBudget = field(default_factory=RetryBudget)
    calls: set = field(default_factory=set)         # engine.relay.Call, those that hold money
    between: set = field(default_factory=set)       # engine.toolloop.Rounds, those between two of their calls
    tools: set = field(default_factory=set)         # tasks of server-side tools that run
    estimates: dict[str, Estimate] = field(default_factory=dict)
    media: Media | None = None                      # where results are kept
    jobs: Any = None                                # engine.jobs.Jobs: long generations
    vouchers: Vouchers | None = None                # main.py puts these two in
    keyed: KeyedCalls | None = None
    answers: Answers = field(init=False)            # closed with the store
    voices: Voices = field(init=False)

    def __post_init__(self) -> None:
        self.answers = Answers(self.store, self.clock)
        self.voices = Voices(self)

    def estimate(self, slug: str) -> Estimate:
        """What was learned of a model so far."""
        found = self.estimates.get(slug)
        if found is None:
            found = self.estimates[slug] = Estimate()
        return found
