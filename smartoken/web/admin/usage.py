"""Usage: pages of rows, sums for charts, one request found by its trace id, exports."""

import csv
import io
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from smartoken.domain.pricing import Micro
from smartoken.domain.usage import SUM_FIELDS, USAGE_FIELDS, UsageRecord, UsageSum
from smartoken.engine.changes import every
from smartoken.engine.refunds import refund as give_back
from smartoken.errors import refuse
from smartoken.strict import Strict
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import File, Operation

DAY_MS = 86_400_000
PAGE = 50
SUMS_MOST = 5000
MONEY = frozenset({"cost_p", "upstream_p", "split", "price_rev", "lease"})
Millis = Annotated[str, Field(pattern=r"^[0-9]{0,15}$")]
Days = Annotated[str, Field(pattern=r"^[0-9]{1,3}$")]


class Filter(Strict):
    """Empty fields do not filter."""

    acct: str = ""
    key: str = ""
    model: str = ""
    channel: str = ""

    def where(self) -> dict[str, str]:
        return {name: value for name in USAGE_FIELDS if (value := getattr(self, name, ""))}


class RowsQuery(Filter):
    """`before`: the rid above the page wanted. Times in ms since 1970."""

    status: str = ""
    rid: str = ""
    before: str = ""
    since_ms: Millis = ""
    until_ms: Millis = ""


class SumsQuery(Filter):
    """`by`: fields to sum by, parted by commas, of day, acct, key, model, channel; the last `days` days, today too."""

    by: str = "day"
    days: Days = "30"


class ExportQuery(RowsQuery):
    format: Literal["csv", "jsonl"] = "csv"


class RefundBody(Strict):
    """`amount_u` 0: all that is left of what was charged. `op` is the idempotency key, `note` the reason."""

    amount_u: Micro = 0
    op: Annotated[str, Field(min_length=1, max_length=120)]
    note: Annotated[str, Field(min_length=3, max_length=500)]
    password: str = Field(default="", repr=False)


async def rows(desk: Desk, query: RowsQuery) -> dict[str, Any]:
    """A page of usage records, newest first; `next` is the `before` of the next page."""
    found = await desk.gateway.store.usage_page(
        query.where(), before=query.before, since_ms=int(query.since_ms or 0), until_ms=int(query.until_ms or 2**62),
        limit=PAGE + 1)
    return {"rows": [_row(desk, record) for record in found[:PAGE]],
            "next": found[PAGE - 1].rid if len(found) > PAGE else ""}


async def sums(desk: Desk, query: SumsQuery) -> dict[str, Any]:
    """Sums over days, by cost the highest first, or by day; at most SUMS_MOST of them."""
    by = tuple(name for name in query.by.split(",") if name)
    if not set(by) <= set(SUM_FIELDS) or len(set(by)) != len(by):
        raise refuse("invalid_request", f"'by' takes {', '.join(SUM_FIELDS)}, parted by commas.", param="by")
    until = today() + 1
    found = await desk.gateway.store.usage_sums(by, query.where(), since_day=until - int(query.days), until_day=until,
                                                limit=SUMS_MOST)
    return {"by": list(by), "since_day": until - int(query.days), "until_day": until,
            "sums": [_sum(desk, one) for one in found]}


async def one(desk: Desk, rid: str) -> dict[str, Any]:
    """One request by its trace id, with its price revision and what its account's books say about it."""
    found = await desk.gateway.store.usage_page({"rid": rid.strip().lower()}, limit=1)
    if not found:
        raise missing("request", rid)
    row = _row(desk, found[0])
    if desk.sees_money and found[0].price_rev:
        row["price"] = await desk.gateway.store.get("prices", found[0].price_rev)
    keys = await every(desk.gateway.store, "keys", {"kid": found[0].key})
    row["key_name"] = keys[0]["name"] if keys else ""
    account = await desk.gateway.catalog.get("accounts", found[0].acct)
    row["acct_name"] = account["name"] if account else ""
    return row


