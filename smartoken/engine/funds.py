"""How much a lease should take, from which pockets, and what to tell a client when it cannot be had. Pure."""

from typing import NamedTuple

from smartoken.domain.account import MAIN, Declined, State
from smartoken.domain.hold import burning_order, free_u
from smartoken.domain.money import P_PER_U, ceil_u
from smartoken.engine.holds import Lease
from smartoken.errors import Refusal, refuse

SHORTEST_S, LONGEST_S = 5, 150         # a fill lasts this long at the account's rate of spending …
TARGET, MOST = 50, 10                  # … as near as it can to a 50th of what is available, never above a 10th
HOLDS = 8                              # and is good for some requests like the one that asked for it


class Span(NamedTuple):
    """What a poor account's call may hold, in pUSD: the least that is worth a call, and all that it could ever cost."""

    least_p: int
    full_p: int


def size_u(available_u: int, one_u: int, all_u: int, rate_u: int) -> tuple[int, bool]:
    """(µUSD to lease, poor) for one hold, and for all that wait. Poor accounts lease only what is needed, so that any
    process can use their last cents."""
    if available_u // MOST < 2 * one_u:
        return all_u, True
    want = max(min(max(available_u // TARGET, rate_u * SHORTEST_S), rate_u * LONGEST_S), HOLDS * one_u)
    return max(all_u, min(want, available_u // MOST)), False


def fill(lease: Lease, state: State, slug: str, now_ms: int, one_p: int, all_p: int,
         span: Span | None = None) -> tuple[dict[str, int], bool]:
    """({pocket: µUSD to lease}, poor) so that a hold of `one_p` fits, and those of `all_p` if they can. For a poor
    account with a `span`, as much of that as there is.

    First what the hold itself lacks, walking the burning order as the hold will; then more, ahead of need.
    """
    order = burning_order(state, slug, now_ms)
    available_u = free_u(state, order, lease.floor_u)
    soft_p = one_p
    if span is not None and available_u // MOST < 2 * ceil_u(soft_p):
        all_p = all_p * span.full_p // max(1, soft_p)
        reach_p = sum(lease.free.get(name, 0) for name in order) + available_u * P_PER_U
        one_p = max(span.least_p, min(span.full_p, reach_p))
    amt: dict[str, int] = {}
    left_p = one_p
    for name in order:
        left_p -= min(left_p, lease.free.get(name, 0))  # below zero after an overrun: then that is needed as well
        there_u = max(0, state["pockets"][name]["u"] + (lease.floor_u if name == MAIN else 0))
        part_u = min(there_u, ceil_u(left_p))
        if part_u:
            amt[name] = part_u
            left_p = max(0, left_p - part_u * P_PER_U)
    if left_p:
        raise Declined("funds", f"{ceil_u(left_p)} µUSD are missing")
    taken_u = sum(amt.values())
    want_u, poor = size_u(available_u, ceil_u(soft_p), max(taken_u, min(ceil_u(all_p), available_u)), lease.rate_u)
    for name in order:
        there_u = max(0, state["pockets"][name]["u"] + (lease.floor_u if name == MAIN else 0)) - amt.get(name, 0)
        more_u = min(there_u, max(0, want_u - taken_u))
        if more_u:
            amt[name] = amt.get(name, 0) + more_u
            taken_u += more_u
    return amt, poor


def likely_hold_p(state: State, order: list[str], floor_u: int, soft_p: int, span: Span) -> int:
    """pUSD that a call would hold of the pockets of `order`: `soft_p`, or of a poor account what `fill` would give it."""
    available_u = free_u(state, order, floor_u)
    if available_u // MOST >= 2 * ceil_u(soft_p):
        return soft_p
    usable_p = usable_u(state, order, floor_u, {}) * P_PER_U
    return max(span.least_p, min(span.full_p, usable_p))


def usable_u(state: State, order: list[str], floor_u: int, mine: dict[str, Lease]) -> int:
    """µUSD that the pockets of `order` have, what lies unspent in leases included, what jobs hold not. What `mine`
    spent is known better here than in the ledger."""
    all_u = _with_leases(state, mine)
    return sum(max(0, all_u[name] + (floor_u if name == MAIN else 0)) for name in order)


def _with_leases(state: State, mine: dict[str, Lease]) -> dict[str, int]:
    all_u = {name: pocket["u"] for name, pocket in state["pockets"].items()}
    for id, lease in state["leases"].items():
        spent_p = mine[id].spent if id in mine else lease["spent_p"]
        for name, amount_u in lease["amt"].items():
            all_u[name] = all_u.get(name, 0) + amount_u - spent_p.get(name, 0) // P_PER_U
    return all_u


def why_not(state: State, slug: str, need_p: int, now_ms: int, floor_u: int, mine: dict[str, Lease]) -> Refusal:
    """The refusal for a hold that could not be had: empty, held by calls in flight, or only vouchers for others left.

    What `mine` spent is known better here than in the ledger.
    """
    all_u = _with_leases(state, mine)
    for job in state["pend"].values():
        for name, amount_u in job["amt"].items():
            all_u[name] = all_u.get(name, 0) + amount_u
    order = burning_order(state, slug, now_ms)
    able_u = sum(max(0, all_u[name] + (floor_u if name == MAIN else 0)) for name in order)
    if able_u >= ceil_u(need_p):
        return refuse("insufficient_balance", "The balance is held by this account's other requests in flight.",
                      code="in_flight_budget_exhausted", retry_after_s=2)
    others_u = sum(all_u[name] for name, pocket in state["pockets"].items()
                   if name not in order and (not pocket["exp_ms"] or pocket["exp_ms"] > now_ms))
    if able_u <= 0 and others_u > 0:
        return refuse("permission", f"Only vouchers are left on this account and none covers the model '{slug}'.",
                      code="voucher_not_applicable")
    return refuse("insufficient_balance", "The account's balance does not cover this request.",
                  code="insufficient_balance", should_retry=False)
