"""Who pays: the order in which pockets burn, drawing from them, and parting a cost among them. Pure.

The functions that end in a change take a state and give (state, delta), as the ledger's commit wants them; they raise
account.Declined where the books do not allow it.
"""

from collections.abc import Mapping
from typing import Any

from smartoken.domain.account import MAIN, Declined, State, change
from smartoken.domain.money import P_PER_U, ceil_u


def burning_order(state: State, slug: str, at_ms: int) -> list[str]:
    """The pockets that may pay for a model: prio, soonest expiry, narrowest list, oldest; main last."""
    fit = [(pocket["prio"], pocket["exp_ms"] or 2**62, len(pocket["models"]) or 2**62, pocket["n"], name)
           for name, pocket in state["pockets"].items()
           if name != MAIN and (not pocket["models"] or slug in pocket["models"])
           and (not pocket["exp_ms"] or pocket["exp_ms"] > at_ms)]
    return [name for *_, name in sorted(fit)] + [MAIN]


def free_u(state: State, order: list[str], floor_u: int = 0) -> int:
    """µUSD that may still be set aside from the pockets of `order`; the main one may go down to -floor_u."""
    return sum(max(0, state["pockets"][name]["u"] + (floor_u if name == MAIN else 0)) for name in order)


def draw(state: State, order: list[str], amount_u: int, floor_u: int = 0) -> dict[str, int]:
    """Which pockets give `amount_u`, in burning order; Declined('funds') when they cannot."""
    amt: dict[str, int] = {}
    for name in order:
        part = min(amount_u, max(0, state["pockets"][name]["u"] + (floor_u if name == MAIN else 0)))
        if part:
            amt[name] = part
            amount_u -= part
    if amount_u:
        raise Declined("funds", f"{amount_u} µUSD are missing")
    return amt


def pend(state: State, *, rid: str, slug: str, amount_u: int, at_ms: int, floor_u: int = 0) -> tuple[State, dict]:
    """Set µUSD aside for a long job from the pockets that may pay for its model."""
    amt = draw(state, burning_order(state, slug, at_ms), amount_u, floor_u)
    return change("pend", rid=rid, amt=amt, at_ms=at_ms, floor_u=floor_u)(state)


def post(state: State, *, rid: str, cost_p: int, at_ms: int) -> tuple[State, dict]:
    """Charge a pending job; delta['split'] says which pockets paid. Declined('excess') beyond what was set aside."""
    if rid not in state["pend"]:
        raise Declined("gone", f"{rid} is not pending")
    split = split_cost([(name, part * P_PER_U) for name, part in state["pend"][rid]["amt"].items()], cost_p)
    return change("post", rid=rid, split=split, at_ms=at_ms)(state)


def refund(state: State, *, rid: str, split: Mapping[str, int], amount_u: int, at_ms: int, before_u: int = 0,
           **why: Any) -> tuple[State, dict]:
    """Give back up to what a request was charged and not refunded yet (`before_u` was), the last pocket that paid
    first. Declined('excess')."""
    parts: dict[str, int] = {}
    if (before_u + amount_u) * P_PER_U > sum(split.values()):
        raise Declined("excess", f"{rid} was charged less than {before_u + amount_u} µUSD in all")
    skip_u, left_u = before_u, amount_u
    for name, amount_p in reversed(split.items()):
        able_u = ceil_u(amount_p)
        skipped = min(skip_u, able_u)
        skip_u -= skipped
        part = min(left_u, able_u - skipped)
        if part:
            parts[name] = part
            left_u -= part
    return change("refund", rid=rid, parts=parts, at_ms=at_ms, u=amount_u, **why)(state)


def split_cost(parts: list[tuple[str, int]], cost_p: int) -> dict[str, int]:
    """Which pockets pay `cost_p`, pUSD each: `parts` of a hold in burning order; an overrun falls on main."""
    split: dict[str, int] = {}
    for name, amount_p in parts:
        part = min(cost_p, amount_p)
        if part:
            split[name] = split.get(name, 0) + part
            cost_p -= part
    if cost_p:
        split[MAIN] = split.get(MAIN, 0) + cost_p
    return split
