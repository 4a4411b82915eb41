"""Requests that two servers could read differently. From none of them may we read two, and none may reach a handler
with a framing that another hop could dispute."""

import asyncio
import json

import pytest
from web_kit import Client, Echo, served

INNER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
START = b"POST /hot HTTP/1.1\r\nHost: a\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


def tail(head, body=b"0\r\n\r\n"):
    return head + b"\r\n" + body + INNER


# name: (bytes, the statuses that may be answered). Every one of them ends the connection, unless it is listed in ALONE.
REFUSED = {
    "length and chunked": (tail(START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), {400}),
    "chunked and length": (tail(START + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), {400}),
    "length and unknown coding": (tail(START + b"Content-Length: 5\r\nTransfer-Encoding: x\r\n"), {400}),
    "two lengths": (tail(START + b"Content-Length: 5\r\nContent-Length: 6\r\n"), {400}),
    "the same length twice": (tail(START + b"Content-Length: 5\r\nContent-Length: 5\r\n"), {400}),
    "a list of lengths": (tail(START + b"Content-Length: 5, 5\r\n"), {400}),
    "a signed length": (tail(START + b"Content-Length: +5\r\n"), {400}),
    "a negative length": (tail(START + b"Content-Length: -5\r\n"), {400}),
    "a hexadecimal length": (tail(START + b"Content-Length: 0x5\r\n"), {400}),
    "a length with a blank": (tail(START + b"Content-Length: 5 5\r\n"), {400}),
    "a length with an underscore": (tail(START + b"Content-Length: 1_0\r\n"), {400}),
    "an empty length": (tail(START + b"Content-Length:\r\n"), {400}),
    "a length past 64 bits": (tail(START + b"Content-Length: 99999999999999999999999\r\n"), {400}),
    "a decimal length": (tail(START + b"Content-Length: 5.0\r\n"), {400}),
    "unknown coding": (tail(START + b"Transfer-Encoding: xchunked\r\n"), {400}),
    "identity": (tail(START + b"Transfer-Encoding: identity\r\n"), {400}),
    "gzip under chunked": (tail(START + b"Transfer-Encoding: gzip, chunked\r\n"), {400}),
    "chunked not last": (tail(START + b"Transfer-Encoding: chunked, identity\r\n"), {400}),
    "chunked twice": (tail(START + b"Transfer-Encoding: chunked, chunked\r\n"), {400}),
    "two codings": (tail(START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), {400}),
    "two equal codings": (tail(START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), {400}),
    "quoted coding": (tail(START + b'Transfer-Encoding: "chunked"\r\n'), {400}),
    "coding with a vertical tab": (tail(START + b"Transfer-Encoding: \x0bchunked\r\n"), {400}),
    "coding in HTTP/1.0": (tail(b"POST /hot HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"), {400}),
    "a blank before the colon": (tail(START + b"Transfer-Encoding : chunked\r\n"), {400}),
    "a blank before the name": (tail(START + b" Transfer-Encoding: chunked\r\n"), {400}),
    "a folded line": (tail(START + b"X: a\r\n Transfer-Encoding: chunked\r\n"), {400}),
    "a folded coding": (tail(START + b"Transfer-Encoding:\r\n chunked\r\n"), {400}),
    "bare LF in the head": (tail(START + b"X: a\nTransfer-Encoding: chunked\r\n"), {400}),
    "bare LF everywhere": (tail(START + b"Content-Length: 0\r\n").replace(b"\r\n", b"\n"), {400}),
    "bare LF ends the head": (START + b"Content-Length: 0\r\n\n" + INNER, {400}),
    "bare CR in a value": (tail(START + b"X: a\rTransfer-Encoding: chunked\r\n"), {400}),
    "NUL in a value": (tail(START + b"X: a\0b\r\n"), {400}),
    "NUL in a name": (tail(START + b"X\0: a\r\n"), {400}),
    "a control byte in a value": (tail(START + b"X: a\x01b\r\n"), {400}),
    "DEL in a value": (tail(START + b"X: a\x7fb\r\n"), {400}),
    "no colon": (tail(START + b"Transfer-Encoding\r\n"), {400}),
    "an empty name": (tail(START + b": chunked\r\n"), {400}),
    "a bracket in a name": (tail(START + b"X(: a\r\n"), {400}),
    "chunk size 0x": (CHUNKED + b"0x0\r\n\r\n" + INNER, {400}),
    "chunk size with a blank": (CHUNKED + b"0 \r\n\r\n" + INNER, {400}),
    "chunk size signed": (CHUNKED + b"+0\r\n\r\n" + INNER, {400}),
    "chunk size empty": (CHUNKED + b"\r\n\r\n" + INNER, {400}),
    "chunk size past 64 bits": (CHUNKED + b"10000000000000000\r\n\r\n" + INNER, {400}),
    "chunk lines with bare LF": (CHUNKED + b"1\na\n0\n\n" + INNER, {400}),
    "a chunk longer than its size": (CHUNKED + b"1\r\nabc\r\n0\r\n\r\n" + INNER, {400}),
    "a chunk extension with bare LF": (CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n" + INNER, {400}),
    "a length in the trailer": (CHUNKED + b"0\r\nContent-Length: 50\r\n\r\n" + INNER, {400}),
    "HTTP/0.9": (b"GET /hot\r\n\r\n" + INNER, {400}),
    "HTTP/0.9 by name": (b"GET /hot HTTP/0.9\r\n\r\n" + INNER, {400}),
    "HTTP/1.2": (b"GET /hot HTTP/1.2\r\nHost: a\r\n\r\n" + INNER, {400}),
    "HTTP/2.0": (b"GET /hot HTTP/2.0\r\nHost: a\r\n\r\n" + INNER, {400}),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER, {400}),
    "a version in lower case": (b"GET /hot http/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "a method in lower case": (b"get /hot HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "no host": (b"GET /hot HTTP/1.1\r\n\r\n" + INNER, {400}),
    "an empty host": (b"GET /hot HTTP/1.1\r\nHost:\r\n\r\n" + INNER, {400}),
    "two hosts": (b"GET /hot HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + INNER, {400}),
    "two credentials": (b"GET /hot HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nauthorization: b\r\n\r\n" + INNER, {400}),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {405}),
    "a target of another scheme": (b"GET ftp://a/hot HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "a target with a user": (b"GET http://u@a/hot HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "a bare word as target": (b"GET hot HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "an asterisk for GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "a fragment": (b"GET /hot#x HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "a control byte in the target": (b"GET /hot\x01 HTTP/1.1\r\nHost: a\r\n\r\n" + INNER, {400}),
    "TLS to a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100, {400}),
    "too many headers": (START + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n" + INNER, {431}),
    "too big a header": (START + b"X: " + b"a" * 17_000 + b"\r\n\r\n" + INNER, {431}),
    "a header without an end": (START + b"X: " + b"a" * 40_000, {431}),
    "headers too big together": (
        START + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 900) for n in range(20)) + b"\r\n", {431}),
    "a target without an end": (b"GET /" + b"a" * 40_000, {431}),
    "endless blank lines": (b"\r\n" * 20_000, {431}),
    "too many trailers": (CHUNKED + b"0\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n", {431}),
}

# One request each, served; what follows it must not be.
ALONE = {
    "an underscore for the hyphen": START + b"Transfer_Encoding: chunked\r\nContent-Length: %d\r\n\r\n%b" % (
        len(INNER), INNER),
    "upgrade": START + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + INNER,
    "upgrade with a body": START + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%b%b" % (
        len(INNER), INNER, INNER),
    "after close": START + b"Connection: close\r\nContent-Length: 0\r\n\r\n" + INNER,
    "after close in a list": START + b"Connection: x, close\r\nContent-Length: 0\r\n\r\n" + INNER,
    "after HTTP/1.0": b"POST /hot HTTP/1.0\r\nContent-Length: 0\r\n\r\n" + INNER,
    "a body of GET": b"GET /hot HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(INNER), INNER),
    "a length with blanks around": START + b"Content-Length: \t %d \t\r\n\r\n%b" % (len(INNER), INNER),
}


