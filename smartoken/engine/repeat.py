"""A call that is made again under its `Idempotency-Key`: what it is known by, and the answer that was kept for it."""

import base64
import hashlib
from typing import Any

import msgspec

from smartoken.engine.client import Client
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import Ask

KEY_MAX = 255


def key_of(value: bytes) -> str:
    """An `Idempotency-Key` header's text; Refusal 400 for one that is empty, too long or not plain."""
    text = value.strip().decode("latin-1")
    if not 1 <= len(text) <= KEY_MAX or not text.isascii() or not text.isprintable():
        raise refuse("invalid_request", f"An Idempotency-Key has 1 to {KEY_MAX} plain characters.",
                     code="invalid_idempotency_key")
    return text


def same_of(ask: Ask, body: bytes, content_type: str) -> bytes:
    """What tells one body from another: its bytes; of a form what was read of it, since clients make a new boundary for
    each try."""
    if not content_type.lower().startswith("multipart/"):
        return body
    files = [(part.name, part.filename, part.content_type, hashlib.sha256(part.data).hexdigest()) for part in ask.files]
    return msgspec.json.encode([ask.slug, list(ask.fields.items()), files])


def digest_of(path: bytes, query: bytes, body: bytes) -> str:
    """What tells one request from another; `body` as by same_of."""
    return hashlib.sha256(b"%b?%b\n%b" % (path, query, body)).hexdigest()


def written(body: bytes | None) -> dict[str, Any]:
    """A body as it stands in a document: text, or base64 where it is none (audio); None when it is not kept."""
    if body is None:
        return {"body": None}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "base64": True}


def read(answer: dict[str, Any]) -> bytes:
    """The body that `written` wrote down."""
    return base64.b64decode(answer["body"]) if answer.get("base64") else answer["body"].encode()


def replay(client: Client, answer: dict[str, Any]) -> None:
    """Give a stored answer once more, under the id of the call that made it."""
    content_type, extra = answer["type"].encode(), replayed(answer["extra"].encode("latin-1"))
    body = read(answer)
    if not answer["stream"]:
        client.answer(answer["status"], content_type, body, extra)
        return
    client.start(answer["status"], content_type, extra)
    client.write(body)
    client.finish()


def replayed(extra: bytes) -> bytes:
    """The header lines of an answer for whoever gets it after the first; limits are as they were then, so not told."""
    lines = [line for line in extra.split(b"\r\n") if line and not line.lower().startswith(b"x-ratelimit")]
    return b"".join(line + b"\r\n" for line in (*lines, b"Idempotency-Replayed: true"))


def not_kept(rid: str) -> Refusal:
    """409: the call is done, but its answer was too large to keep."""
    return refuse("idempotency", f"The call {rid} with this Idempotency-Key is done, but its answer was too large to "
                  "keep. Use a new key for a new call.", code="answer_not_kept", should_retry=False)
