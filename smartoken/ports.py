"""What the engine asks of the outside: Store, Limiter, Media, Clock. Adapters are chosen by URL scheme in conf.

A Store keeps three kinds of things, with operations that every store can do atomically (an insert against a unique
key; a replace that names the revision it replaces), so that no adapter needs a transaction over two documents:

- documents: catalog-sized dicts with `_id` (str) and `rev` (int), in the collections of COLLECTIONS;
- chains: append-only lists of entries, unique by (chain, seq) and by (chain, op). A ledger is the chain of an account;
  the chain CHANGES says which documents changed, so that every process can follow;
- usage: immutable rows keyed by `rid`.

Every method may raise StoreAway (unreachable, timed out, reply lost). Whoever gets it re-reads before trying again.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from smartoken.domain.usage import UsageRecord, UsageSum

COLLECTIONS = ("models", "prices", "channels", "categories", "listings", "voices", "accounts", "keys", "nodes",
               "answers", "oauth_tokens", "jobs", "admins", "sessions", "figures", "vouchers", "claims", "idempotency")
CHANGES = "~changes"  # the chain of catalog changes; no account id starts with '~'

APPENDED, SEQ_TAKEN, OP_TAKEN = "appended", "seq_taken", "op_taken"


class Entry(msgspec.Struct, frozen=True):
    """One link of a chain. `state` is the whole state after it; `hash` covers `prev_hash` and everything else."""

    chain: str
    seq: int
    op: str
    kind: str
    at_ms: int
    node: str
    delta: dict[str, Any]
    state: dict[str, Any]
    prev_hash: str = ""
    hash: str = ""


class Store(Protocol):
    """See the module's docstring. Amounts are int64; ids are strings; results are bounded by `limit`."""

    async def open(self) -> None:
        """Connect, make tables and indexes. Safe from many processes at once."""

    async def close(self) -> None: ...

    async def ping(self) -> None:
        """Return when the store answers; StoreAway when it does not."""

    async def get(self, collection: str, id: str) -> dict | None: ...

    async def find(self, collection: str, where: Mapping[str, str | int] | None = None, *, after: str = "",
                   limit: int = 1000) -> list[dict]:
        """Documents whose fields equal `where`, by ascending `_id`, those after `after` only."""

    async def insert(self, collection: str, doc: dict) -> bool:
        """False when the `_id` is taken, and then nothing has changed."""

    async def replace(self, collection: str, doc: dict, rev: int) -> bool:
        """Put `doc` (whose `rev` is the new one) in place of the one with revision `rev`; False if that is not there."""

    async def remove(self, collection: str, id: str, rev: int) -> bool: ...

    async def append(self, entry: Entry) -> str:
        """APPENDED, or SEQ_TAKEN / OP_TAKEN when the chain has such a seq / op already (op wins when both hold)."""

    async def head(self, chain: str) -> Entry | None:
        """The newest entry as the primary has it now."""

    async def entry_by_op(self, chain: str, op: str) -> Entry | None: ...

    async def entries(self, chain: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Entries with seq > after, ascending."""

    async def remove_entries(self, chain: str, seqs: Sequence[int]) -> None:
        """Take entries away for good; those that are not there are. Never a chain's newest: the caller sees to it."""

    async def chains(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Names of chains, ascending."""

    async def put_usage(self, records: Sequence[UsageRecord]) -> int:
        """Store those whose `rid` is new and say how many; one already there is left as it is. All or StoreAway."""

    async def usage(self, acct: str = "", *, since_ms: int = 0, until_ms: int = 2**62, after: str = "",
                    limit: int = 1000) -> list[UsageRecord]:
        """Rows of an account ('' is every account: operators only), by ascending rid; rids sort by time."""

    async def usage_page(self, where: Mapping[str, str] | None = None, *, before: str = "", since_ms: int = 0,
                         until_ms: int = 2**62, limit: int = 50) -> list[UsageRecord]:
        """Rows whose fields (of USAGE_FIELDS) equal `where`, newest first: by descending rid, those before `before`
        only. For people: indexed by each field, so that a page takes no longer however many rows there are."""

    async def usage_sums(self, by: Sequence[str], where: Mapping[str, str] | None = None, *, since_day: int = 0,
                         until_day: int = 2**31, limit: int = 1000) -> list[UsageSum]:
        """Rows summed by fields of SUM_FIELDS, over the days since_day <= day < until_day; `where` as in usage_page,
        but for rid and status. By cost, the highest first; by day, ascending, when `by` begins with "day". From sums
        that the store keeps beside the rows, each row once: for overviews, never for charging."""

    async def usage_cost_p(self, acct: str) -> int:
        """Σ cost_p over all rows of an account, exactly (a Python int; it may pass int64)."""


class Want(msgspec.Struct, frozen=True, gc=False):
    """One limit that a request takes from: `limit` per minute, `cost` now, `burst_s` seconds' worth of burst."""

    key: str
    limit: int
    cost: int
    burst_s: int = 60


class Limiter(Protocol):
    """GCRA in integer microseconds. All of a request's wants are checked first, then taken together, or none.

    Synchronous: the request path never waits for a limiter; one that lives elsewhere spends quota it fetched before.
    """

    def take(self, wants: Sequence[Want]) -> tuple[Want, int] | None:
        """None when taken; else the want that refused and the microseconds until it would pass."""

    def correct(self, want: Want, actual: int) -> None:
        """After settling: the want's cost was really `actual`."""

    def left(self, want: Want) -> tuple[int, int]:
        """(how many may still be taken now, microseconds until the limit is whole again)."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Media(Protocol):
    """Where generated images and videos live for ever. A key is ours to choose (domain/media.py): a date, a word that
    nobody can guess, an ending. Every method may raise MediaAway; then the same call may simply be made again.
    """

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> None:
        """Keep what `chunks` yields, all of it or nothing; under a key that is there already it takes its place.

        What the iterator raises comes through, and leaves nothing behind. Memory stays bounded, however much comes.
        """

    def url(self, key: str) -> str:
        """Where clients find it: an absolute URL, or a path that this gateway serves itself."""

    def read(self, key: str) -> AsyncIterator[bytes]:
        """Its bytes again; FileNotFoundError when there is nothing under the key."""

    async def remove(self, key: str) -> None:
        """Nothing is there afterwards, whether anything was before or not."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time comes in here, so that a test can hold it."""

    def now_ms(self) -> int:
        """Wall clock, for records only."""

    def mono_us(self) -> int:
        """Monotonic microseconds, for leases, limits and time-outs."""
