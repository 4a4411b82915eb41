"""What a call costs when the client leaves or the upstream's usage cannot be believed."""

import socket

import pytest

from tests.harness import PRICE, token_cost_p, until
from tests.journeys.conftest import SAY, ask, rid_of


@pytest.mark.parametrize("reads", [1, 12])
def test_a_client_that_leaves_pays_for_what_it_got(gateway, sdk, upstream_process, reads):
    """client-received <= charged <= upstream-sent; and the upstream is told to stop."""
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


@pytest.mark.parametrize("stream", [b"false", b"true"])
def test_a_client_that_leaves_before_the_first_byte_is_charged_once(gateway, upstream_process, stream):
    """A whole answer is finished in the background and charged as reported; a stream is stopped at its first event."""
    leaver = gateway.client(f"leaver-{stream.decode()}", "1")
    body = b'{"model":"slow","max_tokens":3,"x_fault":"slow?delay_ms=400","messages":[{"role":"user","content":"x"}],' \
           b'"stream":' + stream + b',"seed":4711}'
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                           + leaver.key.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        call = until(lambda: next((seen for seen in upstream_process.seen() if b'"stream":' + stream + b',"seed":4711'
                                   in seen["body"].replace(b", ", b",")), None), "the call at the upstream")
    row, = until(lambda: gateway.records(leaver), "the record")
    sent = upstream_process.attempts()[call["id"]]
    assert row.status == "cut" and row.usage.output <= sent.output
    assert stream == b"true" or (row.usage.output, row.usage.source) == (3, "reported")
    assert row.cost_p == token_cost_p(PRICE, row.usage)


# play: where the usage charged comes from
USAGES = {"ok": "reported", "usage_zero": "reported", "usage_twice": "reported", "usage_negative": "counted",
          "usage_high": "counted", "usage_huge": "counted", "usage_float": "counted", "usage_bool": "counted", "no_usage": "counted"}


@pytest.fixture(scope="module")
def told(sdk):
    """{(play, stream): trace id}."""
    return {(play, stream): ask(sdk, model="renamed", max_tokens=20, stream=stream, extra_body={"x_fault": play})[1]
            for play in USAGES for stream in (False, True)}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("play", USAGES)
def test_a_usage_that_cannot_be_is_replaced_by_our_count(gateway, told, play, stream):
    record = gateway.record(told[play, stream])
    assert (record.status, record.usage.source) == ("ok", USAGES[play])
    if play == "usage_zero":
        assert record.cost_p == 0, "a reported 0 is a value"
    elif USAGES[play] == "reported":
        assert record.usage.output == 20
    else:
        assert 0 < record.usage.output <= 20 and record.usage.input > 0
    assert record.cost_p == token_cost_p(PRICE, record.usage)
    assert (record.note == "usage_not_believed") == (play == "usage_high")
