"""The SSE splitter against streams cut at every byte."""

import random

import pytest

from smartoken.upstream.sse import Splitter, SseError

STREAM = (b"\xef\xbb\xbf: hello\n\ndata: one\n\nevent: add\ndata: two\ndata:three\nid: 7\nretry: 10\n\n"
          b"data\n\n:ping\n\ndata:  padded\n\nevent: lost\n\ndata: [DONE]\n\n")
EVENTS = [(b"", b"one"), (b"add", b"two\nthree"), (b"", b""), (b"", b" padded"), (b"", b"[DONE]")]


def split(pieces, **limits):
    splitter = Splitter(**limits)
    return [event for piece in pieces for event in splitter.feed(piece)]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_cut_and_every_line_ending_gives_the_same_events(ending):
    stream = STREAM.replace(b"\n", ending)
    assert split([stream]) == EVENTS
    assert split([stream[at:at + 1] for at in range(len(stream))]) == EVENTS
    for at in range(len(stream)):
        if at >= 3:  # the byte order mark is taken whole with its line
            assert split([stream[:at], b"", stream[at:]]) == EVENTS


def test_mixed_endings_and_random_cuts():
    chance = random.Random(7)
    for _ in range(200):
        stream = b"".join(line + chance.choice((b"\n", b"\r\n")) for line in STREAM.split(b"\n"))
        cuts = sorted(chance.sample(range(1, len(stream)), 5))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert split(pieces) == EVENTS


def test_an_event_is_given_as_soon_as_it_is_whole_even_after_a_lone_cr():
    splitter = Splitter()
    assert splitter.feed(b"data: a\r\n\r") == [(b"", b"a")]
    assert splitter.feed(b"\ndata: b\n") == []
    assert splitter.feed(b"\n") == [(b"", b"b")]


def test_the_end_gives_what_lacks_only_its_blank_line():
    splitter = Splitter()
    assert splitter.feed(b"data: a\n\ndata: b") == [(b"", b"a")]
    assert splitter.end() == [(b"", b"b")]
    assert Splitter().end() == []


def test_limits_hold_however_the_bytes_come():
    for pieces in ([b"data: " + b"x" * 100 + b"\n\n"], [b"x"] * 100, [b"data: ", b"x" * 50, b"x" * 50, b"\n\n"]):
        with pytest.raises(SseError):
            split(pieces, line_max=64)
    with pytest.raises(SseError):
        split([b"data: aaaaaaaaaa\n"] * 10, event_max=64)
    assert len(split([b"data: aaaaaaaaaa\n\n"] * 10, event_max=64)) == 10
