"""What every Media adapter must do. `make()` gives an unopened one over the same place each time.

In a plugin's tests: `asyncio.run(media_suite.run(lambda: open_mine(url)))`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

LARGE = 9 << 20  # more than any adapter should hold in memory at once


async def run(make: Callable[[], Any]) -> None:
    """All of it; AssertionError says what is not so."""
    media = make()
    await media.open()
    try:
        for check in (keeps, replaces, leaves_nothing, tells_absence, keeps_many_at_once):
            await check(media)
    finally:
        await media.close()
    again = make()
    await again.open()
    try:
        assert await content(again, key(1)) == b"one more", "what was put is not there after opening anew"
    finally:
        await again.close()


def key(number: int, ending: str = "png") -> str:
    """Keys as the engine makes them."""
    return f"2026/01/31/{number:032x}-0.{ending}"


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        await asyncio.sleep(0)
        yield piece


async def content(media: Any, name: str) -> bytes:
    """All of what is under a key."""
    return b"".join([piece async for piece in media.read(name)])


async def keeps(media: Any) -> None:
    """Small and large things come back as they went in."""
    await media.put(key(1), pieces(b"o", b"", b"ne"), "image/png")
    assert await content(media, key(1)) == b"one", "a small thing is not what was put"
    block = bytes(range(256)) * 1024
    await media.put(key(2, "mp4"), pieces(*[block] * (LARGE // len(block)), b"end"), "video/mp4")
    assert await content(media, key(2, "mp4")) == block * (LARGE // len(block)) + b"end", "a large thing is not whole"
    assert media.url(key(1)).split("?")[0].endswith(key(1)), "a URL must end with its key"


async def replaces(media: Any) -> None:
    """A second put under a key takes the first one's place: a job taken up after a crash writes again."""
    await media.put(key(1), pieces(b"one more"), "image/png")
    assert await content(media, key(1)) == b"one more", "the second put did not take the place of the first"


async def leaves_nothing(media: Any) -> None:
    """A stream that breaks leaves what was there before."""
    class Broke(Exception):
        pass

    async def broken(size: int) -> AsyncIterator[bytes]:
        for _ in range(size >> 20):
            yield bytes(1 << 20)
        raise Broke

    for name, size, before in ((key(3), 0, None), (key(4, "mp4"), LARGE, None), (key(1), LARGE, b"one more")):
        try:
            await media.put(name, broken(size), "video/mp4")
        except Broke:
            pass
        else:
            raise AssertionError("what the stream raised did not come through")
        try:
            after = await content(media, name)
        except FileNotFoundError:
            after = None
        assert after == before, f"a broken stream left {len(after or b'')} bytes"


async def tells_absence(media: Any) -> None:
    """FileNotFoundError, and removing what is not there is no error."""
    await media.put(key(5), pieces(b"short life"), "image/png")
    await media.remove(key(5))
    await media.remove(key(5))
    for name in (key(5), key(6)):
        try:
            await content(media, name)
        except FileNotFoundError:
            continue
        raise AssertionError(f"{name} should not be there")


async def keeps_many_at_once(media: Any) -> None:
    """Puts beside each other do not mix."""
    names = [key(100 + number) for number in range(20)]
    await asyncio.gather(*(media.put(name, pieces(name.encode(), b"!" * number), "image/png")
                           for number, name in enumerate(names)))
    for number, name in enumerate(names):
        assert await content(media, name) == name.encode() + b"!" * number, f"{name} is not what was put"
