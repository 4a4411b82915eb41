"""Recordings told by their first bytes, and measured by their headers alone."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from smartoken.domain.audio import audio_ms, sniff_audio
from smartoken.testing.sound import mp3, wav

MP4 = b"\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00" + b"\x00\x00\x00\x6cmoov" + b"\x00\x00\x00\x6cmvhd" + \
    struct.pack(">IIIII", 0, 0, 0, 1000, 7_500)
FLAC = b"fLaC\x00\x00\x00\x22" + bytes(10) + (44_100 << 44 | 88_200).to_bytes(8, "big") + bytes(16)
OPUS = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead" + bytes(20) + b"OggS\x00\x04" + struct.pack("<Q", 96_000)


@pytest.mark.parametrize("data, kind, length", [
    (wav(2_000), "audio/wav", 2_000), (wav(1_500, 8_000), "audio/wav", 1_500), (mp3(100), "audio/mpeg", 2_612),
    (b"ID3\x04\x00\x00\x00\x00\x00\x05abcde" + mp3(10), "audio/mpeg", 261), (MP4, "audio/mp4", 7_500),
    (FLAC, "audio/flac", 2_000), (OPUS, "audio/ogg", 2_000), (b"\x1a\x45\xdf\xa3" + bytes(20), "audio/webm", None),
    (b"\x89PNG\r\n\x1a\n" + bytes(20), "", None), (b"", "", None), (b"RIFF\x00\x00\x00\x00WAVE", "audio/wav", None)])
def test_types_and_lengths(data, kind, length):
    assert (sniff_audio(data[:32]), audio_ms(data)) == (kind, length)


@given(some.binary(max_size=200), some.sampled_from([b"", b"RIFF\x10\x00\x00\x00WAVE", b"ID3\x04\x00\x00",
                                                     b"\xff\xfb\x90", b"\x00\x00\x00\x18ftypM4A mvhd", b"fLaC", b"OggS"]))
def test_no_bytes_break_it(data, head):
    found = audio_ms(head + data)
    assert found is None or found >= 0
