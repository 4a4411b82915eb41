"""Recordings made of nothing: silent MP3 frames and WAV files whose length is known."""

import io
import wave

MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)    # MPEG 1 layer 3, 128 kbit/s, 44.1 kHz: 1152 samples


def mp3(frames: int) -> bytes:
    """So many frames of 26 ms."""
    return MP3_FRAME * frames


def wav(ms: int, hz: int = 24_000) -> bytes:
    """A mono recording of 16 bit."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(hz)
        file.writeframes(bytes(2 * hz * ms // 1000))
    return out.getvalue()
