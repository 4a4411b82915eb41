"""What plugins do in a gateway that serves: real files of plugins, real worker processes."""

import json

import pytest

from tests.harness import Gateway, channel, model, until

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
