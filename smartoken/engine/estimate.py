"""What a model's requests use, learned from what upstreams report: for holds, and for streams cut before any report.

Tokens per byte of body, output tokens per counted event, and the 95th percentile of output. Integers in thousandths; no
estimate is ever charged where a report is there.
"""

from smartoken.domain.usage import Usage

FIRST_PER_BYTE = 333      # thousandths of a token per byte, before anything was learned
FIRST_OUTPUT = 1024       # tokens of output held for, before anything was learned
MOST_OUTPUT = 4096        # and never more than this (or the model's own limit) unless the client allows it


class Estimate:
    """One model's."""

    __slots__ = ("_deviation", "_mean", "_output", "_per_event")

    def __init__(self) -> None:
        self._mean, self._deviation = FIRST_PER_BYTE, 0
        self._output, self._per_event = FIRST_OUTPUT, 1000

    def input(self, size: int) -> int:
        """Tokens that a body of so many bytes probably has."""
        return size * self._mean // 1000 + 1

    def input_at_most(self, size: int) -> int:
        """The same with room for the unusual: four mean deviations, never more than a token a byte."""
        return size * min(self._mean + 4 * self._deviation + 50, 1000) // 1000 + 8

    def output(self, most: int) -> int:
        """Tokens of output to hold for when the client names no limit; `most` is the model's, 0 when unknown."""
        return min(max(self._output, 64), most or MOST_OUTPUT)

    def counted(self, events: int) -> int:
        """Tokens in so many content events: some upstreams send several in one, none is taken for less than one."""
        return events * self._per_event // 1000

    def learn(self, size: int, usage: Usage, events: int) -> None:
        """From a finished request with reported usage; `events` is 0 for one that did not stream."""
        prompt = usage.input + usage.cache_read + usage.cache_write
        if size and prompt:
            seen = min(prompt * 1000 // size, 1000)
            self._deviation += (abs(seen - self._mean) - self._deviation) // 8
            self._mean += (seen - self._mean) // 8
        if events > 8 and usage.output >= events:
            # No reported usage can show less than a token per event; reasoning that was never sent is left out.
            seen = max(1000, (usage.output - usage.reasoning) * 1000 // events)
            self._per_event += (seen - self._per_event) // 4
        step = max(self._output // 50, 1)
        self._output += step * 19 if usage.output > self._output else -step
        self._output = max(self._output, 64)
