"""Everything about a route's requests that is the same every time: where to connect, the head, the limits."""

from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import smartoken
from smartoken.domain.catalog import Channel
from smartoken.upstream.origin import Limits, Origin, render_head

USER_AGENT = f"smartoken/{smartoken.__version__}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`head` ends just before the value of Content-Length; it holds the credential, so it is never shown."""

    origin: Origin
    head: bytes = field(repr=False)
    limits: Limits


LENGTH = b"Content-Length: "


def head_for(endpoint: Endpoint, method: str, model: str, suffix: str, lines: bytes) -> bytes:
    """The endpoint's head with another method, the model where its path says `{model}`, something more at the end of
    that path, and header lines (each ended by CRLF) spliced in. Whoever makes `suffix` and `lines` has checked them:
    no blanks, no line ends."""
    head = endpoint.head
    if suffix or method != "POST":
        first, rest = head.split(b" HTTP/1.1\r\n", 1)
        path, _, query = first.removeprefix(b"POST").partition(b"?")
        path = path.replace(b"{model}", quote(model, safe="-._~").encode())
        more, _, own_query = suffix.encode("ascii").partition(b"?")
        query = b"&".join(part for part in (query, own_query) if part)
        head = b"%b%b%b%b%b HTTP/1.1\r\n%b" % (method.encode(), path, more, b"?" if query else b"", query, rest)
    return head[:-len(LENGTH)] + lines + LENGTH if lines else head


def endpoint_of(channel: Channel, wire: str, content_type: str = "application/json") -> Endpoint:
    """The Endpoint of a channel for a wire: its path below the base URL; one that begins with // is below its host."""
    path, provider = channel.wires[wire], channel.provider
    base = urlsplit(channel.base_url.rstrip("/"))
    below = f"{base.scheme}://{base.netloc}" if path.startswith("//") else channel.base_url.rstrip("/")
    url = urlsplit(below + path.replace("//", "/", 1))
    origin = Origin.of(channel.base_url, proxy=channel.proxy or None)
    target = url.path + (f"?{url.query}" if url.query else "")
    headers = [("Content-Type", content_type), ("Accept", "*/*"), ("User-Agent", USER_AGENT),
               *provider.headers, *provider.wire_auth.get(wire, provider.auth)(channel.credential)]
    limits = Limits(first_byte_s=channel.first_byte_s, idle_s=channel.idle_s, total_s=channel.total_s)
    return Endpoint(origin, render_head("POST", target, url.netloc, headers), limits)
