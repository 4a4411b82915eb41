"""Links of a chain: how an entry follows another, and the hash that makes a later change of either show."""

import hashlib
from typing import Any

import msgspec

from smartoken.ports import Entry

_canonical = msgspec.json.Encoder(order="deterministic")


def hash_of(entry: Entry) -> str:
    """SHA-256 over everything but the hash itself, `prev_hash` included, with sorted keys."""
    return hashlib.sha256(_canonical.encode(msgspec.structs.replace(entry, hash=""))).hexdigest()


def follow(head: Entry | None, *, chain: str, op: str, kind: str, at_ms: int, node: str, delta: dict[str, Any],
           state: dict[str, Any]) -> Entry:
    """The entry after `head` (None: the first), sealed."""
    seq, prev_hash = (head.seq + 1, head.hash) if head else (1, "")
    entry = Entry(chain, seq, op, kind, at_ms, node, delta, state, prev_hash)
    return msgspec.structs.replace(entry, hash=hash_of(entry))
