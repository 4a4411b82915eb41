"""The text of a key: `stk-live-` + 8 characters of key id + 32 random ones (190 bits) + 6 of CRC-32, all base62."""

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from smartoken.errors import Refusal, refuse

PREFIX = "stk-live-"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LENGTH = len(PREFIX) + 8 + 32 + 6
_BODY = frozenset(ALPHABET.encode())
_WORD = re.compile(rb"[!-+\--~]+")         # printable ASCII but the comma, which joins repeated headers
_OTHER_HEADERS = (b"x-api-key", b"x-goog-api-key", b"api-key")


class NewKey(NamedTuple):
    """`text` is for the client's eyes, once; what is stored of it is its digest, `kid` and its last four characters."""

    text: str
    kid: str


def new_key() -> NewKey:
    """A fresh key."""
    kid = _random(8)
    body = PREFIX + kid + _random(32)
    return NewKey(body + _crc(body.encode()), kid)


def well_formed(token: bytes) -> bool:
    """Whether this can be a key at all: its length, its letters and its checksum (about 2 µs, no secret needed)."""
    return (len(token) == LENGTH and token.startswith(PREFIX.encode()) and _BODY.issuperset(token[len(PREFIX):])
            and _crc(token[:-6]).encode() == token[-6:])


def digest_of(pepper: bytes, token: bytes) -> bytes:
    """What a key is stored and looked up under: HMAC-SHA-256(pepper, key), 32 bytes."""
    return hmac.digest(pepper, token, "sha256")


def credentials_of(headers: Mapping[bytes, bytes], shown_too: Iterable[bytes] = ()) -> bytes:
    """The key that a client shows; header names in lower case, values as they came; `shown_too` stood elsewhere.

    `Authorization: Bearer`, `x-api-key`, `x-goog-api-key` and `api-key` all do; Refusal 401 without any, with two
    different ones, or with something that is no single word.
    """
    shown = headers.get(b"authorization")
    token = b""
    if shown:
        scheme, _, token = shown.strip(b" \t").partition(b" ")
        if scheme.lower() != b"bearer":
            raise unauthorized("Show your key as 'Authorization: Bearer stk-live-…'.")
        token = token.strip(b" \t")
        _one_word(token)
    for other in (*map(headers.get, _OTHER_HEADERS), *shown_too):
        if other:
            other = other.strip(b" \t")
            _one_word(other)
            if token and other != token:
                raise unauthorized("Two different keys were sent; send one.")
            token = other
    if not token:
        raise unauthorized("No key was sent. Show it as 'Authorization: Bearer stk-live-…'.", "missing_api_key")
    return token


def unauthorized(message: str, code: str = "invalid_api_key") -> Refusal:
    """Refusal 401: the client's key is at fault, never anything of ours."""
    return refuse("authentication", message, code=code)


def _one_word(token: bytes) -> None:
    if not _WORD.fullmatch(token):
        raise unauthorized("The key that was sent is not one word of plain characters.")


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _crc(body: bytes) -> str:
    value, out = zlib.crc32(body), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        out = ALPHABET[digit] + out
    return out


__all__ = ["LENGTH", "PREFIX", "NewKey", "credentials_of", "digest_of", "new_key", "unauthorized", "well_formed"]
