"""Clients that leave while a composite model runs its tools: what was used is charged, the loop stops, nothing stays."""

import json
import socket

import pytest

from smartoken.domain.price import token_cost_p
from tests.harness import until
from tests.solquir.test_chat import SURCHARGE_P, V1

PATHS = ("/v1/chat/completions", "/api/v1/chat/completions")
LEGAL = [{"role": "user", "content": "legal: where is Oslo?"}]


@pytest.fixture
def waits(engine):
    """The engine answers so many queries, then only waits for whoever asks to hang up."""
    def waits(patience):
        engine.asked.clear()
        engine.left.clear()
        engine.patience = patience
        return engine
    yield waits
    engine.patience = None


@pytest.fixture
def walker(gateway):
    return gateway.client("walker")


def begun(gateway, client, path, **body):
    """A socket on which a call was just made."""
    data = json.dumps({"model": "searcher", "messages": LEGAL, **body}).encode()
    line = socket.create_connection(("127.0.0.1", gateway.port), 10)
    line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return line


def quiet(gateway):
    """Nothing of any call is left over."""
    until(lambda: gateway.metric("smartoken_calls_inflight") == gateway.metric("smartoken_tools_running") == 0,
          "the end of calls and tools")


def rows(gateway, client, count):
    """The client's records, when there are so many, by their number of the round."""
    until(lambda: len(gateway.records(client)) == count, f"{count} records")
    return sorted(gateway.records(client), key=lambda row: row.rid.partition("-")[2])


def last(upstream):
    """The id of the newest call that the upstream has seen; ids rise."""
    return max((call["id"] for call in upstream.seen()), default="")


def since(upstream, id):
    """How many calls it has seen after that one; it forgets the oldest."""
    return sum(call["id"] > id for call in upstream.seen())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_while_the_only_tool_runs(gateway, walker, waits, upstream_process, path, stream):
    engine, before = waits(0), last(upstream_process)
    line = begun(gateway, walker, path, stream=stream, max_tokens=8)
    until(lambda: engine.asked, "the search")
    until(lambda: gateway.metric("smartoken_tools_running") == 1, "a tool that is seen to run")
    line.close()
    assert until(lambda: engine.left, "the end of the search") == [b""], "the engine was hung up on"
    quiet(gateway)
    first, = rows(gateway, walker, 1)
    assert (first.status, first.cost_p, first.tools) == ("ok", token_cost_p(V1, first.usage), {})
    assert since(upstream_process, before) == 1, "no second round"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_had_run_is_charged(gateway, walker, waits, upstream_process, stream):
    engine, before = waits(1), last(upstream_process)
    line = begun(gateway, walker, PATHS[1], stream=stream, x_fault="ok?wants=search,search")
    until(lambda: len(engine.asked) == 2, "both searches")
    until(lambda: gateway.metric("smartoken_tools_running") == 1, "that one of them is done")
    line.close()
    until(lambda: engine.left, "the end of the other")
    quiet(gateway)
    first, second = rows(gateway, walker, 2)
    assert (first.status, second.status, second.tools) == ("ok", "cut", {"search": 1})
    assert (second.cost_p, second.usage.total, second.attempts) == (SURCHARGE_P, 0, [])
    assert since(upstream_process, before) == 1, "no second round"


@pytest.mark.parametrize("stream", [False, True])
def test_while_the_round_after_it_is_answered(gateway, walker, waits, upstream_process, stream):
    engine = waits(9)
    fault = "slow?wants=search&gap_ms=50&tokens=40" if stream else "delay?wants=search&delay_ms=700"
    line = begun(gateway, walker, PATHS[0], stream=stream, x_fault=fault)
    until(lambda: engine.asked, "the search")
    if stream:
        seen = b""
        while b'"content":" ' not in seen:
            seen += line.recv(65_536)
    else:
        until(lambda: b'"role":"tool"' in upstream_process.seen()[-1]["body"], "the second round")
    line.close()
    quiet(gateway)
    first, second = rows(gateway, walker, 2)
    assert (first.status, second.status, second.tools) == ("ok", "cut", {"search": 1})
    assert second.cost_p == token_cost_p(V1, second.usage) + SURCHARGE_P
    assert 0 < second.usage.output <= 40
    if stream:
        assert second.usage.output < 40, "the upstream was hung up on"


def test_the_books_know_it_all(gateway, walker, waits):
    engine = waits(1)
    for number in range(3):
        line = begun(gateway, walker, PATHS[0], x_fault="ok?wants=search,search")
        until(lambda want=2 * number + 2: len(engine.asked) == want, "both searches")
        line.close()
        quiet(gateway)
    code, text = gateway.reconcile()
    assert code == 0, text
