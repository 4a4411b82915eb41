"""The pretend upstream is itself checked: by the official SDK for what is good, by raw sockets for what is not."""

import asyncio
import json
import socket
import zlib

import openai
import pytest

from smartoken.testing.counts import attempts
from smartoken.testing.plays import PLAYS, REFUSALS, parse
from smartoken.testing.upstream import Upstream

SAY = [{"role": "user", "content": "Say something."}]


def with_upstream(use, **settings):
    async def main():
        upstream = Upstream(**settings)
        await upstream.start()
        try:
            return await use(upstream)
        finally:
            while _clients:
                await _clients.pop().close()
            await upstream.stop()
    return asyncio.run(main())


_clients: list[openai.AsyncOpenAI] = []   # closed by with_upstream


def sdk(upstream, plays=""):
    _clients.append(openai.AsyncOpenAI(api_key="none", base_url=upstream.at("t", plays), max_retries=0))
    return _clients[-1]


async def raw(upstream, plays, *, stream=True, path="/chat/completions", **more):
    """(status, headers, bytes of the body as they came, was reset), over a socket of our own."""
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    asked = {"model": "m", "messages": SAY, "stream": stream, "max_tokens": 8, "x_fault": plays, **more}
    body = json.dumps(asked).encode()
    head = f"POST /v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    got, reset = b"", False
    try:
        while part := await reader.read(65536):
            got += part
    except ConnectionResetError:
        reset = True
    writer.close()
    head, _, rest = got.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]) if got else 0, headers, rest, reset


async def until(true):
    """Wait for something that must come; the test's own time limit is the deadline."""
    while not true():
        await asyncio.sleep(0.01)


def unchunk(data):
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size or b"0", 16)
        body, data = body + data[:length], data[length + 2:]
        if not length:
            return body, True
    return body, False


def test_sdk_reads_plain_streamed_reasoned_and_called_answers():
    async def use(upstream):
        client = sdk(upstream)
        plain = await client.chat.completions.create(model="m", messages=SAY, max_tokens=5)
        assert plain.choices[0].message.content == " aaa aab aac aad aae"
        assert (plain.usage.completion_tokens, plain.choices[0].finish_reason) == (5, "length")
        chunks = [c async for c in await client.chat.completions.create(
            model="m", messages=SAY, stream=True, n=2, stream_options={"include_usage": True},
            extra_body={"enable_thinking": True, "prompt_cache_key": "k"})]
        text = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
        usage = chunks[-1].usage
        assert len(text) == 26 and usage.completion_tokens == 32 and not chunks[-1].choices
        assert usage.completion_tokens_details.reasoning_tokens == 6
        assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens // 2
        tool = {"type": "function", "function": {"name": "find", "parameters": {}}}
        called = await client.chat.completions.create(model="m", messages=SAY, tools=[tool], tool_choice="required")
        assert json.loads(called.choices[0].message.tool_calls[0].function.arguments) == {"city": "Oslo"}
        names = [m.id async for m in client.models.list()]
        assert "test-model" in names
        vectors = await client.embeddings.create(model="e", input=["one", "two"])
        assert len(vectors.data) == 2 and len(vectors.data[0].embedding) == 16
    with_upstream(use)


def test_sdk_reads_responses_with_every_event_in_order():
    async def use(upstream):
        client = sdk(upstream)
        whole = await client.responses.create(model="m", input="hello", max_output_tokens=16)
        assert whole.output_text.startswith(" aaa") and whole.usage.output_tokens == 16
        events = [e async for e in await client.responses.create(
            model="m", input=[{"role": "user", "content": "hi"}], stream=True, reasoning={"effort": "low"})]
        assert [e.sequence_number for e in events] == list(range(len(events)))
        assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert text == events[-1].response.output_text and events[-1].response.usage.output_tokens == 16
        assert [item.type for item in events[-1].response.output] == ["reasoning", "message"]
    with_upstream(use)


