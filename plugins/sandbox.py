"""A pretend provider, so that the first run needs no account anywhere.

It is a real HTTP server on a loopback port of the worker's own, chosen by the kernel: a call to it takes every step
that a call to a true provider takes. It answers in words and counts each of them as a token; it makes real pictures
(PNG) and real films (MP4). An agent's tools can be tried with it, too: `call NAME {"argument": "…"}` in what the user says
is answered by that call, if such a tool is offered.
"""

from dataclasses import replace

from smartoken_plugins.dashscope import videos
from smartoken_plugins.wire_openai.voices import VOICES

from smartoken.plugin import PluginConf, Provider, Whole, hookimpl
from smartoken.testing.upstream import Upstream

SAYING = (
    "Hello from the sandbox. You said: “{said}”. I am no model, only a small server inside Smartoken that speaks the "
    "same language as one, so that keys, prices, limits and books can be tried before any provider has been paid. "
    "Point a channel at a real provider and this answer will be a better one."
)
SHOWN = 160  # characters of the question that the answer repeats

_server: Upstream | None = None


class Conf(PluginConf):
    """`word_ms`: milliseconds from word to word in a stream. `film_ms`: how long a film takes."""

    word_ms: Whole = 15
    film_ms: Whole = 3000


conf = Conf()


def talk(said: str, wanted: int) -> list[str]:
    """The answer's words, each with the space before it; the first `wanted` of them when a limit was given."""
    said = " ".join(said.split())
    said = said if len(said) <= SHOWN else said[:SHOWN] + "…"
    first, *rest = SAYING.format(said=said or "nothing").split(" ")
    words = [first, *(f" {word}" for word in rest)]
    return words if wanted < 0 else words[:wanted]


def base_url() -> str:
    """Where this worker's sandbox listens; known once it is open."""
    return "" if _server is None else f"{_server.url}/v1"


@hookimpl
def smartoken_providers():
    return [Provider("sandbox", title="Sandbox", base_url=base_url, needs_credential=False,
                     speaks={"openai.chat": "/chat/completions", "openai.responses": "/responses",
                             "openai.embeddings": "/embeddings", "openai.speech": "/audio/speech",
                             "openai.transcriptions": "/audio/transcriptions", "openai.images": "/images/generations",
                             "openai.videos": videos.PATH},
                     makers={"openai.videos": replace(videos.MAKER, pace_s=(0.5, 0.5))}, voices=VOICES)]


@hookimpl
async def smartoken_open(gateway):
    global _server
    _server = Upstream(talk=talk, manner=f"ok?gap_ms={conf.word_ms}", plays=False, keep=0,
                       work_ms=conf.film_ms)
    await _server.start()


@hookimpl
async def smartoken_close(gateway):
    global _server
    server, _server = _server, None
    if server is not None:
        await server.stop()
