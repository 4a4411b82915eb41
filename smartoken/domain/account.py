"""The books of one account: a state, and the only changes it may take. Pure: no clock, no I/O, integers only.

A state is a JSON-able dict (it is stored whole in every entry of the account's chain):

    pockets    {"main": {"u"}, voucher: {"u", "models", "prio", "exp_ms", "n"}}   µUSD free to be set aside
    leases     {id: {"node", "amt": {pocket: u}, "spent_p": {pocket: p}, "exp_ms"}}   set aside for one process
    pend       {rid: {"amt": {pocket: u}, "at_ms"}}   set aside for one long job
    tomb       {lease: {"spent_p": {pocket: p}, "at_ms"}}   closed by the reaper, its owner may still report more
    posted_u, residue_p {pocket: p < 1e6}   what was charged: Σ cost_p = posted_u * 1e6 + Σ residue_p, exactly
    credits_u, adjusted_u, broken_u   what came in, what people changed, what expired unused
    vouchers   how many were ever redeemed

I1, after every change: Σ pockets + Σ leases + Σ pend + posted_u + broken_u = credits_u + adjusted_u.

A change is a kind and a delta of plain values: `apply(state, kind, delta)` is a function of nothing else, so replaying
the deltas of a chain proves its states. domain/hold.py chooses deltas that depend on the state. Everything raises
Declined where the books do not allow it, and then nothing has changed.
"""

from collections.abc import Mapping
from typing import Any

from smartoken.domain.money import MAX_U, P_PER_U, ceil_u, is_amount

MAIN = "main"
TOMB_MS = 7 * 24 * 3600 * 1000     # how long the owner of a reaped lease may stay away and still settle
State = dict[str, Any]


