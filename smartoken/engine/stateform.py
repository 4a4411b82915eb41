"""Whether something found in the store has the form of an account's state (domain/account.py says what each part is)."""

import msgspec

from smartoken.domain.account import MAIN


class _Pocket(msgspec.Struct):
    u: int
    models: list[str] = []
    prio: int = 0
    exp_ms: int = 0
    n: int = 0


class _Lease(msgspec.Struct):
    node: str
    amt: dict[str, int]
    spent_p: dict[str, int]
    exp_ms: int


class _Pend(msgspec.Struct):
    amt: dict[str, int]
    at_ms: int


class _Tomb(msgspec.Struct):
    spent_p: dict[str, int]
    at_ms: int


class _State(msgspec.Struct):
    pockets: dict[str, _Pocket]
    leases: dict[str, _Lease]
    pend: dict[str, _Pend]
    tomb: dict[str, _Tomb]
    posted_u: int
    residue_p: dict[str, int]
    credits_u: int
    adjusted_u: int
    broken_u: int
    vouchers: int


def malformed(state: object) -> str:
    """What is wrong with its form, in words; '' when every part is there and of its type."""
    try:
        known = msgspec.convert(state, _State)
    except msgspec.ValidationError as error:
        return str(error)
    return "" if MAIN in known.pockets else f"there is no pocket {MAIN}"
