"""Server-sent events out of bytes that may be cut anywhere. No socket, no clock: feed bytes, get events."""

LINE_MAX = 1 << 20
EVENT_MAX = 4 << 20


class SseError(ValueError):
    """A line or an event passes its limit; the stream cannot be read on."""


class Splitter:
    """`feed(bytes)` gives the events that became whole, as (event, data); LF, CR and CRLF end lines; comments vanish.

    `event` is b"" when the stream named none (which a browser would call "message"). `id` and `retry` are dropped: no
    upstream that we buy from uses them.
    """

    __slots__ = ("_after_cr", "_data", "_event", "_event_max", "_line_max", "_parts", "_parts_size", "_size",
                 "_started")

    def __init__(self, line_max: int = LINE_MAX, event_max: int = EVENT_MAX):
        self._line_max, self._event_max = line_max, event_max
        self._parts: list[bytes] = []  # an unfinished line; joined once, so a long line in small cuts stays linear
        self._data: list[bytes] = []
        self._event = b""
        self._parts_size = self._size = 0
        self._after_cr = self._started = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """SseError past a limit."""
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if not data:
            return []
        if b"\r" in data:
            self._after_cr = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[tuple[bytes, bytes]] = []
        lines = data.split(b"\n")
        last = lines.pop()
        for line in lines:
            if self._parts:
                self._parts.append(line)
                line = b"".join(self._parts)
                self._parts, self._parts_size = [], 0
            if len(line) > self._line_max:
                raise SseError(f"a line passes {self._line_max} bytes")
            self._line(line, events)
        if last:
            self._parts.append(last)
            self._parts_size += len(last)
            if self._parts_size > self._line_max:
                raise SseError(f"a line passes {self._line_max} bytes")
        return events

    def end(self) -> list[tuple[bytes, bytes]]:
        """The stream is over: an event whose closing blank line is missing counts too (some upstreams forget it)."""
        self._after_cr = False
        return self.feed(b"\n\n")

    def _line(self, line: bytes, events: list[tuple[bytes, bytes]]) -> None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append((self._event, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                self._data = []
            self._event, self._size = b"", 0
            return
        field, colon, value = line.partition(b":")
        if not field and colon:
            return
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._size += len(value) + 1
            if self._size > self._event_max:
                raise SseError(f"an event passes {self._event_max} bytes")
            self._data.append(value)
        elif field == b"event":
            self._event = value
