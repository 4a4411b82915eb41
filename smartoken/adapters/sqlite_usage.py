"""Usage rows in SQLite, and their sums by day, kept in the transaction that stores the rows.

What rows are looked up by stands in columns of its own, not in the body: an index on a JSON expression parses the body
once per index and row. Sums are added up in memory first, so that a batch costs a few upserts, not three per row.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from smartoken.domain.usage import SUM_FIELDS, USAGE_FIELDS, UsageRecord, UsageSum, regroup, sum_of

# The smallest table that knows all the fields asked for answers; the last knows them all.
SUMS = {"sums_by_model": ("day", "model", "channel"), "sums_by_acct": ("day", "acct"), "sums": SUM_FIELDS}
# Thousands of accounts over months would be many rows: sums_by_acct of whole weeks once more, by their first day.
WEEKS, WEEK = "sums_by_acct_weeks", 7
_TABLES = {**SUMS, WEEKS: SUMS["sums_by_acct"]}
HALF = 1_000_000_000           # sums of money are kept in two halves: one column might pass int64
_COUNTS = ("input", "output", "cache_read", "cache_write", "images", "video_ms", "characters")
_SUMMED = ("calls", "failed", *_COUNTS, "cost_hi", "cost_lo", "upstream_hi", "upstream_lo", "total_ms")
_LOOKED_UP = ("key", "model", "channel", "status")
_COLUMNS = ("rid", "acct", *_LOOKED_UP, "at_ms", "cost_p", "body")
_INSERT = (f"INSERT INTO usage ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
           " ON CONFLICT DO NOTHING")
_encode = msgspec.json.Encoder().encode
_record = msgspec.json.Decoder(UsageRecord)

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS usage (rid TEXT PRIMARY KEY, acct TEXT NOT NULL,"
    f" {', '.join(f'{name} TEXT NOT NULL' for name in _LOOKED_UP)}, at_ms INTEGER NOT NULL, cost_p INTEGER NOT NULL,"
    " body TEXT NOT NULL)",
    # It covers cost_p, so that a sum over a year reads no bodies.
    "CREATE INDEX IF NOT EXISTS usage_acct ON usage (acct, rid, at_ms, cost_p)",
    *(f"CREATE INDEX IF NOT EXISTS usage_{name} ON usage ({name}, rid)" for name in _LOOKED_UP),
    *(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} NOT NULL' for name in (*fields, *_SUMMED))},"
      f" PRIMARY KEY ({', '.join(fields)})) WITHOUT ROWID" for table, fields in _TABLES.items()),
    # A store that is older than the weeks gets them from its days.
    f"INSERT INTO {WEEKS} SELECT day - day % {WEEK}, acct, {', '.join(f'SUM({name})' for name in _SUMMED)}"
    f" FROM sums_by_acct WHERE NOT EXISTS (SELECT 1 FROM {WEEKS}) GROUP BY day - day % {WEEK}, acct",
    *(f"CREATE INDEX IF NOT EXISTS sums_{name} ON sums ({name}, day)" for name in ("acct", "key")),
)


def row_of(record: UsageRecord) -> tuple:
    """A record as its columns, by _COLUMNS."""
    return (record.rid, record.acct, record.key, record.model, record.channel, record.status, record.at_ms,
            record.cost_p, _encode(record).decode())


def put(connection: sqlite3.Connection, records: Sequence[UsageRecord], rows: Sequence[tuple]) -> int:
    """Store those whose rid is new, add them to the sums, say how many. Inside a transaction of the caller's."""
    fresh = [record for record, row in zip(records, rows, strict=True) if connection.execute(_INSERT, row).rowcount]
    sums = [sum_of(record) for record in fresh]
    weeks = [structs.replace(one, day=one.day - one.day % WEEK) for one in regroup(sums, _TABLES[WEEKS])]
    for table, fields in _TABLES.items():
        columns = (*fields, *_SUMMED)
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) ON CONFLICT DO UPDATE"
            f" SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _SUMMED)}",
            [_columns_of(one, fields) for one in regroup(weeks if table == WEEKS else sums, fields)])
    return len(fresh)


