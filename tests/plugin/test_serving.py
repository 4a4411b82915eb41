"""What plugins do in a gateway that serves: real files of plugins, real worker processes."""

import json

import pytest

from tests.console.kit import PASSWORD, Person
from tests.console.test_ports import free_port
from tests.harness import Gateway, channel, model, until
from tests.journeys.works_kit import call, maker, picture

SAY = [{"role": "user", "content": "Say something."}]
HEAD = "from pathlib import Path\nfrom smartoken.plugin import *\n\n"


@pytest.fixture
def serving(tmp_path, upstream_process):
    """serving(**{name: text}, tables=[…], slugs=[…]) -> a started gateway with those plugins, its models on one channel."""
    gateways = []

    def serve(*, slugs=("m",), tables=(), server="", **plugins):
        (tmp_path / "plugins").mkdir()
        for name, text in plugins.items():
            (tmp_path / "plugins" / f"{name}.py").write_text(HEAD + text)
        conf = f"[plugins]\nenabled = {json.dumps(['*', *plugins])}\npaths = ['{tmp_path / 'plugins'}']\n"
        gateways.append(gateway := Gateway(tmp_path, conf=conf, server=server))
        gateway.apply(*map(model, slugs), channel("c", upstream_process.at("c"), {slug: slug for slug in slugs}), *tables)
        return gateway.start()

    yield serve
    for gateway in gateways:
        gateway.close()


def ask(gateway, client, slug="m"):
    """(status, body) of a chat call."""
    status, _, body = gateway.post("/v1/chat/completions", {"model": slug, "messages": SAY}, client.key)
    return status, json.loads(body)


def test_a_gate_that_cannot_be_understood_lets_nobody_in(serving):
    gateway = serving(slugs=("m", "yes", "awaits"), mine="""
async def later(): pass

def gate(key, ask):
    return {"yes": lambda: True, "awaits": later}.get(ask.slug, lambda: None)()

@hookimpl
def smartoken_gates(): return [gate]
""")
    client = gateway.client("buyer")
    assert ask(gateway, client)[0] == 200
    for slug, given in (("yes", "bool"), ("awaits", "coroutine")):
        status, body = ask(gateway, client, slug)
        assert (status, body["error"]["code"]) == (500, "internal_error") and "gate" not in body["error"]["message"]
        assert f"the gate 'gate' gave {given}, where None or a Refusal belongs" in gateway.tail()
    assert [row.model for row in gateway.check_books(client)] == ["m"]


def test_a_failing_vault_stops_only_the_channels_of_its_own(serving, upstream_process):
    gateway = serving(mine="""
@hookimpl
def smartoken_secret(ref):
    raise OSError("the vault is sealed")
""", tables=[model("sealed"), channel("locked", upstream_process.at("locked"), {"sealed": "x"}, credential="vault:x")])
    client = gateway.client("buyer")
    assert ask(gateway, client)[0] == 200
    assert ask(gateway, client, "sealed")[0] != 200
    assert "channel 'locked': plugin 'mine'" in gateway.tail() and "OSError: the vault is sealed" in gateway.tail()
    more = (model("late"), channel("d", upstream_process.at("d"), {"late": "x"}))
    gateway.apply(*more, name="more.toml")
    until(lambda: ask(gateway, client, "late")[0] == 200, "a model that was added beside it")


LISTENER = """
import asyncio

FOLDER = Path(__file__).parent

def note(line):
    with (FOLDER / "told").open("a") as file:
        file.write(line + "\\n")

@hookimpl
async def smartoken_usage(records):
    while (FOLDER / "busy").exists():
        await asyncio.sleep(0.02)
    note(" ".join(record.rid for record in records))

@hookimpl
def smartoken_close(gateway): note("closed")
"""


def told(gateway):
    """The words that LISTENER wrote, in order."""
    file = gateway.folder / "plugins" / "told"
    return file.read_text().split() if file.exists() else []


def test_a_listener_hears_of_every_record_though_its_worker_is_killed(serving):
    gateway = serving(listener=LISTENER)
    client, busy = gateway.client("buyer"), gateway.folder / "plugins" / "busy"
    busy.touch()
    assert ask(gateway, client)[0] == 200
    until(lambda: len(gateway.records(client)) == 1, "its record in the store")
    assert ask(gateway, client)[0] == 200        # in the journal, or in the store as well
    pid = gateway.kill_worker()
    busy.unlink()
    until(lambda: gateway.worker_pids() not in ([], [pid]) and gateway.all_ready(), "another worker")
    rids = {row.rid for row in gateway.records(client)}
    assert len(rids) == 2 and rids <= set(told(gateway))
    gateway.check_books(client)


