"""Giving back what a request was charged: once per idempotency key, never more than it cost in all.

The refunds of a request are numbered: the n-th is the ledger's op `refund:<rid>:<n>`, so two people who refund at the
same moment cannot both be the n-th, and whoever comes second sees what the first gave back.
"""

import itertools

from smartoken.domain import hold
from smartoken.domain.account import Declined
from smartoken.domain.usage import UsageRecord
from smartoken.engine.ledger import Ledger, same
from smartoken.errors import ConfigError
from smartoken.ports import Entry, Store

NEAR = 64


async def find_record(store: Store, acct: str, rid: str) -> UsageRecord | None:
    """The stored record of an account's request; None when there is none (it is stored within seconds)."""
    # Rows come by ascending rid; all but the last character is before the one that is asked for, and not far.
    rows = await store.usage(acct, after=rid[:-1], limit=NEAR) if len(rid) > 8 else []
    return next((row for row in rows if row.rid == rid), None)


async def record_of(store: Store, acct: str, rid: str) -> UsageRecord:
    """The same; ConfigError when there is none."""
    found = await find_record(store, acct, rid)
    if found is None:
        raise ConfigError(f"Account '{acct}' has no stored request '{rid}'.")
    return found


async def refund(ledger: Ledger, acct: str, rid: str, amount_u: int, key: str, *, reason: str, actor: str) -> Entry:
    """Give back µUSD (0: all that is left) of a request, to the pockets that paid. The same `key` again changes nothing.

    Declined: excess, amount, reused (the key was used with another amount). ConfigError: no such request.
    """
    record = await record_of(ledger.store, acct, rid)
    charged_u, before_u = sum(record.split.values()) // 1_000_000, 0
    for number in itertools.count(1):
        op = f"refund:{rid}:{number}"
        entry = await ledger.store.entry_by_op(acct, op)
        if entry is None:
            amount_left_u = amount_u or charged_u - before_u
            if amount_left_u <= 0:
                raise Declined("excess", f"nothing of {rid} is left to refund")
            entry = await ledger.commit(acct, op, "refund", lambda state, before_u=before_u, u=amount_left_u: hold.refund(
                state, rid=rid, split=record.split, before_u=before_u, amount_u=u, at_ms=ledger.clock.now_ms(),
                key=key, reason=reason, actor=actor))
        if entry.delta["key"] == key:
            return same(entry, amount_u) if amount_u else entry
        before_u += entry.delta["u"]
    raise AssertionError("unreachable")
