"""Who a client is behind proxies that the operator trusts (`[server] trusted_proxies`).

Each proxy appends to X-Forwarded-For the address that it was called from, so from the right we walk as long as we meet
proxies of ours: the first address that is none is the client. What stands left of it anybody may have written.
"""

import ipaddress
from collections.abc import Iterable, Mapping

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The networks of proxies that are believed. Falsy when there are none."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str] = ()):
        self._networks = tuple(ipaddress.ip_network(text) for text in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Is this address, as a socket tells it, one of the proxies'?"""
        address = address_of(peer)
        return address is not None and self._has(address)

    def client(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The address of who asks: `peer` itself, unless that is a proxy which says more. An entry that is no address
        ends the walk at the last proxy we know."""
        known = address_of(peer)
        if known is None or not self._has(known):
            return peer
        for entry in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
            found = address_of(entry.strip())
            if found is None:
                break
            known = found
            if not self._has(known):
                break
        return str(known)

    def protocol(self, peer: str, headers: Mapping[bytes, bytes], own: str) -> str:
        """'http' or 'https': how the client came, as the proxy next to us says; else `own`, how the proxy came."""
        said = headers.get(b"x-forwarded-proto", b"").decode("latin-1").rpartition(",")[2].strip().lower()
        return said if said in ("http", "https") and self.trusts(peer) else own

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def address_of(text: str) -> Address | None:
    """The address in an entry: bare, with a port (1.2.3.4:5, [::1]:5), in brackets, or with a zone (fe80::1%eth0).
    An IPv4 address in IPv6 clothes (::ffff:1.2.3.4) is the IPv4 address. None for anything else."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and _is_port(port[1:]))):
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not _is_port(port):
            return None
    else:
        host = text
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 65536
