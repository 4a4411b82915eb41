"""What a picture or a film is by its first bytes, and the keys under which they are kept."""

import re
import time

SNIFF = 32  # bytes that tell every type below

# content type: (kind, ending of the key)
TYPES: dict[str, tuple[str, str]] = {
    "image/png": ("image", "png"),
    "image/jpeg": ("image", "jpg"),
    "image/webp": ("image", "webp"),
    "image/gif": ("image", "gif"),
    "image/avif": ("image", "avif"),
    "video/mp4": ("video", "mp4"),
    "video/webm": ("video", "webm"),
    "audio/wav": ("audio", "wav"),
    "audio/mpeg": ("audio", "mp3"),
    "audio/mp4": ("audio", "m4a"),
}
ENDINGS = {ending: content_type for content_type, (_, ending) in TYPES.items()}
MOST = {"image": 64 << 20, "video": 2 << 30}
"""Bytes that one of a kind may have, unless the model's `max_bytes` says otherwise."""

_KEY = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{32}-\d{1,3}\.[a-z0-9]{2,4}")


def sniff(head: bytes) -> str:
    """The content type that the first SNIFF bytes tell, whatever anybody says about it; '' for none that we keep."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if head[4:8] == b"ftyp":
        return "image/avif" if head[8:12] in (b"avif", b"avis") else "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm"
    return ""


def key_of(at_ms: int, word: str, index: int, content_type: str) -> str:
    """Where the `index`-th result of a job is kept; `word` is 32 random hex digits that stand in the job.

    So a job that is taken up again after a crash writes to the same place, and nobody else can guess it.
    """
    return f"{time.strftime('%Y/%m/%d', time.gmtime(at_ms / 1000))}/{word}-{index}.{TYPES[content_type][1]}"


def is_key(text: str) -> bool:
    """Whether it can be a key at all: no other path is ever opened."""
    return _KEY.fullmatch(text) is not None


def type_of(key: str) -> str:
    """The content type of what is kept under a key."""
    return ENDINGS[key.rpartition(".")[2]]
