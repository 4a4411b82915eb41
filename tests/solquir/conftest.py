"""One gateway for the Solquir surface: a composite of three members, a shop, and a SearXNG-shaped engine beside it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import openai
import pytest

from tests.harness import Client, Gateway, channel, model

COSTS = "{ input_per_mtok = 100000, output_per_mtok = 400000 }"
COMPOSITE = """\
[[models]]
slug = "solquir-v1"
title = "Solquir V1"
description = "通用对话旗舰模型"
owned_by = "solquir"
[models.pricing]
input_per_mtok = 2000000
output_per_mtok = 8000000
cache_read_per_mtok = 2000000
per_tool_call = { search = "0.003" }
[models.composite]
members = ["plain-b", "tools-a", "images-b", "plain-a"]
tools = ["search"]
order = "cheapest"
max_rounds = 3
[[models.composite.rules]]
tools = true
pick = ["tools-a"]
reason = "tools were brought along"
[[models.composite.rules]]
images = true
pick = ["images-b"]
reason = "there are pictures"
[[models.composite.rules]]
keywords = ["legal", "条款"]
pick = ["plain-b"]
[[models.composite.rules]]
languages = ["zh"]
pick = ["images-b"]
"""
FALLS = """\
[[models]]
slug = "falls"
pricing = { input_per_mtok = 1000000, output_per_mtok = 1000000 }
composite = { members = ["down", "plain-a"] }
[[models]]
slug = "nested"
pricing = { input_per_mtok = 1000000, output_per_mtok = 1000000 }
composite = { members = ["falls", "plain-a"] }
[[models]]
slug = "half-bridged"
pricing = { input_per_mtok = 1000000, output_per_mtok = 1000000 }
composite = { members = ["bridged", "plain-a"], order = "listed" }
"""
SHOP = """\
[[categories]]
slug = "chat"
title = "Chat"
order = 1
[[categories]]
slug = "art"
title = "Art"
order = 2
[[categories]]
slug = "secret"
title = "Secret"
active = false
"""


class Engine(BaseHTTPRequestHandler):
    """Answers like SearXNG; `asked` are the queries it got. `patience` is how many it answers before it only waits for
    whoever asks to hang up, and notes that in `left`; None: it answers all."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query).get("q", [""])[0]
        self.server.asked.append(query)
        if self.server.patience is not None and len(self.server.asked) > self.server.patience:
            self.connection.settimeout(30)
            self.server.left.append(self.connection.recv(1))
            self.close_connection = True
            return
        data = json.dumps({"query": query, "results": [
            {"title": f"About {query}", "url": "https://example.com/1", "content": f"{query} is a city."}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def engine():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.asked, server.left, server.patience = [], [], None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def listing(slug: str, category: str, sold: str, **more) -> str:
    fields = {"slug": slug, "category": category, "model": sold, "title": slug.title(), **more}
    return "[[listings]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


def priced(slug: str, input_u: int, output_u: int, **fields) -> str:
    """A [[models]] table at a price of its own."""
    more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    return (f'[[models]]\nslug = "{slug}"\npricing = {{ input_per_mtok = {input_u}, output_per_mtok = {output_u} }}\n'
            f"{more}")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, upstream_process, engine):
    gateway = Gateway(tmp_path_factory.mktemp("solquir"), workers=1, conf=f"""
[plugins]
[plugins.search]
url = "http://127.0.0.1:{engine.server_port}/search"
allow_private = true
""")
    at = upstream_process.at
    wants = "ok?wants=search"
    gateway.apply(
        priced("tools-a", 500_000, 1_500_000), priced("images-b", 500_000, 1_500_000),
        priced("plain-a", 300_000, 900_000), priced("plain-b", 1_000_000, 3_000_000),
        priced("down", 1, 1, public=False),
        priced("hidden", 1, 1, public=False), priced("off", 1, 1, active=False), model("renamed"),
        COMPOSITE, FALLS,
        channel("a", at("a", "ok"), {"tools-a": "up-a"}), channel("b", at("b"), {"images-b": "up-b"}),
        channel("p", at("p"), {"plain-a": "up-pa", "renamed": "up-renamed", "hidden": "x", "off": "x"}),
        channel("q", at("q"), {"plain-b": "up-pb"}),
        channel("down", at("down", "500"), {"down": "x"}),
        COMPOSITE.replace("solquir-v1", "searcher").replace("plain-b\", \"tools-a", "wants-search\", \"tools-a")
        .replace('pick = ["plain-b"]', 'pick = ["wants-search"]').replace('order = "cheapest"', 'order = "listed"')
        .replace("tools-a\"]\nreason", "wants-search\"]\nreason").replace('"tools-a", ', ''),
        priced("wants-search", 500_000, 1_500_000),
        channel("w", at("w", wants), {"wants-search": "up-w"})
        + f"costs = {{ wants-search = {COSTS} }}\n",
        COMPOSITE.replace("solquir-v1", "bridged-searcher").partition("[[models.composite.rules]]")[0]
        .replace('"plain-b", "tools-a", "images-b", "plain-a"', '"bridged"'), priced("bridged", 500_000, 1_500_000),
        channel("bridged", at("bridged"), {"bridged": "up-bridged"}).replace('["chat"]', '["responses"]')
        + 'bridges = ["chat"]\n',
        SHOP, listing("v1", "chat", "solquir-v1", order=1, tags=["flagship"], featured=True),
        listing("small", "chat", "plain-a", order=2), listing("big", "art", "plain-b"),
        listing("of-secret", "secret", "plain-a"), listing("of-off", "chat", "off"),
        listing("of-hidden", "chat", "hidden"), listing("not-active", "chat", "plain-a", active=False))
    gateway.start()
    yield gateway
    try:
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture(scope="session")
def client(gateway) -> Client:
    return gateway.client("everyone")


@pytest.fixture
def sdk(gateway, client):
    with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/api/v1", max_retries=0, timeout=30) as sdk:
        yield sdk
