"""The Store on one SQLite file: `sqlite:///relative.db` or `sqlite:////absolute.db`, on a local disk only.

SQLite allows one writer at a time, so one thread writes: it takes everything that queued while the last transaction was
being synced, puts it into one BEGIN IMMEDIATE (each write in a savepoint of its own, so that one that fails leaves its
neighbours alone) and answers all of them after the commit. WAL and synchronous=FULL: what was answered is on disk.
Reads run beside it on connections of their own. Only operations that MongoDB has as well are used.
"""

import asyncio
import json
import os
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from smartoken.adapters import sqlite_usage
from smartoken.domain.usage import UsageRecord, UsageSum
from smartoken.errors import ConfigError, StoreAway
from smartoken.ports import APPENDED, COLLECTIONS, OP_TAKEN, SEQ_TAKEN, Entry, Store

BUSY_MS = 5000
BATCH = 256                    # writes in one transaction, so that none waits for an endless one
WRITER_KIB = 32_768            # pages that the writer keeps: rows of usage touch many places of their indexes
READERS = 2                    # a long scan must not hold up a balance
INDEXED = (("keys", "acct"), ("keys", "kid"), ("accounts", "name"), ("jobs", "open"), ("sessions", "admin"), ("vouchers", "id"), ("vouchers", "batch"),
           ("claims", "voucher"), ("claims", "state"), ("idempotency", "hour"))

SCHEMA = [
    *(f"CREATE TABLE IF NOT EXISTS {name} (id TEXT PRIMARY KEY, rev INTEGER NOT NULL, body TEXT NOT NULL)"
      for name in COLLECTIONS),
    *(f"CREATE INDEX IF NOT EXISTS {name}_{field} ON {name} (json_extract(body, '$.{field}'))"
      for name, field in INDEXED),
    "CREATE TABLE IF NOT EXISTS entries (chain TEXT NOT NULL, seq INTEGER NOT NULL, op TEXT NOT NULL,"
    " body TEXT NOT NULL, UNIQUE (chain, seq), UNIQUE (chain, op))",
    *sqlite_usage.SCHEMA,
]

AWAY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
                  sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM})

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_entry = msgspec.json.Decoder(Entry)
_record = msgspec.json.Decoder(UsageRecord)
_text = msgspec.json.Encoder()


