"""What bounds a call whose price is known before: the client's own limit of the cost, requests a minute, a channel's own."""

import httpx
import pytest

from smartoken.testing.process import UpstreamProcess
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


def tight(at):
    """Models of two channels each that may be asked once a minute, and one whose other channel cannot be asked at all."""
    for number in (0, 1):
        once = {"priority": number, "rpm": 1}
        yield maker(f"p-{number}", at(f"p-{number}"), {"p-tight": "x"}, **once)
        yield maker(f"f-{number}", at(f"f-{number}"), {"f-tight": "x"}, **once)
        yield cloner(f"v-{number}", at(f"v-{number}"), "v-tight", **once)
    yield maker("words", at("words"), {"p-mixed": "wanx"}, provider="dashscope", credential="env:UPSTREAM_KEY", rpm=1)
    yield maker("edits", at("edits"), {"p-mixed": "x"}, priority=1, rpm=1)
    yield maker("dead", at("dead", "429"), {"p-dead": "x"})
    yield maker("alive", at("alive"), {"p-dead": "x"}, priority=1, rpm=1)
    yield from (picture("p-tight"), film("f-tight"), speaker("v-tight"), picture("p-mixed"), picture("p-dead"))


@pytest.fixture(scope="module")
def upstream():
    upstream = UpstreamProcess(small=True)     # one of our own: it remembers only its last calls
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    at = upstream.at
    gateway = Gateway(tmp_path_factory.mktemp("limits"))       # one worker: each counts its own requests
    gateway.env["UPSTREAM_KEY"] = "sk-upstream"
    few, rpm = {"rpm": 2}, "rpm = 2\n"
    gateway.apply(picture("p"), film("f"), speaker("v"), EARS, picture("p-few", **few), film("f-few", **few),
                  speaker("v-few") + rpm, maker("few", at("few"), {"p-few": "x", "f-few": "x"}),
                  cloner("few-v", at("few-v"), "v-few"), *tight(at), maker("c-p", at("c-p"), {"p": "dall-e-3", "f": "x"}),
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
def test_a_call_costs_no_more_than_its_client_allows(gateway, client, upstream, what):
    path, body, price_u = CALLS[what]
    upstream.reset()
    refused = post(gateway, client, path, **body({LIMIT: price_u - 1}))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "max_cost_too_low", LIMIT)
    assert str(price_u) in error["message"]
    for wrong in (0, "much"):
        refused = post(gateway, client, path, **body({LIMIT: wrong}))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    assert upstream.seen() == [], "nobody was asked"
    made = post(gateway, client, path, **body({LIMIT: price_u}))
    assert made.status_code in (200, 201), made.text
    assert gateway.record(made.headers["x-request-id"]).cost_p == price_u * 1_000_000
    sent = upstream.seen()
    assert sent and not any(LIMIT.encode() in call["body"] for call in sent), "that field is ours"


@pytest.mark.parametrize("what", QUOTED)
def test_a_quote_knows_the_limit(gateway, client, what):
    path, body, price_u = CALLS[what]
    refused = post(gateway, client, f"{path}?quote=1", **body({LIMIT: price_u - 1}))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "max_cost_too_low")
    assert post(gateway, client, f"{path}?quote=1", **body({LIMIT: price_u})).json()["cost_micro_usd"] == price_u


# -- requests a minute

KINDS = {"pictures": "p", "film": "f", "voice": "v"}


def asked_of(what, slug, **more):
    """(path, httpx's body) of a call of CALLS for another model."""
    path, body, _ = CALLS[what]
    return path, body({"model": slug, **more})


@pytest.mark.parametrize("what", KINDS)
def test_how_many_requests_are_left_is_told(gateway, client, what):
    path, body = asked_of(what, f"{KINDS[what]}-few")
    for left in ("1", "0"):
        made = post(gateway, client, path, **body)
        assert made.status_code in (200, 201), made.text
        assert (made.headers["x-ratelimit-limit-requests"], made.headers["x-ratelimit-remaining-requests"]) == ("2", left)
        assert "x-ratelimit-limit-tokens" not in made.headers
    refused = post(gateway, client, path, **body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "requests_per_minute")
    assert refused.headers["x-ratelimit-remaining-requests"] == "0" and 1 <= int(refused.headers["retry-after"]) <= 30
    assert 1 <= int(refused.headers["x-ratelimit-reset-requests"][:-1]) <= 60


def test_who_cannot_pay_is_told_as_well(gateway):
    path, body = asked_of("pictures", "p-few")
    refused = post(gateway, gateway.client("poor", ""), path, **body)
    assert (refused.status_code, refused.headers["x-ratelimit-remaining-requests"]) == (402, "1")


# -- a channel's own limit

@pytest.mark.parametrize("what", KINDS)
def test_a_channel_at_its_limit_is_passed_over(gateway, what, upstream):
    """Two channels of one request a minute each: the third call is told when to come again, and cost nothing."""
    client, kind = gateway.client(what), KINDS[what]
    path, body = asked_of(what, f"{kind}-tight")
    made = [post(gateway, client, path, **body) for _ in range(2)]
    assert [one.is_success for one in made] == [True, True], [one.text for one in made]
    assert [gateway.record(one.headers["x-request-id"]).channel for one in made] == [f"{kind}-0", f"{kind}-1"]
    upstream.reset()
    refused = post(gateway, client, path, **body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "channels_full")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert upstream.seen() == []
    record = gateway.record(refused.headers["x-request-id"])
    assert (record.status, record.cost_p, record.attempts) == ("failed", 0, [])


def test_what_a_channel_was_not_asked_for_takes_nothing_of_its_limit(gateway, client):
    """`words` makes pictures from words only: an edit goes past it, and its one request is still there afterwards."""
    path, edit = asked_of("edit", "p-mixed")
    edited = post(gateway, client, path, **edit)
    assert gateway.record(edited.headers["x-request-id"]).channel == "edits"
    path, made = asked_of("pictures", "p-mixed", n=1)
    drawn = post(gateway, client, path, **made)
    assert drawn.is_success, drawn.text
    assert gateway.record(drawn.headers["x-request-id"]).channel == "words"
    path, edit = asked_of("edit", "p-mixed")
    assert post(gateway, client, path, **edit).json()["error"]["code"] == "channels_full"


def test_where_a_channel_was_asked_and_failed_that_is_told(gateway, client):
    path, body = asked_of("pictures", "p-dead")
    assert post(gateway, client, f"{path}?channel=alive", **body).is_success
    refused = post(gateway, client, path, **body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_failed")
    assert [attempt.channel for attempt in gateway.record(refused.headers["x-request-id"]).attempts] == ["dead"]
