"""Opening connections, by aiohttp's connector only: DNS with a cache, happy eyeballs, TLS, CONNECT through a proxy.

A connection is taken from aiohttp for good: our protocol is set on the transport, and aiohttp's pool never sees it
again. Its Connection object is held as long as ours lives, since dropping it would close the socket with a warning.
"""

import asyncio
import ssl

from aiohttp import ClientTimeout, TCPConnector
from aiohttp.client_exceptions import ClientConnectorDNSError, ClientError, ClientSSLError
from aiohttp.client_reqrep import ClientRequest
from yarl import URL

from smartoken.upstream.guard import guard_socket
from smartoken.upstream.origin import Origin


class DialError(Exception):
    """No connection. `kind` is one of origin.FAILS."""

    def __init__(self, kind: str, detail: str):
        super().__init__(detail)
        self.kind, self.detail = kind, detail


def make_connector() -> TCPConnector:
    """Call inside a running loop. Unlimited, since the gateway's own limits decide; metadata addresses never."""
    return TCPConnector(limit=0, force_close=True, ttl_dns_cache=30, socket_factory=guard_socket(allow_private=True))


async def dial(connector: TCPConnector, origin: Origin, connect_s: float) -> tuple[asyncio.Transport, list]:
    """A connected transport, and the (aiohttp protocol, aiohttp Connection) pair to hold on to. DialError.

    `connect_s` bounds each address tried, TLS included; the whole, names included, gets twice that.
    """
    request = ClientRequest("GET", origin.url, loop=asyncio.get_running_loop(), ssl=origin.tls,
                            proxy=URL(origin.proxy) if origin.proxy is not None else None)
    try:
        async with asyncio.timeout(connect_s * 2):
            connection = await connector.connect(request, [], ClientTimeout(total=None, sock_connect=connect_s))
    except ClientConnectorDNSError as error:
        raise DialError("dns", str(error)) from None
    except (ClientSSLError, ssl.SSLError) as error:
        raise DialError("tls", str(error)) from None
    except TimeoutError:
        raise DialError("connect", f"no connection to {origin.host}:{origin.port} in time") from None
    except (ClientError, OSError) as error:
        raise DialError("connect", str(error)) from None
    handler, transport = connection.protocol, connection.transport
    if transport is None or transport.is_closing():
        connection.close()
        raise DialError("reset", f"{origin.host}:{origin.port} closed the connection at once")
    if handler.should_close:
        connection.close()
        raise DialError("protocol", f"{origin.host}:{origin.port} spoke before it was asked")
    return transport, [handler, connection]
