"""The SSRF guard: URL forms, addresses in every dress, and a real listener that must never be reached."""

import asyncio

import aiohttp
import pytest

from smartoken.upstream.guard import Blocked, GuardedResolver, check_address, check_url, guarded_session

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "2001:db8::1", "100::1"]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "192.0.3.1", "223.255.255.255",
          "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2a00:1450::1"]
METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe", "192.0.0.192"]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_that_is_not_public(address):
    with pytest.raises(Blocked):
        check_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address):
    check_address(address)


def test_an_owner_may_allow_private_ones_but_never_metadata():
    for address in ("10.0.0.1", "127.0.0.1", "::1", "fd12::1", "192.168.0.1", "100.64.0.1"):
        check_address(address, allow_private=True)
    for address in METADATA:
        with pytest.raises(Blocked):
            check_address(address, allow_private=True)


@pytest.mark.parametrize("url", [
    "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "javascript:alert(1)",
    "//example.com/", "https://", "https:///x", "", "https://user@example.com/", "https://user:pw@example.com/",
    "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/",
    "https://0177.0.0.1/", "https://127.0.0.1./", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/", "https://[fe80::1%25eth0]/", "https://localhost/",
    "https://LOCALHOST/", "https://localhost./", "https://a.localhost/", "https://printer.local/",
    "https://metadata.google.internal/", "https://169.254.169.254/latest/", "https://10.1.2.3:8443/",
    "https://\uff11\uff12\uff17.0.0.1/", "https://①②⑦.0.0.1/", "https://0/", "https://0.0.0.0/",
    "https://example.com:99999/", "https://[::1/", "https://exa mple.com:abc/"])
def test_urls_that_are_refused_before_any_look_up(url):
    with pytest.raises(Blocked):
        check_url(url)


def test_urls_that_pass():
    assert check_url("https://example.com/a?b").host == "example.com"
    assert check_url("https://8.8.8.8/").host == "8.8.8.8"
    assert check_url("http://example.com/", allow_http=True).port == 80
    assert check_url("http://127.0.0.1:8000/", allow_http=True, allow_private=True).port == 8000


def test_nothing_private_is_ever_connected_to():
    async def main():
        reached = []

        async def serve(reader, writer):
            reached.append(writer.get_extra_info("peername"))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            async with guarded_session() as session:
                for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
                    with pytest.raises(aiohttp.ClientConnectorError):
                        await session.get(f"http://{host}:{port}/", allow_redirects=False)
            assert reached == []
            async with guarded_session(allow_private=True) as session:
                with pytest.raises(aiohttp.ClientConnectionError):
                    await session.get(f"http://127.0.0.1:{port}/")
            assert reached  # so the listener would have noticed

    asyncio.run(main())


def test_one_private_address_spoils_a_name():
    async def main():
        resolver = GuardedResolver()
        with pytest.raises(Blocked):
            await resolver.resolve("localhost", 443)
        await resolver.close()

    asyncio.run(main())
