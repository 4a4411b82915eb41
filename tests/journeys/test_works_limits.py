"""What bounds a call whose price is known before: the client's own limit of the cost, requests a minute, a channel's own."""

import httpx
import pytest

from smartoken.testing.sound import wav
from tests.harness import Gateway, channel, until
from tests.journeys import works_kit
from tests.journeys.voices import SAMPLE, VOICE_U, cloner, speaker
from tests.journeys.works_kit import FILM, PICTURE_U, SECOND_U, film, maker, picture

LIMIT = "max_cost_micro_usd"
VOICE = {"name": "Mine", "model": "v", "consent": "It is my own voice."}
EARS = '[[models]]\nslug = "ears"\ntype = "transcription"\npricing = { per_audio_second = 1000 }\n'


def form(fields, **files):
    """A multipart body of httpx, also where no part of it is a file."""
    return {"files": {name: (None, str(value)) for name, value in fields.items()} | files}


# what: (path, its body with `more` fields, its price in µUSD)
CALLS = {
    "pictures": ("/v1/images/generations", lambda more: {"json": {"model": "p", "prompt": "a cat", "n": 2, **more}},
                 2 * PICTURE_U),
    "edit": ("/v1/images/edits", lambda more: form({"model": "p", "prompt": "a hat", **more},
                                                   image=("a.png", b"\x89PNG a", "image/png")), PICTURE_U),
    "film": ("/v1/videos/generations", lambda more: {"json": {"model": "f", **FILM, **more}}, 5 * SECOND_U),
    "film form": ("/v1/videos", lambda more: form({"model": "f", "prompt": "night", "seconds": "3", "size": "1280x720",
                                                   **more}), 3 * SECOND_U),
    "voice": ("/v1/audio/voices", lambda more: form({**VOICE, **more}, audio_sample=("me.wav", SAMPLE, "audio/wav")),
              VOICE_U),
    "speech": ("/v1/audio/speech", lambda more: {"json": {"model": "v", "input": "ten of it!", "voice": "alloy", **more}},
               150),
    "transcription": ("/v1/audio/transcriptions", lambda more: form({"model": "ears", **more},
                                                                    file=("a.wav", wav(9000), "audio/wav")), 9000),
}
QUOTED = ("pictures", "edit", "film", "film form", "voice")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream_process):
    at = upstream_process.at
    gateway = Gateway(tmp_path_factory.mktemp("limits"))       # one worker: each counts its own requests
    gateway.env["UPSTREAM_KEY"] = "sk-upstream"
    gateway.apply(picture("p"), film("f"), speaker("v"), EARS, maker("c-p", at("c-p"), {"p": "dall-e-3", "f": "x"}),
                  cloner("c-v", at("c-v"), "v"),
                  channel("c-ears", at("c-ears"), {"ears": "whisper"}).replace('"chat"', '"transcriptions"'))
    gateway.start()
    yield gateway
    try:
        until(lambda: works_kit.settled(gateway), "the end of all jobs")
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def client(gateway):
    return gateway.client("works", "50")


def post(gateway, client, path, **body):
    """The answer to a POST, in full."""
    return httpx.post(gateway.url + path, headers={"Authorization": f"Bearer {client.key}"}, timeout=60, **body)


# -- the client's own limit of the cost

@pytest.mark.parametrize("what", CALLS)
def test_a_call_costs_no_more_than_its_client_allows(gateway, client, upstream_process, what):
    path, body, price_u = CALLS[what]
    before = len(upstream_process.seen())
    refused = post(gateway, client, path, **body({LIMIT: price_u - 1}))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "max_cost_too_low", LIMIT)
    assert str(price_u) in error["message"]
    for wrong in (0, "much"):
        refused = post(gateway, client, path, **body({LIMIT: wrong}))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    assert len(upstream_process.seen()) == before, "nobody was asked"
    made = post(gateway, client, path, **body({LIMIT: price_u}))
    assert made.status_code in (200, 201), made.text
    assert gateway.record(made.headers["x-request-id"]).cost_p == price_u * 1_000_000
    sent = upstream_process.seen()[before:]
    assert sent and not any(LIMIT.encode() in call["body"] for call in sent), "that field is ours"


@pytest.mark.parametrize("what", QUOTED)
def test_a_quote_knows_the_limit(gateway, client, what):
    path, body, price_u = CALLS[what]
    refused = post(gateway, client, f"{path}?quote=1", **body({LIMIT: price_u - 1}))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "max_cost_too_low")
    assert post(gateway, client, f"{path}?quote=1", **body({LIMIT: price_u})).json()["cost_micro_usd"] == price_u
