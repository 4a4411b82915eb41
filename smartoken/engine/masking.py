"""Our own credential out of what an upstream says: some repeat it in a message, and messages are passed on.

What is relayed as it came, a stream's own events among it, stays as it came.
"""

import msgspec

from smartoken.domain.catalog import Channel
from smartoken.plugin.types import Failure

MASK = "…"
SHORTEST = 8                   # what is shorter is no secret, and may be a word of any answer ("none", "EMPTY")


def masked(channel: Channel, text: str) -> str:
    """The text with the channel's credential masked."""
    secret = _secret(channel)
    return text.replace(secret, MASK) if secret else text


def masked_body(channel: Channel, body: bytes) -> bytes:
    """The same of a body; itself, not a copy, where there is nothing to mask."""
    secret = _secret(channel)
    return body.replace(secret.encode(), MASK.encode()) if secret else body


def masked_failure(channel: Channel, failure: Failure) -> Failure:
    """The same of an upstream's refusal."""
    message = masked(channel, failure.message)
    return failure if message == failure.message else msgspec.structs.replace(failure, message=message)


def _secret(channel: Channel) -> str:
    secret = channel.credential.rpartition(" ")[2]             # a plugin may put an account's name before it
    return secret if len(secret) >= SHORTEST else ""