async def outcome(data, pieces):
    """(answers, the requests that reached a handler) for bytes sent whole or in pieces."""
    hot, trap = Echo(), Echo()
    async with served({b"/hot": hot, b"/smuggled": trap}) as (_, port), Client(port) as client:
        answers = []
        for at in range(0, len(data), pieces):
            client.send(data[at:at + pieces])
            await asyncio.sleep(0)
        client.send(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        try:
            while True:
                answers.append(await client.answer())
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return answers, hot.runs, trap.heads


@pytest.mark.parametrize("pieces", [1 << 20, 7], ids=["whole", "pieces"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_shape_that_is_refused(name, pieces):
    data, statuses = REFUSED[name]
    answers, runs, trapped = asyncio.run(outcome(data, pieces))
    assert [answer[0] for answer in answers] == [answers[0][0]] and answers[0][0] in statuses
    _, headers, body = answers[0]
    assert headers["connection"] == "close" and headers["content-type"] == "application/json"
    assert headers["x-request-id"] and set(json.loads(body)["error"]) == {"message", "type", "code", "param"}
    assert not runs and not trapped


@pytest.mark.parametrize("pieces", [1 << 20, 7], ids=["whole", "pieces"])
@pytest.mark.parametrize("name", ALONE)
def test_a_shape_that_is_one_request(name, pieces):
    answers, runs, trapped = asyncio.run(outcome(ALONE[name], pieces))
    assert answers[0][0] == 200 and len(runs) == 1 and not trapped
    assert all(answer[0] == 404 for answer in answers[1:]) and len(answers) <= 2


def test_one_edge_of_a_request_is_as_good_as_another():
    """Blank lines before a request, mixed case and odd blanks are all one request, answered."""

    async def main():
        hot = Echo()
        async with served({b"/hot": hot}) as (_, port), Client(port) as client:
            start = START.replace(b"Host", b"hOST")
            client.send(b"\r\n\r\n" + start + b"TRANSFER-ENCODING:  CHUNKED \r\n\r\n0\r\n\r\n")
            assert (await client.answer())[0] == 200

    asyncio.run(main())
