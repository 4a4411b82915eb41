"""One gateway of two workers for the quiet journeys, with a channel per behaviour; loud journeys start their own."""

import socket
from collections.abc import Mapping

import openai
import pytest

from smartoken.testing.plays import REFUSALS
from tests.harness import Client, Gateway, channel, model

SAY = [{"role": "user", "content": "Say something."}]

# model: the play of its only channel
ALONE = {
    "renamed": "", "slow": "slow", "steady": "slow?tokens=400&gap_ms=10", "no-usage": "no_usage", "always": "always",
    "moonshot": "moonshot", "zhipu": "zhipu", "every": "every", "deepseek": "deepseek", "openrouter": "openrouter",
    "no-done": "no_done", "dies-mid": "reset?after=5", "error-mid": "error_mid?after=5&gap_ms=40",
    **{f"refuses-{status}": str(status) for status in REFUSALS},
}

# model: the play of its first channel; the second is well
PAIRS = {"fo-reset-before": "reset_before", "fo-reset-first": "reset_first", "fo-429": "429?retry_after=1",
         "fo-500": "500", "fo-401": "401", "fo-402": "402", "fo-quota": "quota", "fo-error-200": "error_200",
         "fo-error-first": "error_first", "fo-html": "html", "fo-empty": "empty", "fo-truncated": "truncated"}


def catalog(upstream, closed_port: int) -> list[str]:
    """[[models]] and [[channels]] of ALONE and PAIRS, and a few that need more."""
    tables = [model(slug) for slug in (*ALONE, *PAIRS, "fo-refused", "all-fail", "two-ways")]
    tables += [model("one-a-minute", rpm=1), model("reasoner", max_output=64)]
    tables += [channel(f"c-{slug}", upstream.at(f"c-{slug}", play), {slug: f"up-{slug}"})
               for slug, play in ALONE.items()]
    for slug, play in PAIRS.items():
        tables += [channel(f"{slug}-1", upstream.at(f"{slug}-1", play), {slug: slug}, priority=0),
                   channel(f"{slug}-2", upstream.at(f"{slug}-2"), {slug: slug}, priority=1)]
    tables += [
        channel("fo-refused-1", f"http://127.0.0.1:{closed_port}/v1", {"fo-refused": "x"}, priority=0),
        channel("fo-refused-2", upstream.at("fo-refused-2"), {"fo-refused": "x"}, priority=1),
        channel("all-fail-1", upstream.at("all-fail-1", "503"), {"all-fail": "x"}, priority=0),
        channel("all-fail-2", upstream.at("all-fail-2", "reset_before"), {"all-fail": "x"}, priority=1),
        channel("first", upstream.at("first"), {"two-ways": "x", "one-a-minute": "x"}, priority=0),
        channel("second", upstream.at("second"), {"two-ways": "x", "reasoner": "x"}, priority=1),
    ]
    return tables


@pytest.fixture(scope="session")
def closed_port():
    """A port of loopback where nobody listens, kept from others by being bound."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, upstream_process, closed_port):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), workers=2)
    gateway.apply(*catalog(upstream_process, closed_port))
    gateway.start()
    yield gateway
    try:
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture(scope="session")
def client(gateway) -> Client:
    """An account that can pay for everything here."""
    return gateway.client("everyone")


@pytest.fixture(scope="session")
def sdk(gateway, client):
    with sdk_of(gateway, client.key) as sdk:
        yield sdk


def sdk_of(gateway: Gateway, key: str) -> openai.OpenAI:
    """The official client, without retries of its own, so that a test sees each answer."""
    return openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0, timeout=60)


def ask(sdk: openai.OpenAI, **asked) -> tuple[list[str], str]:
    """(lines of the body, trace id) of a chat call. Tests of a table ask all first and then wait for records once."""
    with sdk.chat.completions.with_streaming_response.create(**{"messages": SAY, **asked}) as raw:
        return list(raw.iter_lines()), rid_of(raw.headers)


def rid_of(headers: Mapping[str, str]) -> str:
    """The trace id of an answer."""
    return headers["x-request-id"]
