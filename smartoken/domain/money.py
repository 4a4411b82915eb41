"""Money is an integer with its unit in the name: `_u` is µUSD (1e-6 USD, balances), `_p` is pUSD (1e-12 USD, costs).

A price in µUSD per million tokens times a number of tokens is pUSD exactly, so nothing is ever rounded on the way.
"""

import re

P_PER_U = 1_000_000
U_PER_USD = 1_000_000
PLAIN = re.compile(r"([+-]?)([0-9]{1,15})(?:\.([0-9]{1,6}0*))?")
MAX_U = 2**63 // P_PER_U - 1  # what still fits an int64 in pUSD: about 9.2 million USD


def is_amount(value: object) -> bool:
    """True for a real int: bool is an int in Python and must never pass for money or a count."""
    return type(value) is int


def usd_to_u(text: str) -> int:
    """'12.50' -> 12_500_000. ValueError on anything but a plain decimal of at most six places."""
    match = PLAIN.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not an amount in USD; write it like 12.50, with at most six decimals")
    sign, whole, part = match[1], match[2], match[3] or ""
    amount_u = int(whole) * U_PER_USD + int(part.ljust(6, "0")[:6])
    if amount_u > MAX_U:
        raise ValueError(f"{text!r} is more than the 9.2 million USD that an amount may be")
    return -amount_u if sign == "-" else amount_u


def show_u(amount_u: int) -> str:
    """12_500_000 -> '12.50 USD', for people; all six places when they matter."""
    return show_p(amount_u * P_PER_U)


def show_p(amount_p: int) -> str:
    """pUSD for people: at least two decimals, no trailing zeros after them, never rounded."""
    sign = "-" if amount_p < 0 else ""
    whole, part = divmod(abs(amount_p), U_PER_USD * P_PER_U)
    decimals = f"{part:012d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals} USD"


def ceil_u(amount_p: int) -> int:
    """pUSD -> µUSD, rounded up: for what must be covered, never for what is charged."""
    return -(-amount_p // P_PER_U)
