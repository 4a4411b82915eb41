"""Vouchers: credit behind a code that some models may use. Pure: texts of codes, and what a stored voucher says.

A code is `stv-` and 25 letters in groups of five: 120 random bits and a check letter, in an alphabet without look-alikes
(what people type as I, L or O is read as 1, 1 and 0). Stored is its HMAC, never its text.
"""

import hmac

import msgspec

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PREFIX = "stv-"
LETTERS = 25
_READ = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None, " ": None})
_KNOWN = frozenset(ALPHABET)


class Voucher(msgspec.Struct, frozen=True):
    """As it is stored (`_id` is the digest of its code). Redeeming makes a pocket of `face_u` µUSD for `models` ([] is
    all), burnt by ascending `prio`, that expires at `exp_ms` or `days` after it was redeemed, whichever is earlier
    (0: never). It can be redeemed by `uses` accounts, each once, until `until_ms` (0: for ever) while `active`. With it
    `count` were made (0: made before that was written down)."""

    id: str
    face_u: int
    models: list[str] = []
    prio: int = 0
    exp_ms: int = 0
    days: int = 0
    uses: int = 1
    until_ms: int = 0
    active: bool = True
    batch: str = ""
    count: int = 0
    note: str = ""
    created_ms: int = 0

    def pocket_exp_ms(self, now_ms: int) -> int:
        """When credit redeemed now expires, 0 for never."""
        ends = [end for end in (self.exp_ms, now_ms + self.days * 86_400_000 if self.days else 0) if end]
        return min(ends, default=0)


def code_of(pepper: bytes, op: str, n: int) -> str:
    """The code of the n-th voucher that was made under `op`: to make them again gives the same, and only who has the
    pepper can."""
    bits = int.from_bytes(hmac.digest(pepper, f"voucher-code:{n}:{op}".encode(), "sha256"), "big")
    letters = "".join(ALPHABET[bits >> 5 * at & 31] for at in range(LETTERS - 1))
    letters += _check(letters)
    return PREFIX + "-".join(letters[at:at + 5] for at in range(0, LETTERS, 5))


def letters_of(text: str) -> str | None:
    """The letters of a code as somebody typed it; None when it can't be one, so that a slip costs no look-up."""
    text = text.strip().upper().translate(_READ)
    text = text[3:] if len(text) == LETTERS + 3 and text.startswith("STV") else text
    good = len(text) == LETTERS and _KNOWN.issuperset(text) and _check(text[:-1]) == text[-1]
    return text if good else None


def batch_of(pepper: bytes, op: str) -> str:
    """The name of the vouchers made under `op`; it does not tell the op."""
    return "b-" + hmac.digest(pepper, f"voucher-batch:{op}".encode(), "sha256").hex()[:16]


def digest_of(pepper: bytes, letters: str) -> str:
    """What a voucher is stored under."""
    return hmac.digest(pepper, b"voucher:" + letters.encode(), "sha256").hex()


def _check(letters: str) -> str:
    """Weighted by place, so that two swapped letters show as well as one wrong one."""
    return ALPHABET[sum((at * 2 + 1) * ALPHABET.index(letter) for at, letter in enumerate(letters)) % 32]
