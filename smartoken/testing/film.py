"""Real MP4 films without any library: H.264 (constrained baseline) that every player reads, a moving gradient.

Each picture is an IDR slice. A row of macroblocks begins with one that carries its samples as they are (I_PCM) and goes
on with macroblocks predicted from their left neighbour with nothing added, eight bits each; so a film of ten pictures at
1280x720 has some 200 KB. (ITU-T H.264: syntax 7.3, mb_type of I slices table 7-11, coeff_token table 9-5.)
"""

import functools
import re
import struct

FPS = 2
I_PCM, I_LEFT = 25, 2           # mb_type: samples as they are; 16x16 from the left, nothing coded
NONE_LEFT, NONE_BY_PCM = "1", "000011"   # coeff_token "no coefficient": next to none, next to an I_PCM macroblock


@functools.lru_cache(maxsize=16)
def mp4(width: int, height: int, seconds: int, seed: int = 0) -> bytes:
    """A film of that size and length."""
    count = max(1, seconds * FPS)
    pictures = [_nal(5, _slice(width, height, picture, seed)) for picture in range(count)]
    samples = [struct.pack(">I", len(nal)) + nal for nal in pictures]
    sps, pps = _nal(7, _sps(width, height)), _nal(8, _bits(_ue(0) + _ue(0) + "00" + _ue(0) + _ue(0) + _ue(0) + "000"
                                                           + _ue(0) + _ue(0) + _ue(0) + "100"))
    head = _box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
    moov = _moov(width, height, sps, pps, [len(sample) for sample in samples], 0)
    moov = _moov(width, height, sps, pps, [len(sample) for sample in samples], len(head) + len(moov) + 8)
    return head + moov + _box(b"mdat", b"".join(samples))


# -- H.264

def _ue(value: int) -> str:
    """Exp-Golomb."""
    binary = f"{value + 1:b}"
    return "0" * (len(binary) - 1) + binary


def _bits(bits: str) -> bytes:
    """The bits with the stop bit and zeros up to a byte."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _nal(kind: int, payload: bytes) -> bytes:
    return bytes((0x60 | kind,)) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def _blocks(size: int) -> int:
    return -(-size // 16)


def _sps(width: int, height: int) -> bytes:
    right, below = (_blocks(width) * 16 - width) // 2, (_blocks(height) * 16 - height) // 2
    crop = "1" + _ue(0) + _ue(right) + _ue(0) + _ue(below) if right or below else "0"
    return bytes((66, 0xC0, 40)) + _bits(_ue(0) + _ue(0) + _ue(2) + _ue(1) + "0" + _ue(_blocks(width) - 1)
                                         + _ue(_blocks(height) - 1) + "1" + "1" + crop + "0")


def _slice(width: int, height: int, picture: int, seed: int) -> bytes:
    # first_mb, slice_type I, pps, frame_num (4 bits), idr_pic_id, dec_ref_pic_marking (2 bits), qp delta, no deblocking
    pieces = [_ue(0) + _ue(7) + _ue(0) + "0000" + _ue(picture & 1) + "00" + _ue(0) + _ue(1)]
    length = len(pieces[0])
    across, down = _blocks(width), _blocks(height)
    beside = _ue(I_LEFT) + _ue(1) + _ue(0) + NONE_BY_PCM
    further = (_ue(I_LEFT) + _ue(1) + _ue(0) + NONE_LEFT) * (across - 2) if across > 1 else ""
    for row in range(down):
        head = _ue(I_PCM)
        head += "0" * (-(length + len(head)) % 8)
        luma = 40 + (row * 160 // down + picture * 9 + seed) % 180
        colour = (80 + (picture * 11 + seed * 5) % 100, 80 + (row * 90 // down + seed * 3) % 100)
        samples = bytes((luma,)) * 256 + bytes((colour[0],)) * 64 + bytes((colour[1],)) * 64
        tail = (beside if across > 1 else "") + further
        pieces += [head, f"{int.from_bytes(samples, 'big'):03072b}", tail]
        length += len(head) + 3072 + len(tail)
    return _bits("".join(pieces))


# -- MP4 (ISO/IEC 14496-12, 14496-15)

def _box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + kind + data


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


def _moov(width: int, height: int, sps: bytes, pps: bytes, sizes: list[int], offset: int) -> bytes:
    long_ms = len(sizes) * 1000 // FPS
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    avcc = _box(b"avcC", b"\1", sps[1:4], b"\xff\xe1", struct.pack(">H", len(sps)), sps, b"\1",
                struct.pack(">H", len(pps)), pps)
    avc1 = _box(b"avc1", bytes(6), struct.pack(">H", 1), bytes(16), struct.pack(">HH", width, height),
                struct.pack(">III", 0x480000, 0x480000, 0), struct.pack(">H", 1), bytes(32),
                struct.pack(">Hh", 24, -1), avcc)
    tables = _box(
        b"stbl", _full(b"stsd", struct.pack(">I", 1), avc1),
        _full(b"stts", struct.pack(">III", 1, len(sizes), 1000 // FPS)),
        _full(b"stsc", struct.pack(">IIII", 1, 1, len(sizes), 1)),
        _full(b"stsz", struct.pack(f">II{len(sizes)}I", 0, len(sizes), *sizes)),
        _full(b"stco", struct.pack(">II", 1, offset)))
    minf = _box(b"minf", _full(b"vmhd", bytes(8), flags=1),
                _box(b"dinf", _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1))), tables)
    mdia = _box(b"mdia", _full(b"mdhd", struct.pack(">IIIIHH", 0, 0, 1000, long_ms, 0x55C4, 0)),
                _full(b"hdlr", struct.pack(">I4s12x", 0, b"vide"), b"film\0"), minf)
    tkhd = _full(b"tkhd", struct.pack(">IIIII8xHHHH", 0, 0, 1, 0, long_ms, 0, 0, 0, 0), matrix,
                 struct.pack(">II", width << 16, height << 16), flags=3)
    mvhd = _full(b"mvhd", struct.pack(">IIIIIH10x", 0, 0, 1000, long_ms, 0x10000, 0x100), matrix, bytes(24),
                 struct.pack(">I", 2))
    return _box(b"moov", mvhd, _box(b"trak", tkhd, mdia))
