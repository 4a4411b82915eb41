"""Where an exchange goes and how long it may take: Origin, Limits, and the head of a request as bytes."""

import re
import ssl
from base64 import b64encode
from collections.abc import Iterable
from typing import NamedTuple

from yarl import URL

from smartoken.errors import ConfigError

# Why an exchange failed, as on_fail says it.
FAILS = ("connect", "dns", "tls", "reset", "first_byte_timeout", "idle_timeout", "total_timeout", "protocol",
         "too_large")

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_TARGET = re.compile(rb"[\x00-\x20\x7f-\xff]")


class Origin(NamedTuple):
    """One place to dial. Connections are shared between exchanges whose origins are equal, and only those."""

    scheme: str
    host: str
    port: int
    proxy: str | None = None
    tls: ssl.SSLContext | bool = True
    """True: the system's certificates; False: none checked (an operator's own choice per channel); or a context."""

    @classmethod
    def of(cls, url: str, proxy: str | None = None, tls: ssl.SSLContext | bool = True) -> "Origin":
        """The origin of an absolute URL. ConfigError when it is not http(s), or when the proxy is of another kind."""
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.raw_host or not parsed.port:
            raise ConfigError(f"An upstream URL must be http:// or https:// with a host, not {url!r}.")
        if proxy is not None and URL(proxy).scheme not in ("http", "https"):
            raise ConfigError("A channel's proxy must be http:// or https://.")
        return cls(parsed.scheme, parsed.raw_host, parsed.port, proxy, tls)

    @property
    def url(self) -> URL:
        return URL.build(scheme=self.scheme, host=self.host, port=self.port)

    def through_proxy(self, head: bytes) -> bytes:
        """The head as a proxy wants it for a plain-http origin (RFC 9112, 3.2.2): absolute target, own credential."""
        proxy = URL(self.proxy)
        method, rest = head.split(b" ", 1)
        head = b"%b %b%b" % (method, str(self.url.origin()).encode(), rest)
        if proxy.user is None:
            return head
        pair = b64encode(f"{proxy.user}:{proxy.password or ''}".encode())
        return head.replace(b"\r\n", b"\r\nProxy-Authorization: Basic %b\r\n" % pair, 1)


class Limits(NamedTuple):
    """Seconds and bytes of one exchange. The first byte counts from when the request is on its connection."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 1800.0
    body_max: int = 64 << 20
    """Bytes of the answer after decoding; 0 is no limit. `exchange.body_max` may be set in on_head, when it is known
    whether the answer is a stream."""
    fresh: bool = False
    """Never on a pooled connection, hence never sent twice by the pool: for calls that create a paid job."""


def render_head(method: str, path: str, host: str, headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """A request head that ends just before the value of Content-Length: `head + b"%d\\r\\n\\r\\n" % len(body) + body`.

    Host, Accept-Encoding (identity) and Content-Length are ours. ValueError on anything that could end a line early.
    """
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), _checked(path, _BAD_TARGET, "target")),
             b"Host: " + _checked(host, _BAD_TARGET, "host"), b"Accept-Encoding: identity"]
    for name, value in headers:
        name = name.encode("ascii") if isinstance(name, str) else name
        if not _TOKEN.fullmatch(name):
            raise ValueError("A header name for the upstream is not a token.")
        if name.lower() in (b"host", b"accept-encoding", b"content-length", b"transfer-encoding", b"connection"):
            raise ValueError(f"The header {name.decode()} is set by the pool.")
        lines.append(name + b": " + _checked(value, _BAD_VALUE, "header value"))
    lines.append(b"Content-Length: ")
    return b"\r\n".join(lines)


def header_line(name: bytes, value: bytes) -> bytes:
    """One header line with its CRLF. ValueError on a value that could end it early."""
    return name + b": " + _checked(value, _BAD_VALUE, "header value") + b"\r\n"


def _checked(text: str | bytes, bad: re.Pattern[bytes], what: str) -> bytes:
    raw = text.encode("utf-8") if isinstance(text, str) else text
    if bad.search(raw):
        raise ValueError(f"A {what} for the upstream holds a control character or a blank.")
    return raw
