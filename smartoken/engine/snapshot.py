"""The catalog in memory, kept up with the store by every process, and on disk for a start without the store."""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from smartoken.engine.changes import Batch, every, follow, head_seq
from smartoken.engine.compile import Behind, Gifts, Problem, behind_of, compile_snapshot, compiled
from smartoken.engine.seal import Sealer, kid_of
from smartoken.errors import StoreAway
from smartoken.ports import Store
from smartoken.secrets import resolve

log = logging.getLogger("smartoken.catalog")

COMPILED = ("models", "channels", "categories", "listings")
LAST_KNOWN = "catalog.json"


class SnapshotKeeper:
    """`current` is the Snapshot to route by, replaced whole; `problems` says what of the catalog does not work.

    `gifts`: a Registry or Gifts. `folder`: where the last known documents are kept (credentials sealed as in the store).
    `secret` opens references, here and for test calls. `listeners` hear every batch of changes before `current` is
    renewed (Keys.apply).
    """

    def __init__(self, store: Store, gifts: Any, sealer: Sealer, folder: Path, *,
                 secret: Callable[[str], str] = resolve, poll_s: float = 1.0, resync_s: float = 60.0,
                 listeners: tuple[Callable[[Batch], Awaitable[None]], ...] = ()):
        self._store, self._gifts, self._sealer, self.secret = store, gifts, sealer, secret
        self._file = folder / LAST_KNOWN
        self._poll_s, self._resync_s, self._listeners = poll_s, resync_s, listeners
        self.current = compile_snapshot({name: [] for name in COMPILED}, Gifts({}), sealer, secret)[0]
        self.problems: tuple[Problem, ...] = ()
        self._compiled_from = b""          # what `current` was made of, see _essence
        self._turn = asyncio.Lock()        # refreshes come one after the other: an older reading must not win
        self._stale = False                # a refresh is due, because one failed or changes were heard
        self._unheard = False              # a listener missed a batch
        self._hint = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the catalog and begin to follow it. With the store away the last known one serves, and StoreAway is
        raised only where there is none. ConfigError when a credential is sealed with a key that the ring lacks."""
        async with self._turn:
            try:
                seq, documents = await self._read()
            except StoreAway as error:
                seq, documents = await asyncio.to_thread(self._read_last_known, error)
                self._stale = True
                log.warning("the store is away, starting from %s: %s", self._file, error)
            self._refuse_unknown_seals(documents)
            await self._take(seq, documents)
            if not self._stale:
                await asyncio.to_thread(self._write_last_known, seq, documents)
        self._task = asyncio.create_task(self._run(seq))

    async def close(self) -> None:
        """Stop following."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def refresh(self) -> None:
        """Read the catalog now and renew `current` if anything differs; StoreAway leaves it as it is."""
        async with self._turn:
            self._stale = True
            seq, documents = await self._read()
            if await self._take(seq, documents):
                await asyncio.to_thread(self._write_last_known, seq, documents)
            self._stale = False

    def poke(self) -> None:
        """Somebody says that the catalog changed: ask the store now instead of at the next poll."""
        self._hint.set()

    def listen(self, listener: Callable[[Batch], Awaitable[None]]) -> None:
        """Let one more hear every batch."""
        self._listeners = (*self._listeners, listener)

    async def _run(self, seq: int) -> None:
        async for batch in follow(self._store, seq, poll_s=self._poll_s, resync_s=self._resync_s, hint=self._hint):
            if self._unheard:
                batch = batch._replace(resync=True)
            self._unheard = not await self._tell(batch)
            try:
                await self._hear(batch)
            except Exception:              # a fault of ours in one batch must not end the following of all others
                self._stale = True
                log.exception("a batch of catalog changes failed; the catalog is read anew")

    async def _tell(self, batch: Batch) -> bool:
        """Let the listeners hear it; False when one failed, which then has to read everything anew."""
        heard = True
        for listener in self._listeners:
            try:
                await listener(batch)
            except Exception:              # whatever ails one, the others and the snapshot go on
                heard = False
                log.exception("a listener failed on a batch of catalog changes; it gets a resync next")
        return heard

    async def _hear(self, batch: Batch) -> None:
        if batch.resync or any(change.collection in COMPILED for change in batch.changes):
            self._stale = True
        if self._stale:
            try:
                await self.refresh()
            except StoreAway as error:     # still stale, so the next batch tries again
                log.warning("the catalog stays as it is, the store is away: %s", error)

    async def _read(self) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        """The seq is read first: the documents are then at least as new as it says."""
        seq = await head_seq(self._store)
        return seq, {name: await every(self._store, name) for name in COMPILED}

    async def _take(self, seq: int, documents: dict[str, list[dict[str, Any]]]) -> bool:
        """Make `documents` the current snapshot; False when it says the same already (secrets included). What takes long
        with thousands of models is done in a thread, and compiling only when there is something new."""
        behind = behind_of(documents["channels"], self._gifts, self._sealer, self.secret)
        essence = await asyncio.to_thread(_essence, documents, behind)
        if essence == self._compiled_from:
            return False
        made, problems = await asyncio.to_thread(compiled, documents, self._gifts, behind, seq)
        for problem in problems:
            if problem not in self.problems:
                log.warning("catalog: %s", problem)
        self._compiled_from, self.current, self.problems = essence, made, problems
        log.info("catalog: %d models on %d channels at change %d", len(made.models), len(made.channels), seq)
        return True

    def _refuse_unknown_seals(self, documents: dict[str, list[dict[str, Any]]]) -> None:
        for channel in documents["channels"]:
            credential = channel.get("credential", "")
            if channel.get("active", True) and kid_of(credential) and not self._sealer.knows(credential):
                self._sealer.open("channels", channel["_id"], "credential", credential)

    def _write_last_known(self, seq: int, documents: dict[str, list[dict[str, Any]]]) -> None:
        """Whole or not at all. A failure is logged only: it would hurt no earlier than a start without the store."""
        draft = self._file.with_name(f".{LAST_KNOWN}.{secrets.token_hex(4)}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as out:
                json.dump({"seq": seq, "documents": documents}, out, ensure_ascii=False)
            os.replace(draft, self._file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            log.warning("%s could not be written: %s", self._file, error)

    def _read_last_known(self, away: StoreAway) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            return known["seq"], {name: known["documents"].get(name, []) for name in COMPILED}
        except FileNotFoundError:
            raise away from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be used: %s", self._file, error)
            raise away from None


def _essence(documents: dict[str, list[dict[str, Any]]], behind: Behind) -> bytes:
    """A digest of everything a snapshot is made of. Credentials count as they were resolved, since the file or
    variable behind a reference may change without the document."""
    digest = hashlib.sha256(json.dumps(behind, sort_keys=True).encode())
    for name in COMPILED:
        digest.update(name.encode())
        for doc in documents[name]:        # one by one: a thread that is within one long call holds up all others
            digest.update(json.dumps(doc, sort_keys=True).encode())
    return digest.digest()
