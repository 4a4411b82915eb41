"""T12: however a client leaves, it pays for what it got and no more than was sent, and nothing of its call stays behind.

Clients that leave before the first token, in the middle, by reset, with more bytes in the pipe, that close their
side (which counts as leaving, as it does everywhere), that read slowly, or that stay to the end; on channels where hanging up stops the upstream's bill and on channels where it
does not. Charged lies between received and sent; the upstream is hung up on where that saves money and read to its end
where not (one such stream at a time: more would be read for nothing); no slot, call or socket is left.
"""

import json
import os
import socket
import struct
import time

from smartoken.testing.process import UpstreamProcess
from tests.chaos.proof import Means, Proof
from tests.harness import PRICE, Gateway, channel, cost_of, model, token_cost_p, until
from tests.journeys.conftest import SAY

TOKENS = 40
WAYS = ("stays", "before", "middle", "reset", "pipelined", "half_close", "slow", "whole_before", "whole_stays")
RESET = struct.pack("ii", 1, 0)


def prove(means: Means) -> Proof:
    rounds = 12 if means.long else 1
    upstream = UpstreamProcess(means.folder / "sent.jsonl")
    means.ends.callback(upstream.stop)
    gateway = Gateway(means.folder)
    means.ends.callback(gateway.close)
    play = f"slow?gap_ms=15&tokens={TOKENS}&delay_ms=150"
    slugs = {f"{way}-{stops}": stops for way in WAYS for stops in ("stops", "goes-on")}
    gateway.apply(*map(model, slugs), *(channel(slug, upstream.at(slug, play), {slug: slug},
                                                cancel_stops_billing=stops == "stops") for slug, stops in slugs.items()))
    gateway.start()
    client = gateway.client("leaver", "50")
    leave(gateway, client.key, "stays-stops", "stays", 0)      # what is opened once stays open
    until(lambda: len(gateway.records(client)) == 1, "the first record")
    sockets = descriptors(gateway)
    seen = []
    for number in range(rounds):
        for slug in slugs:
            known = set(upstream.attempts())
            got, whole = leave(gateway, client.key, slug, slug.partition("-")[0], number)
            until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of the call", 30)
            seen.append((slug, got, whole, [line for id, line in upstream.attempts().items() if id not in known]))
    until(lambda: len(gateway.records(client)) == len(seen) + 1, "all records")
    rows = {slug: [row for row in gateway.records(client) if row.model == slug] for slug in slugs}
    rows["stays-stops"].pop(0)
    wrong = drained = 0
    for slug, got, whole, lines in seen:
        row, line = rows[slug].pop(0), lines[0] if lines else None
        for mistake in judge(slug.partition("-")[0], slugs[slug], got, whole, row, line):
            wrong += 1
            print(f"{slug}: {mistake}")
        drained += line is not None and line.finished and row.status == "cut"
    wrong += until(lambda: descriptors(gateway) <= sockets + 1, "the sockets to be closed", 90) is not True
    gateway.stop()
    code, said = gateway.reconcile()
    assert code == 0, said
    return Proof("calls", len(seen), wrong, {"ways to leave": len(WAYS), "read to the end without a client": drained,
                                         "sockets left open": 0})


def judge(way: str, stops: str, got: int, whole: bool, row, line):
    """What is wrong with a call: `got` tokens came to the client, `line` is what the upstream sent."""
    if row.cost_p != token_cost_p(PRICE, row.usage):
        yield "the charge is not that of its usage"
    sent = line.output if line is not None else 0
    if not got <= row.usage.output <= max(sent, got):
        yield f"received {got}, charged {row.usage.output}, sent {sent}"
    stays = way in ("stays", "slow", "whole_stays")
    if stays != whole:
        yield f"the client has {'a whole' if whole else 'no whole'} answer"
    if stays and (row.status, row.cost_p) != ("ok", cost_of(line)):
        yield f"status {row.status}, charged {row.cost_p}, sent {cost_of(line)}"
    if not stays and row.status != "cut":
        yield f"status {row.status} though the client left"
    if way in ("middle", "reset", "pipelined"):
        if stops == "stops" and line.finished:
            yield "the upstream was read on for nothing"
        if stops == "goes-on" and (not line.finished or row.cost_p != cost_of(line)):
            yield "the upstream's bill goes on, but we did not read what it costs"
    if way == "whole_before" and row.cost_p != cost_of(line):
        yield f"charged {row.cost_p}, sent {cost_of(line)}"


def leave(gateway: Gateway, key: str, slug: str, way: str, number: int) -> tuple[int, bool]:
    """One call that ends in a way; (tokens received, the answer was whole)."""
    stream = not way.startswith("whole")
    body = json.dumps({"model": slug, "messages": SAY, "max_tokens": TOKENS, "stream": stream}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as link:
        link.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n%b" % (key.encode(), len(body), body))
        if way in ("before", "whole_before"):
            time.sleep(0.05 + number % 5 * 0.015)
            return 0, False
        if way == "half_close":
            link.shutdown(socket.SHUT_WR)
        seen = b""
        enough = 3 + number % 20 if way in ("middle", "reset", "pipelined") else 10**6
        while tokens(seen) < enough:
            part = link.recv(300 if way == "slow" else 65536)
            if not part:
                break
            seen += part
            if way == "slow":
                time.sleep(0.02)
        if way == "pipelined":
            link.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        if way in ("reset", "pipelined"):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    if not stream:
        return json.loads(seen.partition(b"\r\n\r\n")[2])["usage"]["completion_tokens"], True
    return tokens(seen), b"data: [DONE]" in seen


def tokens(seen: bytes) -> int:
    """Events with content that are whole."""
    return sum(b'"content":"' in event and b'"content":""' not in event for event in seen.split(b"\n\n")[:-1])


def descriptors(gateway: Gateway) -> int:
    """Open files and sockets of the worker."""
    return len(os.listdir(f"/proc/{gateway.worker_pids()[0]}/fd"))