def open_sqlite(url: str) -> Store:
    """The Store of a `sqlite:` URL, not yet opened. `?busy_ms=` changes how long to wait for another writer."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.scheme != "sqlite" or parts.netloc or not path:
        raise ConfigError(f"store url {url!r}: write sqlite:///relative.db or sqlite:////absolute/path.db")
    busy = parse_qs(parts.query).get("busy_ms", [str(BUSY_MS)])[0]
    if not busy.isdigit():
        raise ConfigError(f"store url {url!r}: busy_ms must be a whole number of milliseconds")
    return SqliteStore(Path(path), int(busy))


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 where the sqlite3 module raised on its own account."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _dump(doc: Mapping[str, Any]) -> str:
    return json.dumps(doc, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _table(collection: str) -> str:
    if collection not in COLLECTIONS:
        raise ValueError(f"no collection {collection!r}; ports.COLLECTIONS lists them")
    return collection


class SqliteStore:
    """See ports.Store. Make it with open_sqlite."""

    def __init__(self, path: Path, busy_ms: int = BUSY_MS):
        self._path, self._busy_ms = path, busy_ms
        self._writes: queue.SimpleQueue = queue.SimpleQueue()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._readers: ThreadPoolExecutor | None = None
        self._writer: threading.Thread | None = None

    # -- life

    async def open(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, "sqlite-read")
        try:
            await asyncio.wrap_future(self._readers.submit(self._prepare))
        except BaseException:
            self._readers.shutdown()
            self._readers = None
            raise
        self._writer = threading.Thread(target=self._write_loop, name="sqlite-write", daemon=True)
        self._writer.start()

    def _prepare(self) -> None:
        """Make file and tables. Turning WAL on wants the file for itself, and the busy timeout does not cover that."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StoreAway(f"cannot open {self._path}: {error.strerror}") from error
        deadline = time.monotonic() + max(self._busy_ms, 1000) / 1000
        while True:
            try:
                connection = self._connect()
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    for statement in SCHEMA:
                        connection.execute(statement)
                    connection.execute("COMMIT")
                finally:
                    connection.close()
                break
            except sqlite3.OperationalError as error:
                if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > deadline:
                    raise self._away(error) from error
                time.sleep(0.02)
        for _ in range(READERS):
            self._idle.put(self._connect())

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._busy_ms / 1000, isolation_level=None,
                                     check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    async def close(self) -> None:
        writer, readers, self._writer, self._readers = self._writer, self._readers, None, None
        if writer is not None:
            self._writes.put(None)
            await asyncio.to_thread(writer.join)
        if readers is not None:
            await asyncio.to_thread(readers.shutdown)
        while not self._idle.empty():
            self._idle.get().close()

    async def ping(self) -> None:
        await self._read(lambda connection: connection.execute("SELECT 1 FROM usage LIMIT 1").fetchall())

    # -- the two ways in

    async def _read(self, job: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._readers is None:
            raise StoreAway(f"{self._path} is not open")
        return await asyncio.wrap_future(self._readers.submit(self._read_now, job))

    def _read_now(self, job):
        connection = self._idle.get()
        try:
            return job(connection)
        except sqlite3.Error as error:
            raise self._away(error) from error
        finally:
            self._idle.put(connection)

    async def _write(self, job: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._writer is None:
            raise StoreAway(f"{self._path} is not open")
        future: Future = Future()
        self._writes.put((job, future))
        return await asyncio.wrap_future(future)

    def _away(self, error: sqlite3.Error) -> Exception:
        """StoreAway for what may pass; the error itself for what is a fault of ours or a damaged file."""
        return StoreAway(f"{self._path}: {error}") if _code(error) in AWAY else error

    # -- the writer thread

    def _write_loop(self) -> None:
        connection: sqlite3.Connection | None = None
        stop = False
        while not stop:
            batch = [self._writes.get()]
            while len(batch) < BATCH and not self._writes.empty():
                batch.append(self._writes.get())
            stop = None in batch
            jobs = [item for item in batch if item is not None and item[1].set_running_or_notify_cancel()]
            if jobs:
                connection = self._transact(connection, jobs)
        if connection is not None:
            connection.close()

    def _transact(self, connection: sqlite3.Connection | None, jobs: list) -> sqlite3.Connection | None:
        """Run the jobs in one transaction and answer each; gives the connection back, None if it must be renewed."""
        outcomes: list[tuple[Future, Any, BaseException | None]] = []
        try:
            if connection is None:
                connection = self._connect()
                connection.execute(f"PRAGMA cache_size = -{WRITER_KIB}")
            connection.execute("BEGIN IMMEDIATE")
            for job, future in jobs:
                connection.execute("SAVEPOINT one")
                try:
                    outcomes.append((future, job(connection), None))
                except (sqlite3.OperationalError, sqlite3.InternalError):
                    raise
                except Exception as error:
                    connection.execute("ROLLBACK TO one")
                    outcomes.append((future, None, error))
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            away = self._away(error)
            outcomes = [(future, None, away) for _, future in jobs]
            if connection is not None:
                connection.close()  # rolls back
            connection = None
        for future, result, error in outcomes:
            future.set_exception(error) if error is not None else future.set_result(result)
        return connection

    # -- documents

    async def get(self, collection: str, id: str) -> dict | None:
        sql = f"SELECT body FROM {_table(collection)} WHERE id = ?"
        row = await self._read(lambda connection: connection.execute(sql, (id,)).fetchone())
        return None if row is None else json.loads(row[0])

    async def find(self, collection: str, where: Mapping[str, str | int] | None = None, *, after: str = "",
                   limit: int = 1000) -> list[dict]:
        tests, values = ["id > ?"], [after]
        for field, value in (where or {}).items():
            if not _FIELD.fullmatch(field) or type(value) not in (str, int):
                raise ValueError(f"cannot look for {field!r} = {value!r}: a plain field name and a str or an int only")
            # The field stands in the text, not in a parameter: an index on an expression is found only so.
            tests.append(f"json_extract(body, '$.{field}') = ?")
            values.append(value)
        sql = f"SELECT body FROM {_table(collection)} WHERE {' AND '.join(tests)} ORDER BY id LIMIT ?"
        rows = await self._read(lambda connection: connection.execute(sql, (*values, limit)).fetchall())
        return [json.loads(row[0]) for row in rows]

    async def insert(self, collection: str, doc: dict) -> bool:
        sql = f"INSERT INTO {_table(collection)} (id, rev, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        values = (doc["_id"], doc["rev"], _dump(doc))
        return await self._write(lambda connection: connection.execute(sql, values).rowcount == 1)

    async def replace(self, collection: str, doc: dict, rev: int) -> bool:
        sql = f"UPDATE {_table(collection)} SET rev = ?, body = ? WHERE id = ? AND rev = ?"
        values = (doc["rev"], _dump(doc), doc["_id"], rev)
        return await self._write(lambda connection: connection.execute(sql, values).rowcount == 1)

    async def remove(self, collection: str, id: str, rev: int) -> bool:
        sql = f"DELETE FROM {_table(collection)} WHERE id = ? AND rev = ?"
        return await self._write(lambda connection: connection.execute(sql, (id, rev)).rowcount == 1)

    # -- chains

    async def append(self, entry: Entry) -> str:
        body = _text.encode(entry).decode()

        def job(connection: sqlite3.Connection) -> str:
            sql = "SELECT 1 FROM entries WHERE chain = ? AND op = ?"
            if connection.execute(sql, (entry.chain, entry.op)).fetchone():
                return OP_TAKEN
            sql = "INSERT INTO entries (chain, seq, op, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            done = connection.execute(sql, (entry.chain, entry.seq, entry.op, body)).rowcount == 1
            return APPENDED if done else SEQ_TAKEN

        return await self._write(job)

    async def head(self, chain: str) -> Entry | None:
        return await self._one("chain = ? ORDER BY seq DESC LIMIT 1", chain)

    async def entry_by_op(self, chain: str, op: str) -> Entry | None:
        return await self._one("chain = ? AND op = ?", chain, op)

    async def _one(self, test: str, *values: str) -> Entry | None:
        sql = f"SELECT body FROM entries WHERE {test}"
        row = await self._read(lambda connection: connection.execute(sql, values).fetchone())
        return None if row is None else _entry.decode(row[0])

    async def entries(self, chain: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        sql = "SELECT body FROM entries WHERE chain = ? AND seq > ? ORDER BY seq LIMIT ?"
        rows = await self._read(lambda connection: connection.execute(sql, (chain, after, limit)).fetchall())
        return [_entry.decode(row[0]) for row in rows]

    async def remove_entries(self, chain: str, seqs: Sequence[int]) -> None:
        sql = "DELETE FROM entries WHERE chain = ? AND seq = ?"
        await self._write(lambda connection: connection.executemany(sql, [(chain, seq) for seq in seqs]) and None)

    async def chains(self, *, after: str = "", limit: int = 1000) -> list[str]:
        # From one chain's name to the next by the index: DISTINCT would walk through every entry.
        step = "SELECT MIN(chain) FROM entries WHERE chain > "
        sql = (f"WITH RECURSIVE names(name) AS ({step} ? UNION ALL SELECT ({step} name) FROM names WHERE name IS NOT NULL"
               " LIMIT ?) SELECT name FROM names WHERE name IS NOT NULL")
        rows = await self._read(lambda connection: connection.execute(sql, (after, limit)).fetchall())
        return [row[0] for row in rows]

    # -- usage

    async def put_usage(self, records: Sequence[UsageRecord]) -> int:
        rows = [sqlite_usage.row_of(record) for record in records]
        return await self._write(lambda connection: sqlite_usage.put(connection, records, rows))

    async def usage(self, acct: str = "", *, since_ms: int = 0, until_ms: int = 2**62, after: str = "",
                    limit: int = 1000) -> list[UsageRecord]:
        whose, values = ("acct = ? AND ", [acct]) if acct else ("", [])
        sql = (f"SELECT body FROM usage WHERE {whose}rid > ? AND at_ms >= ? AND at_ms < ? ORDER BY rid LIMIT ?")
        values += [after, since_ms, until_ms, limit]
        rows = await self._read(lambda connection: connection.execute(sql, values).fetchall())
        return [_record.decode(row[0]) for row in rows]

    async def usage_page(self, where: Mapping[str, str] | None = None, *, before: str = "", since_ms: int = 0,
                         until_ms: int = 2**62, limit: int = 50) -> list[UsageRecord]:
        return await self._read(lambda connection: sqlite_usage.page(connection, where or {}, before, since_ms,
                                                                     until_ms, limit))

    async def usage_sums(self, by: Sequence[str], where: Mapping[str, str] | None = None, *, since_day: int = 0,
                         until_day: int = 2**31, limit: int = 1000) -> list[UsageSum]:
        return await self._read(lambda connection: sqlite_usage.sums(connection, by, where or {}, since_day, until_day,
                                                                     limit))

    async def usage_cost_p(self, acct: str) -> int:
        return await self._read(lambda connection: sqlite_usage.cost_p(connection, acct))
