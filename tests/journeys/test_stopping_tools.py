"""A gateway that is told to stop between two rounds of a composite call: the tools that had run are charged, whether the
client had left before or waits still, and who waits is told."""

import json
import socket

import pytest

from smartoken.domain.money import P_PER_U
from smartoken.domain.price import token_cost_p
from tests.harness import PRICE, Gateway, channel, model, until
from tests.journeys.conftest import SAY

PATH = "/v1/chat/completions"
TOOL_P = 3000 * P_PER_U
# `slow` does not end by itself, and takes its time to end when it is told to.
TOOLS = '''
import asyncio
from smartoken.plugin import Tool, hookimpl


async def quick(arguments):
    return "It ran."


async def slow(arguments):
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(1.5)


@hookimpl
def smartoken_tools():
    return [Tool(tool.__name__, "Runs", {"type": "object"}, tool) for tool in (quick, slow)]
'''
COMPOSITE = model("worker") + """\
[models.composite]
members = ["member"]
tools = ["quick", "slow"]
"""


@pytest.fixture
def gateway(tmp_path, upstream_process):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tools.py").write_text(TOOLS)
    gateway = Gateway(tmp_path, drain_s=1, conf="[plugins]\nenabled = ['*', 'tools']\npaths = ['own']\n")
    priced = COMPOSITE.replace("cache_read_per_mtok", "per_tool_call = { quick = 3000, slow = 3000 }, cache_read_per_mtok")
    gateway.apply(priced, model("member"), channel("m", upstream_process.at("m", "ok?wants=quick,slow"), {"member": "x"}))
    gateway.start()
    yield gateway
    gateway.close()


def begun(gateway, client, stream):
    """A socket on which a call was just made."""
    data = json.dumps({"model": "worker", "messages": SAY, "stream": stream}).encode()
    line = socket.create_connection(("127.0.0.1", gateway.port), 30)
    line.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return line


def charged(gateway, client):
    """Nothing is left open, and the client paid for its round and for the tool that had run."""
    rows = [row for row in gateway.check_books(client) if row.acct == client.acct]
    first, second = sorted(rows, key=lambda row: row.rid.partition("-")[2])
    assert (first.status, first.cost_p) == ("ok", token_cost_p(PRICE, first.usage))
    assert (second.status, second.tools, second.cost_p) == ("cut", {"quick": 1}, TOOL_P)


def test_who_left_before_the_stop_pays_for_the_tool_that_had_run(gateway):
    client = gateway.client("left")
    line = begun(gateway, client, False)
    until(lambda: gateway.metric("smartoken_tools_running") == 1, "that one of them is done")
    line.close()
    gateway.stop()
    charged(gateway, client)


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_still_is_told_and_pays_for_it_too(gateway, stream):
    client = gateway.client("waits")
    with begun(gateway, client, stream) as line:
        until(lambda: gateway.metric("smartoken_tools_running") == 1, "that one of them is done")
        gateway.stop()
        answer = b""
        while data := line.recv(65_536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200" if stream else b"HTTP/1.1 503") and b'"not_ready"' in answer, answer
    charged(gateway, client)
