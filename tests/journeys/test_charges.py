"""Who leaves pays for what was delivered: client-received <= charged <= upstream-sent."""

import pytest

from tests.harness import PRICE, token_cost_p, until
from tests.journeys.conftest import SAY, rid_of


@pytest.mark.parametrize("reads", [1, 12])
def test_a_client_that_leaves_pays_for_what_it_got(gateway, sdk, upstream_process, reads):
    stream = sdk.chat.completions.create(model="steady", messages=SAY, stream=True)
    got = []
    for chunk in stream:
        got += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        if len(got) >= reads:
            break
    call, rid = chunk.id.removeprefix("chatcmpl-"), rid_of(stream.response.headers)
    stream.response.close()
    record = gateway.record(rid)
    sent = until(lambda: (line := upstream_process.attempts()[call]).left and line, "the upstream's client to leave")
    assert record.status == "cut"
    assert len(got) <= record.usage.output <= sent.output < 400
    assert record.usage.input > 0 and record.cost_p == token_cost_p(PRICE, record.usage)


def test_a_client_that_leaves_a_whole_answer_pays_for_it_once(gateway, client, upstream_process):
    """The answer is finished in the background, and charged as reported."""
    import socket
    body = b'{"model":"slow","max_tokens":3,"x_fault":"delay","messages":[{"role":"user","content":"x"}]}'
    before = len(gateway.records(client))
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                           + client.key.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: upstream_process.seen()[-1]["model"] == "up-slow", "the call at the upstream")
    rows = until(lambda: gateway.records(client)[before:], "the record")
    assert len(rows) == 1 and rows[0].usage.output in (0, 3)
    assert rows[0].cost_p == token_cost_p(PRICE, rows[0].usage)