def test_a_listener_hears_of_the_last_calls_before_it_is_closed(serving):
    gateway = serving(listener=LISTENER, tables=[picture("pic"), maker("pics", "", {"pic": "sandbox-image"})])
    client = gateway.client("buyer")
    assert ask(gateway, client)[0] == 200
    status, _, made = call(f"{gateway.url}/v1/images/generations", client.key, {"model": "pic", "prompt": "a fish"})
    assert status == 200, made
    gateway.stop()
    rids = [row.rid for row in gateway.records(client)]
    assert len(rids) == 2 and sorted(told(gateway)[:-1]) == sorted(rids) and told(gateway)[-1] == "closed"
    assert not list((gateway.folder / "var/journal").rglob("*.wal"))


def test_a_job_that_a_killed_worker_had_ended_is_told_of(serving):
    gateway = serving(listener=LISTENER, tables=[picture("pic"), maker("pics", "", {"pic": "sandbox-image"})])
    client, busy = gateway.client("buyer"), gateway.folder / "plugins" / "busy"
    busy.touch()
    status, _, made = call(f"{gateway.url}/v1/images/generations", client.key, {"model": "pic", "prompt": "a fish"})
    assert status == 200, made
    gateway.kill_worker()
    busy.unlink()
    until(lambda: told(gateway), "the telling after the kill")
    assert told(gateway) == [row.rid for row in gateway.records(client)]
    gateway.check_books(client)


PAGES = """
from tornado.web import RequestHandler

class Board(RequestHandler):
    permission = "money.read"
    def initialize(self, words): self.words = words
    def prepare(self): self.begun = "begun"
    async def get(self): self.write(f"{self.words} {self.begun} {self.who.name} {self.who.csrf} {self.gateway.node}")
    async def post(self): self.write("changed")

class Anybody(RequestHandler):
    def get(self): self.write("hello")

@hookimpl
def smartoken_handlers():
    return [("/console/board", Board, {"words": "costs"}), ("/admin-board", Board, {"words": "more"}),
            ("/hello", Anybody), ("/console/usage", Anybody)]
"""


def test_a_page_below_the_console_is_for_who_may_see_it(serving):
    gateway = serving(pages=PAGES, server=f"admin_port = {(admin := free_port())}\n")
    place = f"http://127.0.0.1:{admin}"
    stranger, owner = Person(gateway, place), Person(gateway, place).first_owner()
    away = stranger.http.get("/console/board")
    assert (away.status_code, away.headers["location"]) == (303, "/console/sign-in?next=%2Fconsole%2Fboard")
    assert stranger.http.post("/console/board").status_code == 401
    shown = owner.http.get("/console/board")
    assert shown.status_code == 200 and shown.text.startswith("costs begun ada") and "no-store" in str(shown.headers)
    assert owner.http.get("/admin-board").text.startswith("more begun")
    assert owner.http.post("/console/board").status_code == 403      # no token
    assert owner.form("/console/board").text == "changed"
    assert "hello" not in owner.page("/console/usage")               # ours goes first
    assert owner.http.get("/console/other").status_code == 404
    owner.api("POST", "/people", {"name": "sue", "role": "support", "password": PASSWORD})
    sue = Person(gateway, place).sign_in("sue")
    assert sue.http.get("/console/board").status_code == 403
    public = Person(gateway)
    assert public.http.get("/hello").text == "hello" and owner.http.get("/hello").status_code == 404
    assert [public.http.get(path).status_code for path in ("/console/board", "/admin-board")] == [404, 404]
    for person in (stranger, owner, sue, public):
        person.close()


def test_the_log_of_a_gateway_is_json_where_no_terminal_reads_it(serving):
    gateway = serving()
    pid = gateway.kill_worker()
    until(lambda: "is started again" in gateway.tail(), "a line of the supervisor")
    until(lambda: gateway.worker_pids() not in ([], [pid]) and gateway.all_ready(), "another worker")
    gateway.stop()
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
    assert {line.get("logger") for line in lines} >= {"smartoken", "smartoken.supervisor", "smartoken.catalog"}
    assert " INFO smartoken" not in gateway.log.read_text()