class Declined(Exception):
    """The books do not allow a change. `code`: funds, gone, exists, amount, excess, reused."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def empty() -> State:
    """The state before the first entry."""
    return {"pockets": {MAIN: {"u": 0}}, "leases": {}, "pend": {}, "tomb": {}, "posted_u": 0, "residue_p": {},
            "credits_u": 0, "adjusted_u": 0, "broken_u": 0, "vouchers": 0}


def imbalance_u(state: State) -> int:
    """0 when I1 holds; else by how much the two sides differ."""
    aside = [*state["leases"].values(), *state["pend"].values()]
    held = sum(pocket["u"] for pocket in state["pockets"].values()) + sum(sum(x["amt"].values()) for x in aside)
    return held + state["posted_u"] + state["broken_u"] - state["credits_u"] - state["adjusted_u"]


def charged_p(state: State) -> int:
    """Everything that the books say was spent, in pUSD: posted, carried, and flushed by open leases."""
    open_p = sum(sum(lease["spent_p"].values()) for lease in state["leases"].values())
    return state["posted_u"] * P_PER_U + sum(state["residue_p"].values()) + open_p


# -- apply: one small function per kind; each changes the copy it is given

def _amount(value: Any, low: int = 1) -> int:
    if not is_amount(value) or not low <= value <= MAX_U:
        raise Declined("amount", f"{value!r} is not an amount in µUSD between {low} and {MAX_U}")
    return value


def _spent(value: Mapping[str, int]) -> Mapping[str, int]:
    for amount_p in value.values():
        if not is_amount(amount_p) or not 0 <= amount_p <= MAX_U * P_PER_U:
            raise Declined("amount", f"{amount_p!r} is not an amount in pUSD")
    return value


def _set_aside(state: State, amt: Mapping[str, int], floor_u: int) -> None:
    for name, amount_u in amt.items():
        pocket = state["pockets"].get(name)
        if pocket is None:
            raise Declined("gone", f"pocket {name} is no more")
        if pocket["u"] + (floor_u if name == MAIN else 0) < _amount(amount_u):
            raise Declined("funds", f"pocket {name} has less than {amount_u} µUSD")
        pocket["u"] -= amount_u


def _give_back(state: State, name: str, amount_u: int, at_ms: int) -> None:
    """To where it came from; to breakage when that has expired or is no more."""
    pocket = state["pockets"].get(name)
    if pocket is None or (name != MAIN and pocket["exp_ms"] and pocket["exp_ms"] <= at_ms):
        state["broken_u"] += amount_u
    else:
        pocket["u"] += amount_u


def _take(state: State, name: str, amount_u: int) -> None:
    """What is owed beyond what was set aside: from its own pocket as far as that goes, then from main, below 0 too."""
    if name != MAIN and name in state["pockets"]:
        part = min(amount_u, max(0, state["pockets"][name]["u"]))
        state["pockets"][name]["u"] -= part
        amount_u -= part
    state["pockets"][MAIN]["u"] -= amount_u


def _post(state: State, amt: Mapping[str, int], spent_p: Mapping[str, int], at_ms: int) -> None:
    """Charge `spent_p` to what was set aside, give the rest back. Whole µUSD are posted, the residue is carried."""
    for name in sorted({*amt, *spent_p}):
        debit_u, residue = divmod(state["residue_p"].pop(name, 0) + spent_p.get(name, 0), P_PER_U)
        if residue:
            state["residue_p"][name] = residue
        state["posted_u"] += debit_u
        left_u = amt.get(name, 0) - debit_u
        if left_u >= 0:
            _give_back(state, name, left_u, at_ms)
        else:
            _take(state, name, -left_u)


def _topup(state: State, u: int, **_: Any) -> None:
    state["pockets"][MAIN]["u"] += _amount(u)
    state["credits_u"] += u


def _adjust(state: State, u: int, below_zero: bool = False, **_: Any) -> None:
    if not is_amount(u) or not 0 < abs(u) <= MAX_U:
        raise Declined("amount", f"{u!r} is not an adjustment in µUSD")
    main = state["pockets"][MAIN]
    if u < 0 and main["u"] + u < 0 and not below_zero:
        raise Declined("funds", f"that would take the balance to {main['u'] + u} µUSD")
    main["u"] += u
    state["adjusted_u"] += u


def _redeem(state: State, pocket: str, u: int, models: list[str], prio: int = 0, exp_ms: int = 0, **_: Any) -> None:
    if pocket in state["pockets"]:
        raise Declined("exists", f"pocket {pocket} is there already")
    state["vouchers"] += 1
    state["pockets"][pocket] = {"u": _amount(u), "models": list(models), "prio": prio, "exp_ms": exp_ms,
                                "n": state["vouchers"]}
    state["credits_u"] += u


def _expire(state: State, pocket: str, at_ms: int) -> None:
    there = state["pockets"].get(pocket)
    if there is None or pocket == MAIN or not there["exp_ms"] or there["exp_ms"] > at_ms:
        raise Declined("gone", f"pocket {pocket} is not there or has not expired")
    state["broken_u"] += there["u"]
    del state["pockets"][pocket]


def _lease(state: State, lease: str, node: str, amt: dict[str, int], exp_ms: int, floor_u: int = 0) -> None:
    if lease in state["leases"] or lease in state["tomb"]:
        raise Declined("exists", f"lease {lease} is there already")
    _set_aside(state, amt, floor_u)
    state["leases"][lease] = {"node": node, "amt": dict(amt), "spent_p": {}, "exp_ms": exp_ms}


def _grow(state: State, lease: str, amt: dict[str, int], exp_ms: int, floor_u: int = 0) -> None:
    there = _open_lease(state, lease)
    _set_aside(state, amt, floor_u)
    for name, amount_u in amt.items():
        there["amt"][name] = there["amt"].get(name, 0) + amount_u
    there["exp_ms"] = max(there["exp_ms"], exp_ms)


def _open_lease(state: State, lease: str) -> dict[str, Any]:
    there = state["leases"].get(lease)
    if there is None:
        raise Declined("gone", f"lease {lease} is closed")
    return there


def _flush(state: State, lease: str, spent_p: dict[str, int], exp_ms: int, at_ms: int) -> None:
    """`spent_p` is cumulative: an older or repeated flush changes nothing. To a reaped lease it is a late settle."""
    if lease in state["tomb"]:
        return _late(state, lease, spent_p, at_ms)
    there = _open_lease(state, lease)
    for name, amount_p in _spent(spent_p).items():
        there["spent_p"][name] = max(amount_p, there["spent_p"].get(name, 0))
    there["exp_ms"] = max(there["exp_ms"], exp_ms)
    # An overrun is taken out of main at once, or another lease could be granted the same money.
    over_u = ceil_u(there["spent_p"].get(MAIN, 0)) - there["amt"].get(MAIN, 0)
    if over_u > 0:
        state["pockets"][MAIN]["u"] -= over_u
        there["amt"][MAIN] = there["amt"].get(MAIN, 0) + over_u


def _close(state: State, lease: str, spent_p: dict[str, int], at_ms: int) -> None:
    """By the owner or from its journal: `spent_p` is final. After the reaper only the difference is charged."""
    if lease in state["tomb"]:
        _late(state, lease, spent_p, at_ms)
        del state["tomb"][lease]
        return
    _flush(state, lease, spent_p, 0, at_ms)
    there = state["leases"].pop(lease)
    _post(state, there["amt"], there["spent_p"], at_ms)


def _reap(state: State, lease: str, at_ms: int) -> None:
    there = _open_lease(state, lease)
    if there["exp_ms"] > at_ms:
        raise Declined("exists", f"lease {lease} has not expired")
    del state["leases"][lease]
    _post(state, there["amt"], there["spent_p"], at_ms)
    state["tomb"] = {name: tomb for name, tomb in state["tomb"].items() if tomb["at_ms"] + TOMB_MS > at_ms}
    state["tomb"][lease] = {"spent_p": there["spent_p"], "at_ms": at_ms}


def _late(state: State, lease: str, spent_p: dict[str, int], at_ms: int) -> None:
    known = state["tomb"][lease]["spent_p"]
    more = {name: amount_p - known.get(name, 0) for name, amount_p in _spent(spent_p).items()
            if amount_p > known.get(name, 0)}
    _post(state, {}, more, at_ms)
    known.update({name: spent_p[name] for name in more})


def _pend(state: State, rid: str, amt: dict[str, int], at_ms: int, floor_u: int = 0) -> None:
    if rid in state["pend"]:
        raise Declined("exists", f"{rid} is pending already")
    _set_aside(state, amt, floor_u)
    state["pend"][rid] = {"amt": dict(amt), "at_ms": at_ms}


def _post_pend(state: State, rid: str, split: dict[str, int], at_ms: int) -> None:
    there = state["pend"].pop(rid, None)
    if there is None:
        raise Declined("gone", f"{rid} is not pending")
    if any(amount_p > there["amt"].get(name, 0) * P_PER_U for name, amount_p in _spent(split).items()):
        raise Declined("excess", f"{rid} cost more than was set aside for it")
    _post(state, there["amt"], split, at_ms)


def _void(state: State, rid: str, at_ms: int) -> None:
    _post_pend(state, rid, {}, at_ms)


def _refund(state: State, rid: str, parts: dict[str, int], at_ms: int, **_: Any) -> None:
    for name, amount_u in parts.items():
        state["adjusted_u"] += _amount(amount_u)
        _give_back(state, name, amount_u, at_ms)


def _prune(state: State, runs: list[list[Any]]) -> None:
    """Says which entries were taken away (engine/prune.py); the books stay as they are."""


KINDS = {"topup": _topup, "adjust": _adjust, "redeem": _redeem, "expire": _expire, "lease": _lease, "grow": _grow,
         "flush": _flush, "close": _close, "reap": _reap, "pend": _pend, "post": _post_pend, "void": _void,
         "refund": _refund, "prune": _prune}


def apply(state: State, kind: str, delta: Mapping[str, Any]) -> State:
    """The state after one change; the given one is left as it is. Declined, or AssertionError if I1 would break."""
    after = _copy(state)
    KINDS[kind](after, **delta)
    if imbalance_u(after):
        raise AssertionError(f"{kind} would unbalance the books by {imbalance_u(after)} µUSD")
    return after


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {name: _copy(part) for name, part in value.items()}
    return [_copy(part) for part in value] if type(value) is list else value


def change(kind: str, **delta: Any):
    """A change with a known delta, as the ledger's commit wants it: a function state -> (state, delta)."""
    return lambda state: (apply(state, kind, delta), delta)
