"""A plugin's own code fails while an upstream is asked: the client is told at once, nothing stays open, books agree."""

import json

import pytest

from tests.harness import Gateway, channel, model, until
from tests.journeys.conftest import SAY

FAULTY = '''
from smartoken.plugin import Bridge, Provider, bearer, hookimpl


def fail(*given):
    raise ValueError("a fault of this plugin's own")


@hookimpl
def smartoken_providers():
    return [Provider("hears-ill", base_url="https://example.com", auth=bearer, heard=fail,
                     speaks={"openai.chat": "/chat/completions"})]


@hookimpl
def smartoken_bridges():
    return [Bridge("openai.chat", "gemini.generate", request=fail, answer=fail, stream=fail)]
'''


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream_process):
    folder, at = tmp_path_factory.mktemp("faults"), upstream_process.at
    (folder / "own").mkdir()
    (folder / "own" / "faulty.py").write_text(FAULTY)
    gateway = Gateway(folder, conf="[plugins]\nenabled = ['*', 'faulty']\npaths = ['own']\n")
    gateway.env["UPSTREAM_KEY"] = "secret"
    secret = 'credential = "env:UPSTREAM_KEY"\n'
    gateway.apply(
        model("heard"), model("next"),
        channel("heard", at("heard"), {"heard": "x"}).replace('"vllm"', '"hears-ill"') + secret,
        channel("next-1", at("next", "reset_before"), {"next": "x"}, priority=0),
        channel("next-2", at("next-2"), {"next": "x"}, priority=1, bridges=["chat"])
        .replace('"vllm"', '"gemini"').replace('["chat"]\nmodels', '["gemini"]\nmodels') + secret)
    gateway.start()
    yield gateway
    gateway.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slug", ["heard", "next"])      # at the answer's head; when the connection failed
def test_the_client_is_told(gateway, slug, stream):
    client = gateway.client(f"{slug}-{stream}")
    status, _, data = gateway.post("/v1/chat/completions", {"model": slug, "messages": SAY, "stream": stream}, client.key)
    assert (status, json.loads(data)["error"]["code"]) == (500, "internal_error")
    until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls")


def test_its_books_agree_and_the_fault_is_in_the_log(gateway):
    assert not any(row.cost_p for row in gateway.check_books())
    assert gateway.log.read_text().count("ValueError: a fault of this plugin's own") == 4
