"""Every refusal a client can see, as one table; each wire renders a Refusal in its own shape.

Raise `refuse("not_found", "No model 'x'.")` anywhere on the request path. What is not a Refusal is our fault: the
door logs it under the trace id and answers `internal`, without a word of the cause.
"""

# kind: (HTTP status, type in the body)
KINDS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "authentication": (401, "authentication_error"),
    "insufficient_balance": (402, "insufficient_balance"),
    "permission": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "idempotency": (409, "idempotency_error"),
    "too_large": (413, "invalid_request_error"),
    "unsupported_media": (415, "invalid_request_error"),
    "headers_too_large": (431, "invalid_request_error"),
    "rate_limit": (429, "rate_limit_error"),
    "internal": (500, "internal_error"),
    "upstream": (503, "upstream_error"),
}


class Refusal(Exception):
    """A request turned down: what the client is told, and nothing that it must not know.

    `retry_after_s` becomes `Retry-After`; `should_retry` False becomes `x-should-retry: false`, which the OpenAI SDKs
    obey before their own table of statuses.
    """

    __slots__ = ("code", "message", "param", "retry_after_s", "should_retry", "status", "type")

    def __init__(self, status: int, type: str, message: str, *, code: str | None = None, param: str | None = None,
                 retry_after_s: int | None = None, should_retry: bool | None = None):
        super().__init__(message)
        self.status, self.type, self.message, self.code, self.param = status, type, message, code, param
        self.retry_after_s, self.should_retry = retry_after_s, should_retry


def refuse(kind: str, message: str, **more) -> Refusal:
    """The Refusal of a kind in KINDS; `more` as in Refusal (code, param, retry_after_s, should_retry)."""
    status, type_ = KINDS[kind]
    return Refusal(status, type_, message, **more)


class ConfigError(Exception):
    """A configuration, a catalog file or a plugin is wrong: one sentence with file, key and remedy, shown as it is."""


class StoreAway(Exception):
    """The store cannot be reached or did not answer in time. Never a reason to say 401."""

    def sentence(self) -> str:
        """For an operator, with key and remedy."""
        return f"'store.url': the store cannot be reached ({self or type(self).__name__}); start it, or correct the URL"


class MediaAway(Exception):
    """The media store cannot be reached or refused us; what was to be kept may be offered again."""
