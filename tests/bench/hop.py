"""CPU per request of one hop, front + pool with a handler that only relays. By hand: `python tests/bench/hop.py`.

Three processes: load (here), gateway, upstream. What counts is the gateway's own user+system time per request.
"""

import asyncio
import gc
import multiprocessing
import sys
import time

import uvloop

from smartoken.upstream.origin import Limits, Origin, render_head
from smartoken.upstream.pool import Pool
from smartoken.web.answers import render_refusal
from smartoken.web.app import make_app
from smartoken.web.server import FrontServer

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 500 + b'"}]}'
ASK = b"POST /hot HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer stk-live-0123456789\r\nContent-Type: " \
      b"application/json\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
JSON_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n" \
              b"Content-Length: 600\r\n\r\n" + b"y" * 600
EVENT = b'data: {"id":"c","choices":[{"delta":{"content":"hello"}}]}\n\n'
SSE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + \
             b"%x\r\n%b\r\n" % (len(EVENT), EVENT) * 100 + b"0\r\n\r\n"


class Relay:
    """The least a hot handler can do: one object per attempt, whole answers whole, streams as they come."""

    __slots__ = ("exchange", "kind", "parts", "request", "status")

    def __init__(self, request):
        self.request, self.parts = request, []

    def on_head(self, status, headers):
        self.status, self.kind = status, dict(headers)[b"content-type"]
        if self.kind == b"text/event-stream":
            self.parts = None
            self.request.start(status, self.kind)

    def on_data(self, data):
        if self.parts is None:
            self.request.write(data)
        else:
            self.parts.append(data)

    def on_end(self):
        if self.parts is None:
            self.request.finish()
        else:
            self.request.answer(self.status, self.kind, b"".join(self.parts))

    def on_fail(self, kind, detail):
        self.request.answer(503, b"text/plain", detail.encode())


class Hot:
    def __init__(self, pool, origin):
        self.pool, self.origin = pool, origin
        self.head_bytes = render_head("POST", "/v1/x", "upstream", [("authorization", "Bearer sk-x"),
                                                                    ("content-type", "application/json")])

    def head(self, request):
        request.headers[b"authorization"]

    def run(self, request):
        relay = Relay(request)
        request.state = relay.exchange = self.pool.send(self.origin, self.head_bytes, request.body, relay, Limits())

    def gone(self, request):
        request.state.abort()

    def pause(self, request):
        request.state.pause()

    def resume(self, request):
        request.state.resume()


class Cpu(Hot):
    def run(self, request):
        request.answer(200, b"text/plain", b"%.6f" % time.process_time())


def gateway(upstream_port, out):
    async def main():
        pool = Pool()
        hot = Hot(pool, Origin("http", "127.0.0.1", upstream_port))
        server = FrontServer(make_app([]), {b"/hot": hot, b"/cpu": Cpu(pool, None)}, render_refusal)
        out.put(await server.listen("127.0.0.1", 0))
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        await asyncio.Event().wait()

    uvloop.run(main())


def upstream(answer, out):
    class Canned(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.seen = transport, b""

        def data_received(self, data):
            self.seen += data
            if self.seen.endswith(b"}"):
                self.seen = b""
                self.transport.write(answer)

    async def main():
        server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
        out.put(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(main())


async def load(port, seconds, ends, connections=32):
    """Requests answered in `seconds`, each connection asking again as soon as it is answered."""
    count, stop = 0, asyncio.get_running_loop().time() + seconds
    loop = asyncio.get_running_loop()

    class Client(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.done = transport, loop.create_future()
            transport.write(ASK)

        def data_received(self, data):
            nonlocal count
            if data.endswith(ends):
                count += 1
                if loop.time() < stop:
                    self.transport.write(ASK)
                else:
                    self.transport.close()
                    self.done.set_result(None)

    clients = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.gather(*(client.done for client in clients))
    return count


async def cpu(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK.replace(b"/hot", b"/cpu").replace(b"Host", b"Connection: close\r\nHost"))
    seconds = float((await reader.read()).rpartition(b"\r\n")[2])
    writer.close()
    return seconds


async def measure(port, ends, seconds):
    await load(port, 0.5, ends)
    before = await cpu(port)
    count = await load(port, seconds, ends)
    return ((await cpu(port)) - before) / count * 1e6, count / seconds


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    for name, answer, ends in (("JSON 0.6 KB", JSON_ANSWER, b"y"),
                               ("SSE, 100 events in a burst", SSE_ANSWER, b"0\r\n\r\n")):
        queue = spawn.Queue()
        processes = [spawn.Process(target=upstream, args=(answer, queue))]
        processes[0].start()
        processes.append(spawn.Process(target=gateway, args=(queue.get(), queue)))
        processes[1].start()
        port = queue.get()
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            micros, rate = uvloop.run(measure(port, ends, 2.0))
            print(f"{name}: {micros:.1f} µs of gateway CPU per request, {rate:.0f} requests/s")
        for process in processes:
            process.terminate()
            process.join()
