"""Whose address counts behind proxies: the right-most one that is none of ours, and never a stranger's word."""

import asyncio
import ipaddress
import json
import sys

import pytest
from web_kit import EDGE, Client, Hold, ask, served

from smartoken.web.app import ApiHandler
from smartoken.web.forwarded import Proxies, address_of

OURS = Proxies(["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48"])


class Seen(ApiHandler):
    def post(self):
        self.send([self.request.remote_ip, self.request.protocol])


@pytest.mark.parametrize("text, address", [
    ("203.0.113.9", "203.0.113.9"), ("203.0.113.9:4711", "203.0.113.9"), ("2001:db8::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"), ("[2001:db8::1]:443", "2001:db8::1"), ("fe80::1%eth0", "fe80::1"),
    ("::ffff:203.0.113.9", "203.0.113.9"), ("", None), ("unknown", None), ("_hidden", None), ("203.0.113", None),
    ("203.0.113.9:", None), ("203.0.113.9:x", None), ("203.0.113.9:65536", None), ("[2001:db8::1", None),
    ("[2001:db8::1]443", None), ("[2001:db8::1]:x", None), ("[]", None), ("203.0.113.9 , x", None),
    ("999.1.1.1", None), ("2001:db8::1::2", None), ("127.0.0.1\x00", None)])
def test_what_is_an_address(text, address):
    assert address_of(text) == (ipaddress.ip_address(address) if address else None)


@pytest.mark.parametrize("peer, said, client", [
    ("203.0.113.9", "198.51.100.1", "203.0.113.9"),                  # a stranger may say what he likes
    ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
    ("10.0.0.1", "", "10.0.0.1"),                                    # the proxy itself asks
    ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
    ("10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),         # what stands left the client made up
    ("10.0.0.1", "198.51.100.1, 10.9.9.9", "198.51.100.1"),          # through two proxies of ours
    ("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.9.9.9", "203.0.113.7"),
    ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),                  # a client inside our own network
    ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),               # what cannot be read ends the walk
    ("10.0.0.1", "198.51.100.1, rubbish, 10.9.9.9", "10.9.9.9"),
    ("10.0.0.1", "198.51.100.1:1234", "198.51.100.1"),
    ("2001:db8:1::5", "2001:db8:2::7", "2001:db8:2::7"),
    ("2001:db8:1::5", "[2001:db8:2::7]:443, 10.0.0.2", "2001:db8:2::7"),
    ("2001:db8:2::5", "198.51.100.1", "2001:db8:2::5"),
    ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),             # a socket that takes both families
    ("", "198.51.100.1", "")])
def test_who_the_client_is(peer, said, client):
    assert OURS.client(peer, {b"x-forwarded-for": said.encode()}) == client


@pytest.mark.parametrize("peer, said, protocol", [
    ("10.0.0.1", "https", "https"), ("10.0.0.1", "HTTPS ", "https"), ("10.0.0.1", "http, https", "https"),
    ("10.0.0.1", "gopher", "http"), ("10.0.0.1", "", "http"), ("203.0.113.9", "https", "http")])
def test_how_the_client_came(peer, said, protocol):
    assert OURS.protocol(peer, {b"x-forwarded-proto": said.encode()}, "http") == protocol


@pytest.mark.parametrize("proxies, seen", [
    ((), ["127.0.0.1", "http"]), (("10.0.0.0/8",), ["127.0.0.1", "http"]), (("127.0.0.0/8",), ["203.0.113.9", "https"])])
def test_over_a_real_connection(proxies, seen):
    async def main():
        async with served(routes=[(r"/seen", Seen)], proxies=proxies) as (_, port), Client(port) as client:
            # Two lines are one list.
            client.send(ask(b"/seen", extra=b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n"
                                            b"X-Forwarded-For: 203.0.113.9\r\n"))
            assert json.loads((await client.answer())[2]) == seen

    asyncio.run(main())


@pytest.mark.parametrize("proxies, let_in", [((), False), (("127.0.0.1",), True)])
def test_a_proxys_connections_are_many_peoples(proxies, let_in):
    async def main():
        edge = EDGE._replace(connections_per_ip=1, connections_max=sys.maxsize)
        async with served({b"/hot": Hold()}, edge=edge, proxies=proxies) as (server, port):
            async with Client(port) as first, Client(port) as second:
                second.send(ask(b"/healthz", method=b"GET"))
                assert ((await second.answer())[0] == 200) is let_in
                assert server.counts()["connections"] >= 1 and first

    asyncio.run(main())