def page(connection: sqlite3.Connection, where: Mapping[str, str], before: str, since_ms: int, until_ms: int,
         limit: int) -> list[UsageRecord]:
    """See ports.Store.usage_page."""
    if not set(where) <= set(USAGE_FIELDS):
        raise ValueError(f"cannot look for {sorted(set(where) - set(USAGE_FIELDS))}; known: {USAGE_FIELDS}")
    tests = ["at_ms >= ?", "at_ms < ?", *(f"{field} = ?" for field in where), *(["rid < ?"] if before else [])]
    values = (since_ms, until_ms, *map(str, where.values()), *([before] if before else []), limit)
    sql = f"SELECT body FROM usage WHERE {' AND '.join(tests)} ORDER BY rid DESC LIMIT ?"
    return [_record.decode(row[0]) for row in connection.execute(sql, values)]


def sums(connection: sqlite3.Connection, by: Sequence[str], where: Mapping[str, str], since_day: int, until_day: int,
         limit: int) -> list[UsageSum]:
    """See ports.Store.usage_sums."""
    needed = {*by, *where}
    if not needed <= set(SUM_FIELDS):
        raise ValueError(f"cannot sum by {sorted(needed - set(SUM_FIELDS))}; known: {SUM_FIELDS}")
    table = next(name for name, fields in SUMS.items() if needed <= set(fields))
    ranges = [(table, since_day, until_day)]
    first, last = -(-since_day // WEEK) * WEEK, until_day // WEEK * WEEK
    if table == "sums_by_acct" and "day" not in by and first < last:
        ranges = [(table, since_day, first), (WEEKS, first, last), (table, last, until_day)]
    columns = ", ".join([*by, *_SUMMED])
    tests = "".join(f" AND {field} = ?" for field in where)
    source = " UNION ALL ".join(f"SELECT {columns} FROM {one} WHERE day >= ? AND day < ?{tests}" for one, _, _ in ranges)
    values = [value for _, begin, end in ranges for value in (begin, end, *map(str, where.values()))]
    order = ", ".join(by) if by and by[0] == "day" else f"SUM(cost_hi) + SUM(cost_lo) / {HALF}.0 DESC, SUM(calls) DESC"
    sql = (f"SELECT {', '.join([*by, *(f'SUM({name})' for name in _SUMMED)])} FROM ({source})"
           f"{' GROUP BY ' + ', '.join(by) if by else ''} ORDER BY {order} LIMIT ?")
    rows = connection.execute(sql, (*values, limit)).fetchall()
    return [_sum_of((*by, *_SUMMED), row) for row in rows if row[len(by)] is not None]


def cost_p(connection: sqlite3.Connection, acct: str) -> int:
    """See ports.Store.usage_cost_p. In two halves: SQLite's SUM of integers fails past int64."""
    sql = f"SELECT SUM(cost_p / {HALF}), SUM(cost_p % {HALF}) FROM usage WHERE acct = ?"
    high, low = connection.execute(sql, (acct,)).fetchone()
    return (high or 0) * HALF + (low or 0)


def _columns_of(one: UsageSum, fields: Sequence[str]) -> tuple:
    """A sum as the columns of a table by `fields`."""
    return (*(getattr(one, name) for name in fields), one.calls, one.failed, *(getattr(one, name) for name in _COUNTS),
            *divmod(one.cost_p, HALF), *divmod(one.upstream_p, HALF), one.total_ms)


def _sum_of(columns: Sequence[str], row: Sequence[Any]) -> UsageSum:
    found = dict(zip(columns, row, strict=True))
    for money in ("cost", "upstream"):
        found[f"{money}_p"] = found.pop(f"{money}_hi") * HALF + found.pop(f"{money}_lo")
    return UsageSum(**found)
