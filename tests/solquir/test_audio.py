"""Speech, transcriptions and cloned voices on both surfaces, with each provider's own dialect upstream."""

import json
import time
import urllib.error
import urllib.request

import openai
import pytest

from smartoken.testing.sound import MP3_FRAME, mp3, wav
from tests.harness import Gateway

TEXT = "One two three four"
PER_CHAR_P = 15_000_000  # 15 µUSD a character: 15,000,000 µUSD per million
SPEECH = """\
[[models]]
slug = "{slug}"
type = "speech"
pricing = {{ per_mchar = 15000000 }}
"""


def speaks(name: str, provider: str, url: str, slug: str, **more) -> str:
    fields = {"name": name, "provider": provider, "base_url": url, "models": [slug], **more}
    return "[[channels]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream_process):
    gateway = Gateway(tmp_path_factory.mktemp("audio"))
    at = upstream_process.at
    env = {"credential": "env:UPSTREAM_KEY"}
    gateway.env["UPSTREAM_KEY"] = "sk-upstream"
    tables = [SPEECH.format(slug=slug) for slug in ("tts", "tts-2", "slow", "broken", "dead", "cosy", "mini", "poor")]
    gateway.apply(
        *tables,
        '[[models]]\nslug = "by-second"\ntype = "speech"\npricing = { per_audio_second = "0.001" }\n',
        '[[models]]\nslug = "whisper"\ntype = "transcription"\npricing = { per_audio_second = "0.0001" }\n',
        '[[models]]\nslug = "scribe"\ntype = "transcription"\n'
        'pricing = { input_per_mtok = 2500000, output_per_mtok = 10000000 }\n',
        '[[models]]\nslug = "embed"\ntype = "embedding"\npricing = { input_per_mtok = 20000 }\n',
        speaks("t1", "openai", at("t1"), "tts", **env), speaks("t2", "openai", at("t2"), "tts-2", **env),
        speaks("sl", "openai", at("sl", "slow"), "slow", **env),
        speaks("br", "openai", at("br", "reset?after=2&gap_ms=5"), "broken", **env),
        speaks("d1", "openai", at("d1", "503"), "dead", priority=0, **env),
        speaks("d2", "openai", at("d2"), "dead", priority=1, **env),
        speaks("se", "openai", at("se"), "by-second", **env), speaks("wh", "openai", at("wh"), "whisper", **env),
        speaks("sc", "openai", at("sc"), "scribe", **env), speaks("em", "openai", at("em"), "embed", **env),
        speaks("co", "dashscope", f"{upstream_process.url}/compatible-mode/v1", "cosy", bridges=["speech"], **env),
        speaks("mi", "minimax", at("mi"), "mini", bridges=["speech"], **env),
        speaks("po", "minimax", at("po"), "poor", bridges=["speech"], **env))
    gateway.start()
    yield gateway
    try:
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def client(gateway):
    return gateway.client("speaker")


@pytest.fixture(params=["/v1", "/api/v1"])
def sdk(request, gateway, client):
    with openai.OpenAI(api_key=client.key, base_url=gateway.url + request.param, max_retries=0, timeout=30) as sdk:
        yield sdk


