"""A new key for the ring, and every sealed secret of the store sealed anew with it.

First the ring, then the secrets one by one, each by a replace that names the revision it read: whoever is killed in
between leaves secrets under two keys of one ring, which all open, and the next run goes on from there. Running
processes read the ring anew before they seal and when they meet a key that they do not know (engine/seal.py).
"""

import fcntl
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from smartoken.domain.documents import ChannelDoc, from_store
from smartoken.engine.changes import Catalog, Conflict, every
from smartoken.engine.seal import RING_FILE, Sealer, kid_of, new_line, ring_of
from smartoken.errors import ConfigError
from smartoken.ports import Store

TRIES = 30


class Place(NamedTuple):
    """Where sealed secrets stand: a field of a collection's documents, and the name that it is bound to."""

    collection: str
    field: str
    bound: str


PLACES = (Place("channels", "credential", "credential"), Place("admins", "totp", "totp"),
          Place("oauth_tokens", "sealed", "tokens"))


async def count(store: Store) -> Counter[str]:
    """How many secrets each key seals, by kid."""
    return Counter([kid_of(doc[place.field]) async for place, doc in _sealed(store)])


async def reseal(store: Store, catalog: Catalog, sealer: Sealer) -> int:
    """Seal with the newest key what another key seals; how many. ConfigError when one does not open: it is named, and
    those before it are done."""
    done = 0
    async for place, doc in _sealed(store):
        for _ in range(TRIES):
            if doc is None or kid_of(doc.get(place.field, "")) in ("", sealer.newest):
                break
            if await _replaced(store, catalog, sealer, place, doc):
                done += 1
                break
            doc = await store.get(place.collection, doc["_id"])
        else:
            raise Conflict(f"{place.collection} '{doc['_id']}' changes all the time; try again")
    return done


async def _replaced(store: Store, catalog: Catalog, sealer: Sealer, place: Place, doc: dict[str, Any]) -> bool:
    """False when somebody else wrote the document in between."""
    at = (place.collection, doc["_id"], place.bound)
    blob = sealer.seal(*at, sealer.open(*at, doc[place.field]))
    if place.collection != "channels":
        return await store.replace(place.collection, doc | {place.field: blob, "rev": doc["rev"] + 1}, doc["rev"])
    try:                                   # by the writer that tells every node, which then keeps no old copy on disk
        await catalog.put("channels", from_store(ChannelDoc, doc).model_copy(update={place.field: blob}), doc["rev"])
    except Conflict:
        return False
    return True


async def _sealed(store: Store):
    """Every (place, document) with a sealed secret in it."""
    for place in PLACES:
        for doc in await every(store, place.collection):
            if kid_of(doc.get(place.field, "")):
                yield place, doc


def add_key(folder: Path, ref: str = "") -> str:
    """Put a fresh key at the top of the ring's file; its kid. ConfigError when the ring is in no file of ours to
    write: then people do it."""
    kind, _, named = (ref or f"file:{folder / RING_FILE}").partition(":")
    path = Path(named).expanduser()
    if kind != "file":
        raise ConfigError(f"'secrets.key_ring' is {ref}, which cannot be written from here; put a line 'kid:key' above "
                          "the others there, on every machine, start the gateway again, and then run this again. A key "
                          "is made with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'")
    try:
        with _locked(path.parent):
            old = path.read_text(encoding="utf-8")
            ring_of(old, str(path))
            line = new_line()
            _write(path, f"{line}\n{old.strip()}\n")
    except OSError as error:
        raise ConfigError(f"{path}: the key ring cannot be written ({error.strerror}); run this as the user who may, or "
                          "put a line 'kid:key' above the others there, on every machine, and run it again") from None
    return line.partition(":")[0]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among those who write a ring in this folder: of two new keys, neither may be lost."""
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        os.fsync(file)
    finally:
        os.close(file)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, with the mode and owner that the file has."""
    draft, was = path.with_name(f".{path.name}.{secrets.token_hex(4)}"), path.stat()
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fchmod(file, was.st_mode & 0o777)
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file, was.st_uid, was.st_gid)
            os.fsync(file)
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