@pytest.mark.parametrize("status", sorted(REFUSALS))
def test_each_refusal_is_the_sdks_own_exception(status):
    async def use(upstream):
        with pytest.raises(openai.APIStatusError) as caught:
            await sdk(upstream, f"{status}?retry_after=7").chat.completions.create(model="m", messages=SAY)
        assert caught.value.status_code == status and caught.value.response.headers["retry-after"] == "7"
        assert caught.value.body["message"] == REFUSALS[status][2]
    with_upstream(use)


def test_usage_habits():
    async def use(upstream):
        async def usages(plays, **more):
            _, _, body, _ = await raw(upstream, plays, **more)
            events = [json.loads(line[6:]) for line in unchunk(body)[0].split(b"\n") if line.startswith(b"data: {")]
            return [(e.get("usage") or (e["choices"][0].get("usage") if e["choices"] else None)) for e in events]

        asked = {"stream_options": {"include_usage": True}}
        assert not any(await usages(""))
        assert sum(map(bool, await usages("", **asked))) == 1
        assert sum(map(bool, await usages("moonshot"))) == 1
        assert sum(map(bool, await usages("moonshot", **asked))) == 2
        assert sum(map(bool, await usages("zhipu", **asked))) == 1
        assert [u["completion_tokens"] for u in await usages("every")] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
        assert not any(await usages("no_usage", **asked))
        for play, value in (("zero", 0), ("negative", -9), ("huge", 10**18), ("float", 8.5), ("bool", True)):
            got = (await usages(f"usage_{play}", **asked))[-1]["completion_tokens"]
            assert got == value and type(got) is type(value)
        assert sum(map(bool, await usages("usage_twice", **asked))) == 2
    with_upstream(use)


def test_every_play_does_what_its_name_says():
    async def use(upstream):
        async def stream(plays):
            status, _, body, reset = await raw(upstream, plays)
            return status, *unchunk(body), reset

        assert (await raw(upstream, "reset_before"))[::3] == (0, True)
        status, _, body, reset = await raw(upstream, "reset_first")
        assert (status, body, reset) == (200, b"", True)
        status, body, ended, reset = await stream("reset")
        assert (body.count(b"data: "), ended, reset) == (3, False, True)
        status, body, ended, reset = await stream("close?after=5")
        assert (body.count(b"data: "), ended, reset) == (5, False, False)
        assert not (await stream("torn"))[1].endswith(b"\n\n")
        assert (await raw(upstream, "close_before"))[0] == 0
        status, _, body, _ = await raw(upstream, "error_200")
        assert status == 200 and json.loads(body)["error"]["code"] == "internal_error"
        assert json.loads((await stream("error_first"))[1][6:])["error"]
        assert (await stream("error_mid"))[1].count(b"data: ") == 4
        assert b"<html>" in (await raw(upstream, "html"))[2]
        assert (await stream("empty"))[1:3] == (b"", True)
        with pytest.raises(json.JSONDecodeError):
            json.loads((await raw(upstream, "truncated", stream=False))[2])
        _, headers, body, _ = await raw(upstream, "long_length", stream=False)
        assert int(headers["content-length"]) == len(body) + 10
        _, headers, body, _ = await raw(upstream, "short_length", stream=False)
        assert int(headers["content-length"]) == len(body) - 10
        with pytest.raises(UnicodeDecodeError):
            (await stream("bad_utf8"))[1].decode()
        assert b"this line is no field" in (await stream("bad_sse"))[1]
        assert max(map(len, (await stream("long_line?mb=1"))[1].split(b"\n"))) > 2**20
        _, headers, body, _ = await raw(upstream, "gzip_bomb?mb=8", stream=False)
        assert headers["content-encoding"] == "gzip" and len(body) < 100_000
        assert len(zlib.decompress(body, 31)) == 8 * 2**20
        assert b"[DONE]" not in (await stream("no_done"))[1]
        _, headers, body, _ = await raw(upstream, "close_delimited")
        assert "transfer-encoding" not in headers and body.endswith(b"[DONE]\n\n")
        assert (await stream("openrouter"))[1].startswith(b": OPENROUTER PROCESSING\n\n")
        _, _, body, _ = await raw(upstream, "deepseek", stream=False)
        assert unchunk(body)[0].startswith(b"\n\n\n{") and b"prompt_cache_hit_tokens" in body
        status, _, body, _ = await raw(upstream, "zhipu_arrears")
        assert (status, json.loads(body)["error"]["code"]) == (429, "1113")
        status, _, body, _ = await raw(upstream, "reset_b4")
        assert status == 501 and b"no play" in body
    with_upstream(use)