async def refund(desk: Desk, rid: str, body: RefundBody) -> dict[str, Any]:
    """Give back what a request was charged, all or some of it, once per `op`; the password is asked for again."""
    await desk.proves(body.password)
    found = await desk.gateway.store.usage_page({"rid": rid}, limit=1)
    if not found:
        raise missing("request", rid)
    entry = await give_back(desk.gateway.ledger, found[0].acct, rid, body.amount_u, body.op, reason=body.note,
                            actor=desk.who.name)
    await desk.audit("usage.refund", f"usage/{rid}", None, {"amount_u": entry.delta["u"], "op": body.op}, body.note)
    return {"rid": rid, "amount_u": entry.delta["u"], "seq": entry.seq}


async def export(desk: Desk, query: ExportQuery) -> File:
    """All rows of a filter, oldest last, as CSV or JSON lines; streamed."""
    await desk.audit("usage.export", "usage", note=str(query.where()))
    write = _csv if query.format == "csv" else _jsonl
    kind = "text/csv; charset=utf-8" if query.format == "csv" else "application/x-ndjson"
    return File(f"usage.{query.format}", kind, write(desk, query))


async def _all(desk: Desk, query: RowsQuery) -> AsyncIterator[list[dict[str, Any]]]:
    before = query.before
    while True:
        found = await desk.gateway.store.usage_page(
            query.where(), before=before, since_ms=int(query.since_ms or 0), until_ms=int(query.until_ms or 2**62),
            limit=1000)
        if found:
            yield [_row(desk, record) for record in found]
        if len(found) < 1000:
            return
        before = found[-1].rid


async def _csv(desk: Desk, query: RowsQuery) -> AsyncIterator[str]:
    fields = ["rid", "at_ms", "acct", "key", "model", "channel", "wire", "status", "http_status", "stream", "first_ms",
              "total_ms", "input", "output", "cache_read", "cache_write", "reasoning", "images", "video_ms",
              "characters", "audio_ms", "voices", "source", *(("cost_p", "price_rev") if desk.sees_money else ())]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(fields)
    async for page in _all(desk, query):
        for row in page:
            writer.writerow([_cell({**row, **row["usage"]}.get(name, "")) for name in fields])
        yield _taken(out)
    yield _taken(out)


def _cell(value: Any) -> Any:
    """A name that a spreadsheet would take for a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _taken(out: io.StringIO) -> str:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text


async def _jsonl(desk: Desk, query: RowsQuery) -> AsyncIterator[str]:
    async for page in _all(desk, query):
        yield "".join(msgspec.json.encode(row).decode() + "\n" for row in page)


def today() -> int:
    """Days since 1970, in UTC."""
    return int(time.time() * 1000) // DAY_MS


def _row(desk: Desk, record: UsageRecord) -> dict[str, Any]:
    usage = {name: getattr(record.usage, name) for name in record.usage.__struct_fields__}
    attempts = [{name: getattr(attempt, name) for name in attempt.__struct_fields__
                 if desk.sees_money or name != "cost_p"} for attempt in record.attempts]
    row = {name: getattr(record, name) for name in record.__struct_fields__}
    row |= {"usage": usage, "attempts": attempts, "tokens": record.usage.total}
    if desk.sees_money:
        return row | {"upstream_p": sum(attempt.cost_p for attempt in record.attempts)}
    return {name: value for name, value in row.items() if name not in MONEY}


def _sum(desk: Desk, found: UsageSum) -> dict[str, Any]:
    row = {name: getattr(found, name) for name in found.__struct_fields__} | {"tokens": found.tokens}
    if desk.sees_money:
        return row | {"margin_p": found.cost_p - found.upstream_p}
    return {name: value for name, value in row.items() if name not in MONEY}


OPERATIONS = [
    Operation("GET", "/usage", "usage.read", "Usage records, newest first", rows, query=RowsQuery),
    Operation("GET", "/usage/sums", "usage.read", "Sums by day, account, key, model, channel", sums, query=SumsQuery),
    Operation("GET", "/usage/export", "usage.read", "Usage records as a file", export, query=ExportQuery),
    Operation("POST", "/usage/{rid}/refunds", "money.write", "Give back what a request was charged", refund,
              RefundBody),
    Operation("GET", "/usage/{rid}", "usage.read", "One request by its trace id", one),
]
