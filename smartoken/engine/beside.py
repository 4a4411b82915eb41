"""Work beside the requests, told apart from what a request waits for: the store's calls are counted by it."""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

AGAIN_S = 1.0

log = logging.getLogger(__name__)

_beside = contextvars.ContextVar("beside", default=False)


def is_beside() -> bool:
    """Whether no request waits for what runs now."""
    return _beside.get()


@contextlib.contextmanager
def beside() -> Iterator[None]:
    """All that is started in here, and what that starts, is beside."""
    token = _beside.set(True)
    try:
        yield
    finally:
        _beside.reset(token)


def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task:
    """A task beside the request that it comes from. Keep a reference."""
    with beside():
        return asyncio.get_running_loop().create_task(work)


async def kept(run: Callable[[], Awaitable[object]]) -> None:
    """A loop that has to go on as long as the process: after a fault of ours it is told, and begun again."""
    while True:
        try:
            return await run()
        except Exception:
            log.exception("%s broke off; it is begun again", getattr(run, "__qualname__", run))
            await asyncio.sleep(AGAIN_S)
