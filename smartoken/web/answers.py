"""Refusals as answers in the OpenAI shape, for the edge and for Tornado handlers alike."""

from http import HTTPStatus

import msgspec

from smartoken.domain.trace import new_rid
from smartoken.errors import KINDS, Refusal, refuse

JSON = b"application/json"

# What Tornado itself raises, in our words; other statuses below 500 are the client's fault, the rest is ours.
_KIND_OF_STATUS = {status: kind for kind, (status, _) in KINDS.items()}
# kind: (message, code) where Tornado gives nothing but a status
BARE = {
    "invalid_request": ("The request's address or head cannot be read; write them as UTF-8.", "unreadable_request"),
    "not_found": ("There is nothing at this path.", "unknown_route"),
    "method_not_allowed": ("This path has no such method.", "method_not_allowed"),
    "internal": ("Something went wrong on our side.", None),
}


def refusal_body(refusal: Refusal) -> bytes:
    return msgspec.json.encode({"error": {"message": refusal.message, "type": refusal.type, "code": refusal.code,
                                          "param": refusal.param}})


def refusal_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """What belongs to a refusal besides its body: when, and whether, to come again."""
    headers = []
    if refusal.retry_after_s is not None:
        headers.append(("Retry-After", str(refusal.retry_after_s)))
    if refusal.should_retry is not None:
        headers.append(("x-should-retry", "true" if refusal.should_retry else "false"))
    return headers


def render_refusal(refusal: Refusal, path: bytes) -> tuple[bytes, bytes, bytes]:
    """A http1.RenderRefusal for surfaces that speak OpenAI's error shape."""
    lines = [("X-Request-Id", new_rid()), *refusal_headers(refusal)]
    return JSON, refusal_body(refusal), "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")


def refusal_of_status(status: int) -> Refusal:
    """The refusal that stands for a bare HTTP status, without a word of what Tornado said."""
    kind = _KIND_OF_STATUS.get(status)
    if kind is None and status < 500:
        try:
            return Refusal(status, "invalid_request_error", HTTPStatus(status).phrase + ".")
        except ValueError:
            return Refusal(status, "invalid_request_error", "Bad request.")
    kind = kind if kind is not None and status < 500 else "internal"
    message, code = BARE.get(kind, (HTTPStatus(KINDS[kind][0]).phrase + ".", None))
    return refuse(kind, message, code=code)
