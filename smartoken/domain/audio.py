"""What a recording is by its first bytes, and how long it lasts, as far as its headers tell. Pure; never decodes."""

import struct

# content type: ending of a file's name
AUDIO: dict[str, str] = {"audio/wav": "wav", "audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/flac": "flac",
                         "audio/ogg": "ogg", "audio/webm": "webm"}

_MP3_KBPS = {(1, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
             (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
             (1, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
             (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
             (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
_MP3_HZ = (44_100, 48_000, 32_000)


def sniff_audio(head: bytes) -> str:
    """A type of AUDIO by the first 32 bytes; '' for none."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:3] == b"ID3" or (len(head) > 3 and _mp3_frame(head[:4]) is not None):
        return "audio/mpeg"
    if head[4:8] == b"ftyp":
        return "audio/mp4"
    return {b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"\x1a\x45\xdf\xa3": "audio/webm"}.get(head[:4], "")


def audio_ms(data: bytes) -> int | None:
    """Milliseconds of a whole recording; None where its headers do not say."""
    measure = {"audio/wav": _wav_ms, "audio/mpeg": _mp3_ms, "audio/mp4": _mp4_ms, "audio/flac": _flac_ms,
               "audio/ogg": _ogg_ms}.get(sniff_audio(data[:32]))
    if measure is None:
        return None
    try:
        return measure(data)
    except (struct.error, ZeroDivisionError, IndexError):
        return None


def _wav_ms(data: bytes) -> int | None:
    at, rate = 12, 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            rate = struct.unpack_from("<I", data, at + 16)[0]
        elif name == b"data":
            # A stream's header may say a size that it could not know yet.
            return min(size, len(data) - at - 8) * 1000 // rate
        at += 8 + size + size % 2
    return None


def _mp3_ms(data: bytes) -> int | None:
    at, us, frames = 0, 0, 0
    if data[:3] == b"ID3":
        at = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
    while at + 4 <= len(data):
        frame = _mp3_frame(data[at:at + 4])
        if frame is None:
            if frames:
                break
            at += 1
            continue
        size, length_us = frame
        at, us, frames = at + size, us + length_us, frames + 1
    return us // 1000 if frames else None


def _mp3_frame(head: bytes) -> tuple[int, int] | None:
    """(bytes, microseconds) of the frame that begins so; None when it is no frame's head."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = {3: 1, 2: 2, 0: 4}.get(head[1] >> 3 & 3, 0), head[1] >> 1 & 3
    kbps_at, hz_at = head[2] >> 4, head[2] >> 2 & 3
    if not version or not layer or kbps_at in (0, 15) or hz_at == 3:
        return None
    table = _MP3_KBPS[(1, layer) if version == 1 else (2, 3 if layer == 3 else 2)]
    hz = _MP3_HZ[hz_at] // version
    samples = 384 if layer == 3 else 1152 if layer == 2 or version == 1 else 576
    kbps, padding = table[kbps_at], head[2] >> 1 & 1
    size = (12 * kbps * 1000 // hz + padding) * 4 if layer == 3 else samples // 8 * kbps * 1000 // hz + padding
    return size, samples * 1_000_000 // hz


def _mp4_ms(data: bytes) -> int | None:
    at = data.find(b"mvhd")
    if at < 0:
        return None
    wide = data[at + 4] == 1
    scale, length = struct.unpack_from(">IQ" if wide else ">II", data, at + (24 if wide else 16))
    return length * 1000 // scale


def _flac_ms(data: bytes) -> int | None:
    bits = int.from_bytes(data[18:26], "big")
    hz, samples = bits >> 44, bits & (1 << 36) - 1
    return samples * 1000 // hz if samples else None


def _ogg_ms(data: bytes) -> int | None:
    last = data.rfind(b"OggS")
    hz = 48_000
    if b"OpusHead" not in data[:512]:
        at = data[:512].find(b"\x01vorbis")
        if at < 0:
            return None
        hz = struct.unpack_from("<I", data, at + 12)[0]
    return struct.unpack_from("<Q", data, last + 6)[0] * 1000 // hz
