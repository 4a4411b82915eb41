"""The fault proxy against a real echo server: each knob does its one thing, and chance repeats by seed."""

import asyncio

import pytest

from smartoken.testing.proxy import FaultProxy


def with_proxy(use, **knobs):
    got = bytearray()

    async def echo(reader, writer):
        try:
            while data := await reader.read(65536):
                got.extend(data)
                writer.write(data)
                await writer.drain()
        except ConnectionResetError:
            got.extend(b"")
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1], **knobs)
        await proxy.start()
        try:
            return await use(proxy, got)
        finally:
            await proxy.stop()
            server.close()
            await server.wait_closed()
    return asyncio.run(main())


async def ask(proxy, data=b"ping"):
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        writer.write(data)
        await writer.drain()
        return await reader.readexactly(len(data))
    finally:
        writer.close()


def test_it_passes_bytes_both_ways_and_their_end():
    async def use(proxy, got):
        assert await ask(proxy, b"x" * 1_000_000) == b"x" * 1_000_000
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"last")
        writer.write_eof()
        assert await reader.read() == b"last"
        writer.close()
    with_proxy(use)


def test_latency_and_rate_hold_bytes_back():
    async def use(proxy, got):
        clock = asyncio.get_running_loop().time
        began = clock()
        await ask(proxy)
        assert clock() - began >= 0.1, "50 ms each way"
        proxy.latency_s, proxy.rate = 0, 10_000
        began = clock()
        await ask(proxy, b"x" * 2_000)
        assert clock() - began >= 0.2, "2,000 bytes at 10,000 a second"
    with_proxy(use, latency_s=0.05)


def test_a_dropped_reply_is_the_reply_to_a_request_that_went_through():
    async def use(proxy, got):
        lost = 0
        for _ in range(200):
            try:
                await ask(proxy)
            except (ConnectionResetError, asyncio.IncompleteReadError):
                lost += 1
        assert len(got) == 800, "every request reached the target"
        assert lost == proxy.dropped and 20 < lost < 80
        return lost
    assert with_proxy(use, drop_reply=0.25, seed=7) == with_proxy(use, drop_reply=0.25, seed=7)


@pytest.mark.parametrize("mode", ["reset", "refuse"])
def test_reset_and_refuse_end_the_connection(mode):
    async def use(proxy, got):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError, BrokenPipeError)):
            await ask(proxy)
        assert not got
        proxy.mode = "pass"
        assert await ask(proxy) == b"ping"
    with_proxy(use, mode=mode)


def test_half_close_ends_the_reply_only():
    async def use(proxy, got):
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"one")
        assert await reader.read() == b""
        writer.write(b"two")
        while len(got) < 6:
            await asyncio.sleep(0.01)
        assert got == b"onetwo"
        writer.close()
    with_proxy(use, mode="half_close")


def test_a_black_hole_says_nothing_and_cut_ends_it():
    async def use(proxy, got):
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"ping")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert not got
        await proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
    with_proxy(use, mode="blackhole")
