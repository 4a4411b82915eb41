"""CPU per event of reading and bridging a stream: `python -m tests.bench.wire_events`. One process, no sockets.

Each stream has 400 events of one token, fed one by one as separate reads. Figures are microseconds of user time an
event, the best of nine rounds: relayed rows should not differ, bridged ones stay below 15.
"""

import json
import time

from smartoken_plugins.bridges import smartoken_bridges
from smartoken_plugins.wire_anthropic import messages
from smartoken_plugins.wire_openai import chat, responses

from smartoken.engine.bridged import BridgedReader
from smartoken.testing.answers import plain_talk
from smartoken.testing.plays import parse
from smartoken.testing.wires import wires

EVENTS, ROUNDS = 400, 9
WIRES = {"openai.chat": (chat.WIRE, "/chat/completions"), "openai.responses": (responses.WIRE, "/responses"),
         "anthropic.messages": (messages.WIRE, "/messages")}
SAID = [{"role": "user", "content": "x"}]
ASKED = {"openai.chat": {"messages": SAID, "stream_options": {"include_usage": True}}, "openai.responses": {"input": "x"},
         "anthropic.messages": {"messages": SAID, "max_tokens": 4096}}


def events_of(wire: str) -> list[bytes]:
    """The pretend upstream's events, one token each."""
    module = wires()[WIRES[wire][1]]
    body = {"model": "m", "stream": True, **ASKED[wire]}
    answer = module.answer(module.read(json.dumps(body).encode()), parse(f"ok?tokens={EVENTS}"), plain_talk)
    return [data for data, _ in answer.pieces]


def ask_of(wire: str):
    return WIRES[wire][0].peek(json.dumps({"model": "m", "stream": True, **ASKED[wire]}).encode())


def measure(make, events: list[bytes]) -> float:
    """Microseconds an event."""
    best = 1e9
    for _ in range(ROUNDS):
        reader = make()
        begin = time.process_time_ns()
        for event in events:
            reader.feed(event)
        best = min(best, time.process_time_ns() - begin)
        reader.close()
    return best / 1000 / len(events)


def main() -> None:
    for name, (wire, _) in WIRES.items():
        ask = ask_of(name)
        print(f"relayed  {name:20s} {measure(lambda w=wire, a=ask: w.reader(a, {}, False), events_of(name)):6.2f} µs/event")
    for bridge in smartoken_bridges():
        ask, inner = ask_of(bridge.source), WIRES[bridge.target][0]
        figure = measure(lambda b=bridge, a=ask, i=inner: BridgedReader(i.reader(a, {}, False), b.stream(a), None, False),
                         events_of(bridge.target))
        print(f"bridged  {bridge.source:20s} <- {bridge.target:20s} {figure:6.2f} µs/event")


if __name__ == "__main__":
    main()
