"""Secrets at rest: credentials sealed with AES-256-GCM, and the pepper under which keys are hashed.

A sealed secret is `v1.kid.nonce.ciphertext` (base64url without padding), bound to the place where it stands
(collection|id|field), so that a blob copied elsewhere does not open. The key ring is text: one `kid:key` a line, the
first seals, all open; a running process follows when a line is added (engine/rotate.py). Ring and pepper are made in
the data folder at the first start unless conf names them; every node of one store needs the same two.
"""

import base64
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smartoken.errors import ConfigError
from smartoken.secrets import resolve

log = logging.getLogger("smartoken.seal")

RING_FILE, PEPPER_FILE = "keyring", "pepper"
VERSION = "v1"


class Sealer:
    """Seals and opens with a key ring. `keys`: {kid: 32 bytes}, the first one seals. `again` reads the ring anew."""

    def __init__(self, keys: dict[str, bytes], again: Callable[[], dict[str, bytes]] | None = None):
        self._again = again
        self._take(keys)

    def _take(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise ConfigError("The key ring is empty; give it a line 'kid:key' (32 bytes in base64).")
        self._ciphers = {kid: AESGCM(key) for kid, key in keys.items()}
        self.newest = next(iter(keys))

    def look_again(self) -> None:
        """Take in what was added to the ring. One that cannot be read now changes nothing: a secret that was just
        given to us must not be lost for it."""
        if self._again is None:
            return
        try:
            self._take(self._again())
        except ConfigError as error:
            log.warning("the key ring stays as it was read before: %s", error)

    def seal(self, collection: str, id: str, field: str, clear: str) -> str:
        """The sealed form of a secret, for this one place, by the newest key there is now. ValueError on an empty
        secret."""
        if not clear:
            raise ValueError("an empty secret is no secret")
        self.look_again()
        nonce = secrets.token_bytes(12)
        sealed = self._ciphers[self.newest].encrypt(nonce, clear.encode(), _place(collection, id, field))
        return f"{VERSION}.{self.newest}.{_text(nonce)}.{_text(sealed)}"

    def open(self, collection: str, id: str, field: str, blob: str) -> str:
        """The secret. ConfigError when its key is not on the ring, or the blob is damaged or from another place."""
        kid = kid_of(blob)
        where = f"{collection} '{id}': '{field}'"
        if not self.knows(blob):
            raise ConfigError(f"{where} is sealed with key '{kid}', which is not on the key ring; put that key back "
                              "(a copy of the ring of the node that sealed it), or enter the secret anew.")
        try:
            nonce, sealed = (_bytes(part) for part in blob.split(".")[2:])
            return self._ciphers[kid].decrypt(nonce, sealed, _place(collection, id, field)).decode()
        except (InvalidTag, ValueError):
            raise ConfigError(f"{where} does not open: damaged, or copied from another place; enter the secret "
                              "anew.") from None

    def knows(self, blob: str) -> bool:
        """Whether the key of a sealed secret is on the ring, which is read anew for one that is not known."""
        kid = kid_of(blob)
        if kid and kid not in self._ciphers:
            self.look_again()
        return kid in self._ciphers

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of the ring's keys, the one that seals first."""
        return tuple(self._ciphers)


def kid_of(blob: str) -> str:
    """The id of the key that sealed a blob, '' when the text is not a sealed secret."""
    parts = blob.split(".")
    return parts[1] if len(parts) == 4 and parts[0] == VERSION else ""


def open_ring(folder: Path, ref: str = "") -> Sealer:
    """The key ring that `ref` (env:NAME or file:path) names; without one, `<folder>/keyring`, made when missing."""
    source = ref or f"file:{made(folder / RING_FILE, new_line)}"
    read = lambda: ring_of(resolve(source), ref or str(folder / RING_FILE))
    return Sealer(read(), read)


def ring_of(text: str, where: str) -> dict[str, bytes]:
    """{kid: key} of a ring's text, in its order; ConfigError names `where` and the line."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.split(), 1):
        kid, _, key = line.partition(":")
        if not kid.isalnum() or kid in keys:
            raise ConfigError(f"{where}: line {number} of the key ring has no id of its own; write 'kid:key' with a "
                              "kid of letters and digits.")
        keys[kid] = _key(key, f"{where}: the key '{kid}' of the key ring")
    return keys


def new_line() -> str:
    """A fresh key as a line of a ring."""
    return f"{secrets.token_hex(4)}:{_fresh()}"


def open_pepper(folder: Path, ref: str = "") -> bytes:
    """The pepper (32 bytes) that `ref` names; without one, that of `<folder>/pepper`, made when missing."""
    text = resolve(ref or f"file:{made(folder / PEPPER_FILE, _fresh)}")
    return _key(text, f"{ref or folder / PEPPER_FILE}: the pepper")


def fingerprint(pepper: bytes) -> str:
    """Eight hex digits that tell two peppers apart and nothing else about them."""
    return hmac.digest(pepper, b"fingerprint", hashlib.sha256)[:4].hex()


def made(path: Path, content) -> Path:
    """The path, made with mode 0600 when missing. Two processes may start at once: one wins, whole, for both."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w") as out:
            out.write(content() + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, path)
    except FileExistsError:
        return path
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def _key(text: str, what: str) -> bytes:
    try:
        key = _bytes(text)
    except ValueError:
        key = b""
    if len(key) != 32 or not any(key):
        raise ConfigError(f"{what} is not 32 random bytes in base64; make one with: "
                          "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'")
    return key


def _place(collection: str, id: str, field: str) -> bytes:
    return f"{collection}|{id}|{field}".encode()


def _fresh() -> str:
    return secrets.token_urlsafe(32)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """From base64, either alphabet, padded or not; ValueError on anything else."""
    text = text.rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