def form(gateway, key, path, parts):
    """(status, JSON) of a multipart POST; parts are {name: text, or (filename, bytes)}."""
    boundary, lines = "b0undary", []
    for name, value in parts.items():
        filename, data = value if isinstance(value, tuple) else ("", value.encode())
        more = f'; filename="{filename}"' if filename else ""
        lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data)
    body = b"\r\n".join(lines) + f"\r\n--{boundary}--\r\n".encode()
    return called(gateway, key, path, "POST", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def called(gateway, key, path, method="GET", body=None, headers=None):
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    request = urllib.request.Request(gateway.url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_speech_through_the_official_client(gateway, sdk):
    with sdk.audio.speech.with_streaming_response.create(model="tts", voice="alloy", input=TEXT) as answer:
        data = answer.read()
        assert answer.headers["content-type"] == "audio/mpeg"
        rid = answer.headers["x-request-id"]
        assert ("x-solquir-trace-id" in answer.headers) == ("/api/" in str(sdk.base_url))
    assert data == MP3_FRAME * 4
    record = gateway.record(rid)
    assert (record.usage.characters, record.cost_p, record.status) == (len(TEXT), len(TEXT) * PER_CHAR_P, "ok")


def test_speech_is_relayed_as_it_comes(gateway, client):
    """The first frame is here long before the upstream, which takes 20 ms for each, has said the last."""
    body = json.dumps({"model": "slow", "voice": "alloy", "input": " ".join(["word"] * 50)}).encode()
    request = urllib.request.Request(f"{gateway.url}/v1/audio/speech", body,
                                     {"Authorization": f"Bearer {client.key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        first = answer.read(len(MP3_FRAME))
        first_at = time.monotonic()
        rest = answer.read()
        assert time.monotonic() - first_at > 0.5, "the rest was still to come"
    assert first + rest == MP3_FRAME * 50


def test_events_carry_their_usage(gateway, sdk):
    body = {"model": "tts", "voice": "alloy", "input": TEXT, "stream_format": "sse"}
    with sdk.audio.speech.with_streaming_response.create(**body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
        rid = answer.headers["x-request-id"]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 4 + ["speech.audio.done"]
    usage = gateway.record(rid).usage
    assert (usage.input, usage.output, usage.characters) == (14, 101, len(TEXT))


def test_speech_by_the_second(gateway, client):
    body = {"model": "by-second", "voice": "alloy", "input": TEXT, "response_format": "wav"}
    status, headers, data = gateway.post("/v1/audio/speech", body, client.key)
    assert status == 200 and data == wav(400) and headers["content-type"] == "audio/wav"
    record = gateway.record(headers["x-request-id"])
    assert (record.usage.audio_ms, record.cost_p) == (400, 400 * 1_000_000)


def test_a_dead_channel_hands_on_and_a_break_costs_nothing(gateway, client):
    body = {"voice": "alloy", "input": TEXT}
    assert gateway.post("/v1/audio/speech", {"model": "dead", **body}, client.key)[2] == MP3_FRAME * 4
    request = urllib.request.Request(f"{gateway.url}/v1/audio/speech", json.dumps({"model": "broken", **body}).encode(),
                                     {"Authorization": f"Bearer {client.key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        rid = answer.headers["x-request-id"]
        with pytest.raises((OSError, urllib.error.URLError, Exception)) as caught:
            answer.read()
        assert "IncompleteRead" in repr(caught.value)
    record = gateway.record(rid)
    assert (record.status, record.cost_p) == ("broken", 0)


@pytest.mark.parametrize("slug, characters", [("cosy", len(TEXT) + 1), ("mini", len(TEXT) + 2)])
def test_other_dialects_become_plain_audio(gateway, client, upstream_process, slug, characters):
    body = {"model": slug, "voice": "longanyang", "input": TEXT, "speed": 1.5}
    status, headers, data = gateway.post("/api/v1/audio/speech", body, client.key)
    assert (status, headers["content-type"], data) == (200, "audio/mpeg", MP3_FRAME * 4)
    record = gateway.record(headers["x-request-id"])
    assert (record.usage.characters, record.usage.source) == (characters, "reported")
    sent = upstream_process.seen()[-1]
    names = {name.lower(): value for name, value in sent["headers"]}
    if slug == "cosy":
        assert sent["target"] == "/api/v1/services/audio/tts/SpeechSynthesizer" and names["x-dashscope-sse"] == "enable"
        assert json.loads(sent["body"])["input"]["rate"] == 1.5
    else:
        assert json.loads(sent["body"])["voice_setting"] == {"voice_id": "longanyang", "speed": 1.5}


@pytest.mark.parametrize("more, param", [({"response_format": "aac"}, "response_format"), ({"speed": 3}, "speed"),
                                         ({"stream_format": "sse"}, "stream_format"), ({"pitch": 3}, "pitch")])
def test_what_another_dialect_cannot_say_is_refused(gateway, client, more, param):
    body = {"model": "cosy", "voice": "longanyang", "input": TEXT, **more}
    status, _, data = gateway.post("/v1/audio/speech", body, client.key)
    assert (status, json.loads(data)["error"]["param"]) == (400, param)


def test_an_error_inside_a_200_is_found(gateway, client):
    body = {"model": "poor", "voice": "v", "input": "no balance"}
    status, _, data = gateway.post("/v1/audio/speech", body, client.key)
    assert (status, json.loads(data)["error"]["type"]) == (503, "upstream_error")


@pytest.mark.parametrize("body, param", [
    ({"voice": "a", "input": ""}, "input"), ({"input": "x"}, "voice"), ({"voice": "a", "input": "x" * 10_001}, "input"),
    ({"voice": "a", "input": "x", "speed": 5}, "speed"), ({"voice": "a", "input": "x", "response_format": "ogg"},
                                                          "response_format")])
def test_bad_speech_is_refused_before_money_moves(gateway, client, body, param):
    status, _, data = gateway.post("/v1/audio/speech", {"model": "tts", **body}, client.key)
    assert (status, json.loads(data)["error"]["param"]) == (400, param)


def test_transcriptions_by_the_second(gateway, sdk, upstream_process):
    raw = sdk.audio.transcriptions.with_raw_response.create(model="whisper", file=("talk.wav", wav(2_500)))
    assert raw.parse().text == "You sent talk.wav."
    record = gateway.record(raw.headers["x-request-id"])
    assert (record.usage.audio_ms, record.cost_p) == (9_000, 9 * 100 * 1_000_000)
    assert wav(2_500) in upstream_process.seen()[-1]["body"]


@pytest.mark.parametrize("form_", ["text", "srt", "vtt"])
def test_plain_transcriptions_are_measured_by_us(gateway, sdk, form_):
    raw = sdk.audio.transcriptions.with_raw_response.create(model="whisper", file=("a.mp3", mp3(100)),
                                                            response_format=form_)
    assert raw.text == "You sent a.mp3." and raw.headers["content-type"].startswith("text/plain")
    record = gateway.record(raw.headers["x-request-id"])
    assert record.usage.audio_ms == 2612 and record.cost_p == 2612 * 100_000


def test_transcriptions_stream(gateway, sdk):
    events = list(sdk.audio.transcriptions.create(model="scribe", file=("a.wav", wav(100)), stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == "You sent a.wav."


def test_a_recording_sent_again_is_the_same_call(sdk):
    """Each try of a client has a boundary of its own."""
    once = {"extra_headers": {"Idempotency-Key": f"a recording {sdk.base_url}"}}
    raws = [sdk.audio.transcriptions.with_raw_response.create(model="whisper", file=("talk.wav", wav(2_500)), **once)
            for _ in range(2)]
    assert raws[0].text == raws[1].text and raws[1].headers["idempotency-replayed"] == "true"
    for change in ({"file": ("talk.wav", wav(2_600))}, {"file": ("walk.wav", wav(2_500))}, {"language": "de"}):
        with pytest.raises(openai.ConflictError, match="with another request"):
            sdk.audio.transcriptions.create(**{"model": "whisper", "file": ("talk.wav", wav(2_500))} | change, **once)


@pytest.mark.parametrize("parts, param", [({"model": "whisper"}, "file"), ({"file": ("a.wav", b"x")}, "model"),
                                          ({"model": "whisper", "file": ("a.wav", b"x"), "response_format": "x"},
                                           "response_format")])
def test_bad_transcriptions(gateway, client, parts, param):
    status, found = form(gateway, client.key, "/v1/audio/transcriptions", parts)
    assert (status, found["error"]["param"]) == (400, param)


def test_embeddings_on_both_surfaces(gateway, sdk):
    raw = sdk.embeddings.with_raw_response.create(model="embed", input=["a", "b"])
    assert len(raw.parse().data) == 2
    assert ("x-solquir-trace-id" in raw.headers) == ("/api/" in str(sdk.base_url))
    record = gateway.record(raw.headers["x-request-id"])
    assert record.cost_p == record.usage.input * 20_000


@pytest.mark.parametrize("base", ["/v1", "/api/v1"])
@pytest.mark.parametrize("slug", ["tts", "cosy", "mini"])
def test_a_voice_from_its_sample_to_its_end(gateway, client, upstream_process, slug, base):
    parts = {"name": "My voice", "model": slug, "audio_sample": ("me.wav", wav(6_000)),
             "consent": "It is my own voice."}
    status, made = form(gateway, client.key, f"{base}/audio/voices", parts)
    assert status == 201, made
    assert (made["object"], made["consent"]) == ("audio.voice", "It is my own voice.")
    status, seen = called(gateway, client.key, f"{base}/audio/voices/{made['id']}")
    assert (status, seen["status"]) == (200, "ready")
    assert made["id"] in [row["id"] for row in called(gateway, client.key, f"{base}/audio/voices")[1]["data"]]
    body = {"model": slug, "voice": {"id": made["id"]}, "input": TEXT}
    status, _, data = gateway.post(f"{base}/audio/speech", body, client.key)
    assert (status, data) == (200, MP3_FRAME * 4)
    sent = upstream_process.seen()[-1]["body"].decode()
    theirs = {"tts": "voice_up1", "cosy": "cosyvoice-v2-test-1", "mini": "vMyvoice"}[slug]
    assert made["id"] not in sent and theirs in sent
    status, found = called(gateway, client.key, f"{base}/audio/voices/{made['id']}", "DELETE")
    assert (status, found["deleted"]) == (200, True)
    assert called(gateway, client.key, f"{base}/audio/voices/{made['id']}")[0] == 404


def test_anothers_voice_is_not_there(gateway, client):
    other = gateway.client("other")
    parts = {"name": "Mine", "model": "tts", "file": ("me.mp3", mp3(300)), "consent": "I agree."}
    id = form(gateway, client.key, "/v1/audio/voices", parts)[1]["id"]
    assert called(gateway, client.key, f"/v1/audio/voices/{id}")[0] == 200
    for path, method in ((f"/v1/audio/voices/{id}", "GET"), (f"/api/v1/audio/voices/{id}", "GET"),
                         (f"/v1/audio/voices/{id}", "DELETE")):
        status, found = called(gateway, other.key, path, method)
        assert (status, found["error"]["type"]) == (404, "not_found_error")
    assert called(gateway, other.key, "/v1/audio/voices")[1]["data"] == []
    body = {"model": "tts", "voice": id, "input": TEXT}
    assert gateway.post("/v1/audio/speech", body, other.key)[0] == 404
    assert gateway.post("/v1/audio/speech", body, client.key)[0] == 200
    status, _, data = gateway.post("/v1/audio/speech", {**body, "model": "tts-2"}, client.key)
    assert (status, json.loads(data)["error"]["code"]) == (400, "voice_model_mismatch")
    assert gateway.post("/v1/audio/speech", {**body, "voice": "voice_none"}, client.key)[0] == 404


@pytest.mark.parametrize("more, status, param", [
    ({"consent": ""}, 400, "consent"), ({"name": ""}, 400, "name"), ({"model": "whisper"}, 400, "model"),
    ({"model": "none"}, 404, "model"), ({"audio_sample": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(64))}, 400,
                                        "audio_sample"),
    ({"audio_sample": ("a.wav", wav(1_000))}, 400, "audio_sample"),
    ({"audio_sample": ("a.wav", wav(301_000, 8_000))}, 400, "audio_sample"), ({"audio_sample": ("a", b"")}, 400,
                                                                              "audio_sample")])
def test_a_bad_sample_is_refused(gateway, client, more, status, param):
    parts = {"name": "n", "model": "tts", "audio_sample": ("a.wav", wav(6_000)), "consent": "yes", **more}
    found, answer = form(gateway, client.key, "/v1/audio/voices", parts)
    assert (found, answer["error"]["param"]) == (status, param)


def test_voices_need_a_key(gateway):
    assert called(gateway, "sk-none", "/v1/audio/voices")[0] == 401
