"""What plugins do in a gateway that serves: real files of plugins, real worker processes."""

import json

import pytest

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
