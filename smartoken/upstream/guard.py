"""The SSRF guard: which addresses may be connected to, asked again at the moment of connecting.

The deny list is our own: `ipaddress.is_global` was wrong in several Python versions (CVE-2024-4032). The check in the
socket factory sees the very address that is then connected, so a name that changes between look-up and connect (DNS
rebinding), a redirect or an odd spelling of an address gains nothing.
"""

import errno
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

PRIVATE = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/3", "::/127", "100::/64", "2001:db8::/32", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8")))
# Where clouds hand credentials to whoever asks from inside: refused even where private addresses are allowed.
METADATA = tuple(map(ip_network, (
    "169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128", "fe80::a9fe:a9fe/128")))

# IPv6 forms that carry an IPv4 address: (prefix, how far the address is shifted, xor).
_WRAPPED = tuple((ip_network(net), shift, xor) for net, shift, xor in (
    ("::ffff:0:0/96", 0, 0), ("::/96", 0, 0), ("64:ff9b::/96", 0, 0), ("2002::/16", 80, 0),
    ("2001::/32", 0, 0xFFFFFFFF)))  # Teredo carries the client's address inverted
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")


class Blocked(OSError):
    """The guard says no. An OSError, so that aiohttp reports it as a failed connection."""

    def __init__(self, why: str):
        super().__init__(errno.EACCES, why)


def check_address(text: str, allow_private: bool = False) -> None:
    """Blocked unless the address (dotted or colon text, a zone allowed) may be connected to."""
    address = ip_address(text.partition("%")[0])
    for form in _forms(address):
        nets = METADATA if allow_private else PRIVATE
        if any(form in net for net in nets if net.version == form.version):
            raise Blocked(f"the address {address} is not allowed")
    if not allow_private and address.version == 6 and address in _LOCAL_NAT64:
        raise Blocked(f"the address {address} is not allowed")


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address and every IPv4 address that it stands for."""
    forms = [address]
    if address.version == 6:
        for net, shift, xor in _WRAPPED:
            if address in net and int(address) > 1:
                forms.append(IPv4Address((int(address) >> shift & 0xFFFFFFFF) ^ xor))
    return forms


def check_url(url: str, allow_http: bool = False, allow_private: bool = False) -> URL:
    """The parsed URL. Blocked for another scheme, a user part, no host, a local name, a bad or unusual address.

    A name passes here; what it resolves to is checked when it is connected to.
    """
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        raise Blocked("not a URL") from None
    if parsed.scheme != "https" and not (allow_http and parsed.scheme == "http"):
        raise Blocked("only https URLs are allowed" if not allow_http else "only http and https URLs are allowed")
    if not host or not port or parsed.user is not None or parsed.password is not None:
        raise Blocked("a URL needs a host, and may not hold a user or a password")
    name = host.rstrip(".").lower()
    if ":" in name or _ends_in_number(name):
        try:
            ip_address(name.partition("%")[0])
        except ValueError:
            raise Blocked("not a plain IP address") from None  # 127.1, 0x7f000001 and other spellings
        check_address(name, allow_private)
    elif not allow_private and (name == "localhost" or name.endswith((".localhost", ".local", ".internal"))):
        raise Blocked(f"the name {name} is local")
    return parsed


def _ends_in_number(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def guard_socket(allow_private: bool = False) -> Callable[[tuple], socket.socket]:
    """A socket factory for a TCPConnector: makes a socket for an address that passes check_address, else Blocked."""

    def make(info: tuple) -> socket.socket:
        family, kind, proto, _, where = info
        check_address(where[0], allow_private)
        return socket.socket(family, kind, proto)

    return make


class GuardedResolver(AbstractResolver):
    """Resolves a name, and refuses it unless every one of its addresses is public."""

    def __init__(self, allow_private: bool = False):
        self._allow_private = allow_private
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC,
                      ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for result in found:
            check_address(result["host"], self._allow_private)
        return found

    async def close(self) -> None:
        await self._inner.close()


def guarded_session(allow_private: bool = False, timeout_s: float = 10.0) -> ClientSession:
    """A session for URLs that others gave us: no proxies from the environment, no cookies, each connect checked.

    Call check_url on each URL first, redirects included (`allow_redirects=False`, at most 3, each checked).
    """
    connector = TCPConnector(resolver=GuardedResolver(allow_private), use_dns_cache=False,
                             socket_factory=guard_socket(allow_private), limit=64, force_close=True)
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar(), trust_env=False,
                         timeout=ClientTimeout(total=timeout_s))
