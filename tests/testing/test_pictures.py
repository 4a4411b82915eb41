"""The sandbox's pictures and films are real."""

import shutil
import zlib

import pytest

from smartoken.domain.media import is_key, key_of, sniff, type_of
from smartoken.testing.film import mp4
from smartoken.testing.picture import png, size_of
from tests.journeys.works_kit import probe
from tests.servers import required


@pytest.mark.parametrize(("width", "height", "seconds"), [(1280, 720, 5), (1920, 1080, 3), (720, 1280, 10), (62, 34, 1)])
@pytest.mark.skipif(shutil.which("ffprobe") is None and not required("ffprobe"), reason="ffprobe (Debian: ffmpeg) is not installed")
def test_a_film_is_what_it_says(tmp_path, width, height, seconds):
    data = mp4(width, height, seconds, seed=3)
    codec, wide, high, length = probe(data, tmp_path)
    assert (codec, int(wide), int(high), float(length)) == ("h264", width, height, float(seconds))
    assert sniff(data) == "video/mp4"


def test_a_picture_is_what_it_says():
    data = png(33, 7, 5)
    assert size_of(data) == (33, 7) and sniff(data) == "image/png"
    at = data.index(b"IDAT")
    size = int.from_bytes(data[at - 4:at], "big")
    assert len(zlib.decompress(data[at + 4:at + 4 + size])) == 7 * (1 + 33 * 3)


@pytest.mark.parametrize(("head", "content_type"), [
    (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"), (b"GIF89a", "image/gif"),
    (b"\0\0\0\x1cftypavif", "image/avif"), (b"\0\0\0\x20ftypisom", "video/mp4"), (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"<html>", ""), (b"", ""), (b"RIFF\0\0\0\0WAVE", ""), (b"<svg xmlns", "")])
def test_what_the_first_bytes_tell(head, content_type):
    assert sniff(head) == content_type


def test_keys():
    key = key_of(1_769_817_600_000, "0123456789abcdef" * 2, 3, "video/mp4")
    assert key == "2026/01/31/0123456789abcdef0123456789abcdef-3.mp4" and is_key(key)
    assert type_of(key) == "video/mp4"
    assert not is_key(key + "/.." ) and not is_key("../" + key) and not is_key(key + "\n")
