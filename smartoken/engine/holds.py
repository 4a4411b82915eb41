"""Holds and the leases they come from, in memory: plain synchronous arithmetic, never an await, one thread.

`free` is what of a lease is neither held nor spent, in pUSD per pocket; it goes below zero when a request costs more
than it held. `spent` only ever rises: it is what the ledger is told.
"""

import asyncio
from collections.abc import Sequence

from smartoken.domain.account import MAIN, State
from smartoken.domain.hold import burning_order, split_cost
from smartoken.domain.money import P_PER_U

LOW = 60                       # percent of the last fill below which a lease asks for more
STOP_S = 30                    # no more holds this long before the lease expires


class Lease:
    """What this process may spend for one account. `state` is the account's as of `seq`, the last entry we saw."""

    __slots__ = ("acct", "amt", "born_us", "closing", "filled_p", "filled_rate_u", "filling", "floor_u", "flushed", "flushes", "free",
                 "grows", "holds", "id", "looked_us", "low_p", "orders", "orders_until_ms", "plain", "poor", "rate_u",
                 "rated_p", "seq", "slug", "spent", "state", "stop_us", "telling", "used_us")

    def __init__(self, id: str, acct: str, floor_u: int, now_us: int):
        self.id, self.acct, self.floor_u = id, acct, floor_u
        self.amt: dict[str, int] = {}
        self.free: dict[str, int] = {MAIN: 0}
        self.spent: dict[str, int] = {}
        self.flushed: dict[str, int] = {}          # what the ledger has of `spent`
        self.holds = self.seq = self.grows = self.flushes = 0
        self.state: State = {}
        self.plain = True                          # the account has no pocket but main
        self.orders: dict[str, list[str]] = {}
        self.orders_until_ms = 0
        self.slug = ""                             # the last one asked for
        self.closing = self.filling = self.poor = False
        self.low_p = self.filled_p = 0
        self.stop_us = 0
        self.born_us = self.used_us = self.looked_us = now_us
        self.rate_u = self.rated_p = 0             # µUSD a second that it spends, as of late
        self.filled_rate_u = 0                     # the rate at which it was filled last
        self.telling = asyncio.Lock()              # one flush or close of a lease at a time

    def adopt(self, state: State, seq: int, now_ms: int, now_us: int) -> bool:
        """Take over what the ledger says of this lease; False when it is no longer open there.

        Older news than what we know is passed over: it can come as the answer to a repeated op.
        """
        if seq <= self.seq:
            return self.id in self.state["leases"]
        self.state, self.seq = state, seq
        self.plain = len(state["pockets"]) == 1
        self.orders.clear()
        self.orders_until_ms = 0
        there = state["leases"].get(self.id)
        if there is None:
            return False
        for name, amount_u in there["amt"].items():
            self.free[name] = self.free.get(name, 0) + (amount_u - self.amt.get(name, 0)) * P_PER_U
        self.amt = dict(there["amt"])
        self.stop_us = now_us + (there["exp_ms"] - now_ms) * 1000 - STOP_S * 1_000_000
        return True

    def filled(self, amount_u: int) -> None:
        """It was just given so much; below LOW percent of that it will ask for more (but not from a poor account)."""
        if amount_u:
            self.filled_p = amount_u * P_PER_U
        self.filled_rate_u = self.rate_u
        self.low_p = 0 if self.poor else self.filled_p * LOW // 100

    def order(self, slug: str, now_ms: int) -> list[str]:
        """The pockets that may pay for a model now, in burning order; remembered until one of them expires."""
        if now_ms >= self.orders_until_ms:
            self.orders.clear()
            exps = [pocket.get("exp_ms", 0) for pocket in self.state["pockets"].values()]
            self.orders_until_ms = min((exp for exp in exps if exp > now_ms), default=2**62)
        order = self.orders.get(slug)
        if order is None:
            if len(self.orders) > 1000:
                self.orders.clear()
            self.orders[slug] = order = burning_order(self.state, slug, now_ms)
        return order

    def left_p(self, order: Sequence[str]) -> int:
        """What the pockets of `order` could still be asked for."""
        return sum(max(0, self.free.get(name, 0)) for name in order)

    def parts(self, order: Sequence[str], amount_p: int) -> list[tuple[str, int]] | None:
        """`amount_p` out of the pockets of `order`, or None: more must be leased first.

        A pocket that still has money in the ledger must be leased before the next one burns.
        """
        parts = []
        for name in order:
            part = min(amount_p, max(0, self.free.get(name, 0)))
            if part:
                parts.append((name, part))
                amount_p -= part
            if not amount_p:
                return parts
            if name != MAIN and self.state["pockets"][name]["u"] > 0:
                return None
        return None


class Hold:
    """Money set aside for one request. `parts` are [(pocket, pUSD)] in burning order and sum to `amount_p`.

    `spanned`: a poor account's; it holds what its span allows and there was, and the request must fit into that.
    """

    __slots__ = ("amount_p", "lease", "parts", "settled", "slug", "spanned")

    def __init__(self, lease: Lease, slug: str, amount_p: int, parts: Sequence[tuple[str, int]],
                 spanned: bool = False):
        self.lease, self.slug, self.amount_p, self.parts, self.settled = lease, slug, amount_p, parts, False
        self.spanned = spanned

    @property
    def acct(self) -> str:
        return self.lease.acct


def settle(hold: Hold, cost_p: int) -> dict[str, int]:
    """Replace a hold by the true cost, exactly once; gives which pockets paid, in pUSD. An overrun falls on main."""
    if hold.settled:
        raise RuntimeError(f"a hold on lease {hold.lease.id} was settled twice")
    if type(cost_p) is not int or cost_p < 0:
        raise ValueError(f"{cost_p!r} is not a cost in pUSD")
    hold.settled = True
    lease = hold.lease
    free, spent = lease.free, lease.spent
    lease.holds -= 1
    split = split_cost(hold.parts, cost_p)
    for name, part in hold.parts:
        free[name] += part
    for name, part in split.items():
        free[name] = free.get(name, 0) - part
        spent[name] = spent.get(name, 0) + part
    return split
