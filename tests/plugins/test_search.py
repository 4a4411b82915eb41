"""The tool `search`: each manner of engine on a real socket, and what it must not reach."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from smartoken_plugins import search

ANSWERS = {
    "searxng": {"results": [{"title": "T", "url": "https://x.example", "content": "S", "score": 1}]},
    "tavily": {"results": [{"title": "T", "url": "https://x.example", "content": "S", "raw_content": None}]},
    "bing": {"webPages": {"value": [{"name": "T", "url": "https://x.example", "snippet": "S"}]}},
}


class Engine(BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.server.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, data = self.server.answer
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def engine():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.seen, server.answer = [], (200, b"{}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings():
    """Sets the plugin's conf for a test and puts the old one back."""
    old = search.conf

    def put(**fields):
        search.conf = search.Conf(**fields)
    yield put
    search.conf = old


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_each_kind_is_asked_in_its_manner_and_read(engine, settings, tmp_path, kind):
    key = tmp_path / "key"
    key.write_text("k-123\n")
    engine.answer = 200, json.dumps(ANSWERS[kind]).encode()
    settings(url=f"http://127.0.0.1:{engine.server_port}/find?lang=en", kind=kind, key=f"file:{key}",
             allow_private=True)
    found = asyncio.run(search.search({"query": " Oslo weather "}))
    assert json.loads(found) == [{"title": "T", "url": "https://x.example", "snippet": "S"}]
    (method, path, headers, body), = engine.seen
    assert "lang=en" in path and "k-123" in str(headers)
    if kind == "tavily":
        assert (method, json.loads(body)["query"]) == ("POST", "Oslo weather")
    else:
        assert method == "GET" and "q=Oslo+weather" in path


@pytest.mark.parametrize("answer", [(500, b"{}"), (302, b""), (200, b"<html>"), (200, b"[]"),
                                    (200, b'{"results": 5}'), (200, b" " * (search.ANSWER_MAX + 1))])
def test_an_answer_that_is_none_is_a_failure(engine, settings, answer):
    engine.answer = answer
    settings(url=f"http://127.0.0.1:{engine.server_port}/", allow_private=True)
    with pytest.raises(ValueError):
        asyncio.run(search.search({"query": "x"}))


def test_the_guard_keeps_it_out_of_our_own_network(engine, settings):
    settings(url=f"http://127.0.0.1:{engine.server_port}/")
    with pytest.raises(OSError):
        asyncio.run(search.search({"query": "x"}))
    settings(url="https://169.254.169.254/latest", allow_private=True)
    with pytest.raises(OSError):
        asyncio.run(search.search({"query": "x"}))
    assert engine.seen == []


@pytest.mark.parametrize("arguments", [{}, {"query": ""}, {"query": 5}, {"query": None}])
def test_nothing_to_look_for(settings, arguments):
    settings(url="https://searx.example/search")
    with pytest.raises(ValueError):
        asyncio.run(search.search(arguments))


def test_without_a_url_there_is_no_tool(settings):
    settings()
    assert search.smartoken_tools() == []
    settings(url="https://searx.example/search")
    assert [tool.name for tool in search.smartoken_tools()] == ["search"]