def test_an_endless_answer_waits_for_its_reader_and_knows_when_it_left(tmp_path):
    async def use(upstream):
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
        body = json.dumps({"model": "m", "messages": SAY, "stream": True, "x_fault": "endless"}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readexactly(100_000)
        connection = next(iter(upstream.connections))
        await until(lambda: connection.paused)
        sent = upstream.counts.sums["m"]["output"]
        await asyncio.sleep(0.05)
        assert upstream.counts.sums["m"]["output"] == sent
        writer.transport.abort()
        await until(lambda: not upstream.connections)
        line, = attempts(tmp_path / "sent").values()
        assert line.left and not line.finished and line.output == sent
    with_upstream(use, count_file=tmp_path / "sent")


def test_the_books_hold_each_attempt_and_the_sums_agree(tmp_path):
    async def use(upstream):
        client = sdk(upstream)
        for tokens in (3, 4):
            await client.chat.completions.create(model="m", messages=SAY, max_tokens=tokens)
        await raw(upstream, "reset?after=4")
        await raw(upstream, "429")
        lines = attempts(tmp_path / "sent")
        assert sorted(line.output for line in lines.values()) == [0, 3, 3, 4]
        assert sum(line.finished for line in lines.values()) == 3, "a refusal is a whole answer, the cut one is not"
        sums = upstream.counts.sums["m"]
        billed = [line for line in lines.values() if line.status == 200]
        assert sums["output"] == sum(line.output for line in billed) == 10
        assert sums["input"] == sum(line.input for line in billed)
    with_upstream(use, count_file=tmp_path / "sent")


def test_scripts_marks_and_seen_bodies():
    async def use(upstream):
        upstream.script("429", "ok", at="t")
        client = sdk(upstream)
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="m", messages=SAY)
        await client.chat.completions.create(model="m", messages=SAY, extra_body={"x_unknown": {"b": 1.50, "a": [1]}})
        seen = upstream.seen[-1]
        assert (seen.at, seen.plays) == ("t", "+ok") and b'"x_unknown"' in seen.body
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="fault:503", messages=SAY)
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="m", messages=SAY, extra_body={"max_tokens": "many"})
        with pytest.raises(ValueError, match="no play 'rest'"):
            upstream.script("rest")
    with_upstream(use)


def test_a_friendly_upstream_takes_no_orders():
    async def use(upstream):
        status, _, body, _ = await raw(upstream, "500", stream=False)
        assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 8
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
        writer.write(b"GET /_seen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404")
        writer.close()
    with_upstream(use, plays=False)


def test_pipelined_requests_are_answered_in_order():
    def ask(tokens):
        delay = f"ok?delay_ms={30 // tokens}"
        body = json.dumps({"model": "m", "messages": SAY, "max_tokens": tokens, "x_fault": delay}).encode()
        return b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def use(upstream):
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
        writer.write(ask(1) + ask(2) + ask(3))
        seen = []
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            seen.append(json.loads(await reader.readexactly(length))["usage"]["completion_tokens"])
        assert seen == [1, 2, 3]
        writer.close()
    with_upstream(use)


def test_every_play_parses_and_a_field_of_no_play_is_refused():
    for name in PLAYS:
        parse(name)
    with pytest.raises(ValueError, match="no field 'afte'"):
        parse("reset?afte=3")


def test_the_process_prints_its_url_and_serves(upstream_process):
    with socket.create_connection((upstream_process.host, upstream_process.port)) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
