"""Content codings an upstream may use although we ask for none, undone with a bound on what comes out."""

import zlib
from collections.abc import Callable

DECODED_MAX = 64 << 20


class Malformed(Exception):
    """The bytes are not what their coding says."""


class TooLarge(Exception):
    """More would come out than is allowed."""


class Decoder:
    """gzip (also of several members) or deflate (zlib or bare), at most `limit` bytes in all."""

    __slots__ = ("_fresh", "_left", "_machine", "_sniff")

    def __init__(self, fresh: Callable, limit: int, sniff: bool):
        self._fresh, self._left, self._sniff = fresh, limit, sniff
        self._machine = fresh()

    def feed(self, data: bytes) -> bytes:
        """Malformed or TooLarge are raised; b"" means that more is needed."""
        if self._sniff and data:
            # "deflate" is zlib by the RFC and bare deflate by custom; the low nibble of zlib's first byte is always 8.
            if data[0] & 0x0F != 8:
                self._fresh = lambda: zlib.decompressobj(-zlib.MAX_WBITS)
                self._machine = self._fresh()
            self._sniff = False
        parts = []
        while data:
            if self._machine.eof:
                self._machine = self._fresh()
            try:
                part = self._machine.decompress(data, self._left + 1)
            except zlib.error as error:
                raise Malformed(f"bad compressed body: {error}") from None
            self._left -= len(part)
            if self._left < 0:
                raise TooLarge("the decompressed body passes its limit")
            parts.append(part)
            data = self._machine.unconsumed_tail or self._machine.unused_data
        return b"".join(parts)

    def end(self) -> None:
        """Malformed if the body stopped in the middle of a member."""
        if not self._machine.eof:
            raise Malformed("the compressed body is cut short")


def decoder_for(coding: bytes, limit: int) -> Decoder | None:
    """None for identity. Malformed for a coding that we do not know (and never asked for)."""
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding in (b"gzip", b"x-gzip"):
        return Decoder(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), limit, sniff=False)
    if coding == b"deflate":
        return Decoder(zlib.decompressobj, limit, sniff=True)
    raise Malformed(f"unknown content coding {coding[:40]!r}")
