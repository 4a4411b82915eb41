"""Media in a folder: `folder:///relative` or `folder:////absolute`; the gateway itself serves it under /media/.

A file is written beside its place, synced, and then moved there, so that whoever reads sees all of it or nothing. All
nodes must see the same folder; where they do not, choose an object store.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from smartoken.domain.media import is_key
from smartoken.errors import ConfigError, MediaAway

DRAFTS = ".drafts"        # on the same file system, or the move would not be atomic
AT_ONCE = 1 << 20         # bytes gathered before a thread writes them
THREADS = 4
DRAFT_OLD_S = 24 * 3600   # a draft that nobody finished; its writer is dead


def open_folder(url: str) -> "Folder":
    """The Media of a `folder:` URL, not yet opened."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.scheme != "folder" or parts.netloc or not path or parts.query:
        raise ConfigError(f"media url {url!r}: write folder:///relative or folder:////absolute/path")
    return Folder(Path(path))


class Folder:
    """See ports.Media. `root` is where the files are."""

    def __init__(self, root: Path):
        self.root = root
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "media")
        try:
            await self._do(self._prepare)
        except (OSError, MediaAway) as error:
            raise ConfigError(f"'media.url': the folder {self.root} cannot be used ({error}); let the user who serves "
                              "write there, or name another") from error

    def _prepare(self) -> None:
        drafts = self.root / DRAFTS
        drafts.mkdir(parents=True, exist_ok=True)
        for draft in drafts.iterdir():
            with suppress(FileNotFoundError):  # another worker tidies up as well
                if draft.stat().st_mtime < time.time() - DRAFT_OLD_S:
                    draft.unlink()

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> None:
        place = self._place(key)
        draft = self.root / DRAFTS / secrets.token_hex(8)
        file = await self._do(lambda: draft.open("xb", buffering=0))
        try:
            waiting: list[bytes] = []
            size = 0
            async for chunk in chunks:
                waiting.append(chunk)
                size += len(chunk)
                if size >= AT_ONCE:
                    await self._do(_write, file, waiting)
                    waiting, size = [], 0
            await self._do(_write, file, waiting)
            await self._do(_finish, file, draft, place)
        except BaseException:
            # In this thread, since a cancelled task gets no more turns of its own.
            file.close()
            draft.unlink(missing_ok=True)
            raise

    def url(self, key: str) -> str:
        return f"/media/{key}"

    async def read(self, key: str) -> AsyncIterator[bytes]:
        place = self._place(key)
        file = await self._do(lambda: place.open("rb"))
        try:
            while chunk := await self._do(file.read, AT_ONCE):
                yield chunk
        finally:
            file.close()

    async def remove(self, key: str) -> None:
        place = self._place(key)
        await self._do(lambda: place.unlink(missing_ok=True))

    def _place(self, key: str) -> Path:
        if not is_key(key):
            raise FileNotFoundError(key)
        return self.root / key

    async def _do(self, work: Callable, *given: Any) -> Any:
        """In a thread; a disk that fails is a store that is away."""
        if self._threads is None:
            raise MediaAway(f"{self.root} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise MediaAway(f"{self.root}: {error.strerror or error}") from error


def _write(file, chunks: list[bytes]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[file.write(view):]


def _finish(file, draft: Path, place: Path) -> None:
    os.fsync(file.fileno())
    file.close()
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(draft, place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
