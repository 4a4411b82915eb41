"""What the journal's files consist of: frames `length u32 | crc32 u32 | payload`, little-endian, msgpack inside.

A file that ends in the middle of a frame was torn by a crash: its tail is cut. Anything else that does not parse was
damaged later: the bytes are skipped up to the next whole frame, and counted.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from smartoken.domain.usage import UsageRecord

VERSION = 1
FRAME_MAX = 16 * 1024 * 1024
_HEADER = struct.Struct("<II")


class Head(msgspec.Struct, tag="h", array_like=True, gc=False):
    """First in every segment: whose it is, and {lease: (account, cumulative spend)} as of its beginning."""

    node: str
    boot: str
    number: int
    leases: dict[str, tuple[str, dict[str, int]]]
    version: int = VERSION


class Intent(msgspec.Struct, tag="i", array_like=True, gc=False):
    """A lease is about to be asked of the ledger."""

    lease: str
    acct: str


class OpenFrame(msgspec.Struct, tag="o", array_like=True, gc=False):
    """A request at dispatch: everything that is needed to bill it if this process is killed.

    `input_u` and `output_u` are its price in µUSD per million tokens, `input_tokens` the estimate; `parts` are its
    hold's [(pocket, pUSD)]; `tools` that ran before it are charged with it, `tools_p` in all. `slot` and `serial` are
    the journal's own. One that comes again has grown.
    """

    rid: str
    acct: str
    key: str
    model: str
    at_ms: int
    wire: str = ""
    stream: bool = False
    price_rev: str = ""
    input_u: int = 0
    output_u: int = 0
    input_tokens: int = 0
    lease: str = ""
    parts: Sequence[tuple[str, int]] = ()
    slot: int = 0
    serial: int = 0
    tools: dict[str, int] = {}
    tools_p: int = 0


class DoneFrame(msgspec.Struct, tag="d", array_like=True, gc=False):
    """A finished request."""

    record: UsageRecord


Frame = Head | Intent | OpenFrame | DoneFrame
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def pack(frame: Frame) -> bytes:
    """The bytes of a frame."""
    payload = _encoder.encode(frame)
    return _HEADER.pack(len(payload), crc32(payload)) + payload


def _at(data: memoryview, offset: int) -> tuple[Frame, int] | None:
    """The whole frame at an offset and where it ends, or None."""
    if offset + 8 > len(data):
        return None
    length, crc = _HEADER.unpack_from(data, offset)
    end = offset + 8 + length
    if not 0 < length <= FRAME_MAX or end > len(data) or crc32(data[offset + 8:end]) != crc:
        return None
    try:
        return _decoder.decode(data[offset + 8:end]), end
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def read(path: Path) -> Iterator[Frame | int]:
    """The frames of a file, in order; an int stands for so many damaged bytes, the last item (0: none) for a torn tail.
    """
    data = memoryview(path.read_bytes())
    offset = 0
    while True:
        found = _at(data, offset)
        if found is None:
            after = next((later for later in range(offset + 1, len(data) - 8) if _at(data, later)), None)
            if after is None:
                yield len(data) - offset
                return
            yield after - offset
            offset = after
        else:
            frame, offset = found
            yield frame
