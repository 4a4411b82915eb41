"""Pictures and films as clients get them: the SDK, curl's kind of calls, links with ranges, every failure, the money."""

import base64
import json
import shutil
import subprocess
import time

import openai
import pytest

from smartoken.testing.process import UpstreamProcess
from tests.harness import Gateway, until
from tests.journeys import works_kit
from tests.journeys.works_kit import FILM, PICTURE_U, SECOND_U, WIDE_U, call, fetch, film, jobs, maker, picture, probe
from tests.servers import required

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None and not required("ffprobe"), reason="ffprobe (Debian: ffmpeg) is not installed")

# model: the play of its only channel
FILMS = {
    "f": "", "f-429": "429", "f-500": "500", "f-bad": "400", "f-hang": "close_before", "f-reset": "reset_before",
    "f-html": "html",
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    upstream = UpstreamProcess(tmp_path_factory.mktemp("works") / "sent.jsonl", work_ms=600, small=True)
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), workers=2)
    gateway.env["UPSTREAM_KEY"] = "secret"
    tables = [film(slug) for slug in FILMS]
    tables += [maker(f"c-{slug}", upstream.at(f"c-{slug}", play), {slug: f"up-{slug}"}) for slug, play in FILMS.items()]
    tables += [film("f-two"), maker("two-1", upstream.at("two-1", "429"), {"f-two": "x"}, priority=0),
               maker("two-2", upstream.at("two-2"), {"f-two": "x"}, priority=1)]
    tables += [picture("p"), picture("p-fewer"), picture("p-b64"), picture("p-500"), picture("p-reset"),
               maker("c-p", upstream.at("c-p"), {"p": "dall-e-3", "p-b64": "gpt-image-1"}),
               picture("p-words"), picture("p-two"),
               maker("words", upstream.at("words"), {"p-words": "wanx", "p-two": "wanx"}, provider="dashscope",
                     credential="env:UPSTREAM_KEY", priority=0),
               maker("edits", upstream.at("edits"), {"p-two": "dall-e-3"}, priority=1),
               maker("c-fewer", upstream.at("c-fewer", "fewer"), {"p-fewer": "x"}),
               maker("c-p-500", upstream.at("c-p-500", "500"), {"p-500": "x"}),
               maker("c-p-reset", upstream.at("c-p-reset", "reset_before"), {"p-reset": "x"})]
    gateway.apply(*tables)
    gateway.start()
    yield gateway
    try:
        until(lambda: works_kit.settled(gateway), "the end of all jobs")
        gateway.stop()
        code, text = gateway.reconcile()
        assert code == 0, text
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def client(gateway):
    return gateway.client("works", "50")


@pytest.fixture
def post(gateway, client):
    def post(path="/v1/videos/generations", key=client.key, **body):
        query = body.pop("query", "")
        headers = body.pop("headers", {})
        return call(f"{gateway.url}{path}{query}", key, body, **headers)
    return post


@pytest.fixture
def sdk(gateway, client):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=client.key, max_retries=0) as sdk:
        yield sdk


def spent_u(gateway, client):
    return client.credit_u - works_kit.balance(gateway, client).balance_u


def held_u(gateway, client):
    return works_kit.balance(gateway, client).held_u


# -- pictures

def test_a_picture_by_the_sdk(gateway, sdk, client, tmp_path):
    before = spent_u(gateway, client)
    made = sdk.images.generate(model="p", prompt="a cat", n=2, size="512x256")
    assert len(made.data) == 2 and made.data[0].url != made.data[1].url
    status, headers, body = fetch(made.data[0].url)
    assert (status, headers["content-type"], headers["x-content-type-options"]) == (200, "image/png", "nosniff")
    assert body.startswith(b"\x89PNG")
    assert spent_u(gateway, client) - before == 2 * WIDE_U


def test_a_picture_in_the_answer(sdk):
    for model in ("p", "p-b64"):
        made = sdk.images.generate(model=model, prompt="a cat", response_format="b64_json")
        assert base64.b64decode(made.data[0].b64_json).startswith(b"\x89PNG") and made.data[0].url is None


def test_an_upstream_that_sends_base64_is_kept_like_any_other(upstream, sdk):
    made = sdk.images.generate(model="p-b64", prompt="a cat")
    assert fetch(made.data[0].url)[2].startswith(b"\x89PNG")
    assert b"response_format" not in upstream.seen()[-1]["body"]


def test_an_edit(gateway, sdk, upstream):
    source = base64.b64decode(sdk.images.generate(model="p", prompt="a cat", response_format="b64_json").data[0].b64_json)
    made = sdk.images.edit(model="p", image=("cat.png", source, "image/png"), prompt="a hat")
    assert fetch(made.data[0].url)[0] == 200
    seen = next(one for one in reversed(upstream.seen()) if one["target"].endswith("/images/edits"))
    assert source in seen["body"] and b"dall-e-3" in seen["body"]


def test_what_one_channel_cannot_be_asked_for_another_may_do(gateway, sdk, client):
    """A channel that makes pictures from words only, before one that edits them, and alone."""
    source, before = sdk.images.generate(model="p", prompt="a cat", response_format="b64_json"), spent_u(gateway, client)
    picture = ("cat.png", base64.b64decode(source.data[0].b64_json), "image/png")
    assert fetch(sdk.images.edit(model="p-two", image=picture, prompt="a hat").data[0].url)[0] == 200
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.images.edit(model="p-words", image=picture, prompt="a hat")
    assert "from words only" in refused.value.message, "nobody else could be asked, so the client is told why"
    assert spent_u(gateway, client) - before == PICTURE_U


def test_only_delivered_pictures_are_paid_for(gateway, sdk, client):
    before = spent_u(gateway, client)
    assert len(sdk.images.generate(model="p-fewer", prompt="a cat", n=4).data) == 1
    assert spent_u(gateway, client) - before == PICTURE_U


@pytest.mark.parametrize("model", ["p-500", "p-reset"])
def test_a_picture_that_fails_costs_nothing(gateway, sdk, client, upstream, model):
    before = spent_u(gateway, client)
    with pytest.raises(openai.InternalServerError) as failed:
        sdk.images.generate(model=model, prompt=model)
    assert failed.value.status_code == 503
    until(lambda: held_u(gateway, client) == 0, "the release")
    assert spent_u(gateway, client) == before


# -- films

@needs_ffprobe
def test_a_film_by_a_plain_call(gateway, client, post, tmp_path):
    before = spent_u(gateway, client)
    status, headers, made = post(model="f", **FILM)
    assert status == 200, made
    assert set(made) == {"created", "data"} and set(made["data"][0]) == {"url"}
    url = made["data"][0]["url"]
    status, headers, body = fetch(url)
    assert (status, headers["content-type"], headers["accept-ranges"]) == (200, "video/mp4", "bytes")
    codec, width, height, seconds = probe(body, tmp_path)
    assert (codec, float(seconds)) == ("h264", 5.0)
    status, headers, part = fetch(url, Range="bytes=100-199")
    assert (status, headers["content-range"], part) == (206, f"bytes 100-199/{len(body)}", body[100:200])
    assert fetch(url, **{"If-None-Match": headers["etag"]})[0] == 304
    assert fetch(url + "x")[0] == 404
    assert spent_u(gateway, client) - before == 5 * SECOND_U


def test_curl_reads_film_and_range(gateway, client, tmp_path):
    done = subprocess.run(
        ["curl", "-sS", "--fail", f"{gateway.url}/v1/videos/generations", "-H", f"Authorization: Bearer {client.key}",
         "-H", "Content-Type: application/json", "-d",
         '{"model": "f", "prompt": "sea", "resolution": "720P", "duration": 3}'],
        capture_output=True, check=True, timeout=60)
    url = done.stdout.decode().split('"url":"')[1].split('"')[0]
    part = subprocess.run(["curl", "-sS", "--fail", "-r", "0-11", url], capture_output=True, check=True, timeout=60)
    assert part.stdout[4:12] == b"ftypisom"


def test_refusals_of_media_are_json(gateway, sdk):
    url = sdk.images.generate(model="p", prompt="a cat").data[0].url
    for target, method, headers, status, code in (
            (url, "GET", {"Range": "bytes=999999999-"}, 416, None), (url, "POST", {}, 405, "method_not_allowed"),
            (f"{gateway.url}/media/none.png", "GET", {}, 404, "unknown_route"),
            (f"{gateway.url}/media/..%2f..%2fsmartoken.toml", "GET", {}, 404, "unknown_route"),
            (f"{gateway.url}/media/%ff", "GET", {}, 400, "unreadable_request")):
        told = call(target, "", method=method, **headers)
        assert (told[0], told[2]["error"]["code"], told[1]["content-type"]) == (status, code, "application/json"), target
        assert told[2]["error"]["message"] and told[1]["x-request-id"]
        assert (told[1].get("allow"), told[1].get("content-range", "").partition("/")[0]) == (
            "GET, HEAD" if status == 405 else None, "bytes *" if status == 416 else "")
        assert "immutable" not in told[1].get("cache-control", ""), "a refusal is not kept for a year"


def test_a_job_that_is_not_there_is_told_as_such(gateway, client):
    for id in ("none", "1a2042a8dcbe24b078ea836000007d2", "x" * 64):
        told = call(f"{gateway.url}/v1/videos/generations/{id}", client.key)
        assert (told[0], told[2]["error"]["code"]) == (404, "job_not_found")
        assert call(f"{gateway.url}/v1/videos/generations/{id}", "stk-live-x")[0] == 401


def test_an_idempotency_key_that_cannot_be_one_is_refused(post):
    for key in ("", "k" * 256, "\xff"):
        told = post(model="f", **FILM, headers={"Idempotency-Key": key})
        assert (told[0], told[2]["error"]["code"]) == (400, "invalid_idempotency_key")


def test_the_cost_is_told_and_quoted(post, gateway, client):
    before = spent_u(gateway, client)
    quoted = post(model="f", **FILM, query="?quote=1")[2]
    assert quoted == {"object": "quote", "model": "f", "cost_micro_usd": 5 * SECOND_U}
    assert post("/v1/quote", model="f", **FILM, query="?path=/v1/videos/generations")[2] == quoted
    assert post("/v1/quote", model="f", **FILM | {"duration": 4}, query="?path=/v1/videos/generations")[0] == 400
    assert post("/v1/images/generations", model="p", prompt="x", n=3, query="?quote=1")[2]["cost_micro_usd"] == \
        3 * PICTURE_U
    assert spent_u(gateway, client) == before
    assert post(model="f", **FILM, query="?cost=1")[2]["usage"] == {"cost_micro_usd": 5 * SECOND_U}


@pytest.mark.parametrize(("change", "param", "named"), [
    ({"resolution": "4K"}, "resolution", "720P, 1080P"), ({"resolution": None}, "resolution", "720P, 1080P"),
    ({"duration": 4}, "duration", "3, 5"), ({"duration": None}, "duration", "3, 5"),
    ({"ratio": "2:1"}, "ratio", "16:9, 9:16")])
def test_what_is_not_offered_is_refused_before_money_moves(post, gateway, client, upstream, change, param, named):
    before, made = spent_u(gateway, client), len(upstream.made())
    body = {name: value for name, value in {**FILM, **change}.items() if value is not None}
    status, _, answer = post(model="f", **body)
    assert (status, answer["error"]["param"]) == (400, param) and named in answer["error"]["message"]
    assert (spent_u(gateway, client), len(upstream.made())) == (before, made)


def test_a_chat_model_is_not_served_here(post):
    assert post("/v1/images/generations", model="f", prompt="x")[2]["error"]["code"] == "wire_not_served"
    assert post(model="nobody", **FILM)[0] == 404
    assert post(model="f", **FILM, key="stk-live-wrong")[0] == 401


def test_the_answer_may_be_had_later(gateway, client, post):
    status, headers, job = post(model="f", **FILM, headers={"Prefer": "respond-async"})
    assert (status, job["status"]) == (202, "queued") and headers["location"].endswith(job["id"])
    where = f"{gateway.url}{headers['location']}"
    done = until(lambda: (shown := call(where, client.key)[2])["status"] == "completed" and shown, "the film")
    assert fetch(done["data"][0]["url"])[0] == 200
    stranger = gateway.client("stranger")
    assert call(where, stranger.key)[0] == 404
    assert post(model="f", **FILM, headers={"Prefer": "wait=0"})[0] == 202
    assert post(model="f", **FILM, headers={"Prefer": "wait=60"})[0] == 200


def test_openais_video_jobs(sdk):
    video = sdk.videos.create_and_poll(model="f", prompt="night", seconds="3", size="720x1280")
    assert (video.status, video.progress) == ("completed", 100)
    assert sdk.videos.download_content(video.id).content[4:12] == b"ftypisom"


def test_the_same_idempotency_key_is_the_same_job(gateway, client, post, upstream):
    made = len(upstream.made())
    first = post(model="f", **FILM, headers={"Idempotency-Key": "one", "Prefer": "respond-async"})
    again = post(model="f", **FILM, headers={"Idempotency-Key": "one"})
    assert again[0] == 200 and again[1]["x-job-id"] == first[2]["id"]
    assert post(model="f", **FILM, headers={"Idempotency-Key": "one"})[2] == again[2]
    other = post(model="f", **{**FILM, "prompt": "day"}, headers={"Idempotency-Key": "one"})
    assert (other[0], other[2]["error"]["type"]) == (409, "idempotency_error")
    assert len(upstream.made()) == made + 1


def test_who_is_told_to_try_again_may_do_so_with_the_same_key(gateway, post, upstream):
    """Nothing was made, so there is nothing that a second call could double."""
    model, once = [film("f-back")], {"headers": {"Idempotency-Key": "back"}}
    gateway.apply(*model, maker("back", upstream.at("back", "429"), {"f-back": "x"}), name="back.toml")
    until(lambda: post(model="f-back", **FILM, query="?quote=1")[0] == 200, "the model")
    first = post(model="f-back", **FILM, **once)
    assert (first[0], first[2]["error"]["code"]) == (503, "upstream_failed") and int(first[1]["retry-after"]) > 0
    gateway.apply(*model, maker("back", upstream.at("back-again"), {"f-back": "x"}), name="back.toml")
    until(lambda: post(model="f-back", **FILM, **once)[0] == 200, "a film")
    made = len(upstream.made())
    assert post(model="f-back", **FILM, **once)[0] == 200 and len(upstream.made()) == made


def test_a_form_sent_again_is_the_same_job(gateway, sdk, upstream):
    """Each try of a client has a boundary of its own."""
    made, once = len(upstream.made()), {"extra_headers": {"Idempotency-Key": "a form"}}
    films = [sdk.videos.create(model="f", prompt="night", seconds="3", size="1280x720", **once) for _ in range(2)]
    assert films[0].id == films[1].id
    edits = [sdk.images.edit(model="p", image=("a.png", b"\x89PNG a", "image/png"), prompt="a hat",
                             extra_headers={"Idempotency-Key": "a picture"}) for _ in range(2)]
    assert edits[0].data[0].url == edits[1].data[0].url
    until(lambda: works_kit.settled(gateway), "the end of all jobs")
    assert len(upstream.made()) == made + 2, "a film and a picture"
    for change in ({"prompt": "a cap"}, {"image": ("a.png", b"\x89PNG b", "image/png")},
                   {"image": ("b.png", b"\x89PNG a", "image/png")}, {"n": 2}):
        with pytest.raises(openai.ConflictError, match="with another body"):
            sdk.images.edit(**{"model": "p", "image": ("a.png", b"\x89PNG a", "image/png"), "prompt": "a hat"} | change,
                            extra_headers={"Idempotency-Key": "a picture"})


def test_a_client_that_leaves_changes_nothing(gateway, client, upstream):
    made = len(upstream.made())
    assert call(f"{gateway.url}/v1/videos/generations", client.key, {"model": "f", **FILM}, timeout=0.15)[0] == 0
    until(lambda: len(upstream.made()) == made + 1, "the create call")
    until(lambda: works_kit.settled(gateway), "the end of the job")
    assert max(jobs(gateway).values(), key=lambda job: job.id).state == "done"


def test_a_job_that_waits_can_be_canceled(gateway, client, post, tmp_path_factory):
    slow = UpstreamProcess(work_ms=600_000, small=True)
    try:
        gateway.apply(film("f-slow"), maker("slow", slow.at(), {"f-slow": "x"}), name="slow.toml")
        until(lambda: "f-slow" in gateway.get("/v1/models")[2].decode(), "the model")
        before = spent_u(gateway, client)
        job = until(lambda: (made := post(model="f-slow", **FILM, headers={"Prefer": "respond-async"}))[0] == 202
                    and made[2], "a job on a worker that knows the model")
        where = f"{gateway.url}/v1/videos/generations/{job['id']}"
        until(lambda: call(where, client.key)[2]["status"] == "in_progress", "the create call")
        assert held_u(gateway, client) == 5 * SECOND_U
        shown = until(lambda: (answer := call(where, client.key, {}, method="DELETE"))[0] != 503 and answer[2],
                      "a worker that knows the channel")
        assert (shown["status"], shown["error"]["code"]) == ("failed", "job_canceled")
        until(lambda: held_u(gateway, client) == 0, "the release")
        assert spent_u(gateway, client) == before
        assert call(f"{where}/content", client.key)[0] == 404
    finally:
        slow.stop()


def test_a_job_whose_channel_was_taken_away_can_be_released(tmp_path):
    slow, gateway = UpstreamProcess(work_ms=600_000, small=True), Gateway(tmp_path)
    try:
        gateway.apply(film("f-slow"), maker("slow", slow.at(), {"f-slow": "x"}))
        gateway.start()
        client = gateway.client("stranded", "5")
        where = f"{gateway.url}/v1/videos/generations"
        job = call(where, client.key, {"model": "f-slow", **FILM}, prefer="respond-async")[2]
        until(lambda: jobs(gateway)[job["id"]].state == "running", "its create call")
        gateway.run("job", "release", job["id"], code=2)      # it can still be asked for
        gateway.apply(film("f-slow"), maker("other", slow.at(), {}), options=("--prune",))
        gateway.run("job", "release", job["id"])
        until(lambda: held_u(gateway, client) == 0, "its money")
        status, _, told = call(f"{where}/{job['id']}", client.key)
        assert told["status"] == "failed" and "upstream_lost" in json.dumps(told)
        gateway.check_books()
    finally:
        gateway.close()
        slow.stop()


def test_heartbeats_keep_the_connection_busy(post):
    status, _, made = post(model="f", **FILM, query="?heartbeat=1")
    assert status == 200 and made["data"]


# -- what goes wrong with films

def outcome(gateway, client, answer, held=0):
    """(status, code) of an answer, once all that was not delivered is released again."""
    until(lambda: held_u(gateway, client) == held, "the release")
    return answer[0], answer[2].get("error", {}).get("code")


@pytest.mark.parametrize(("model", "expected"), [
    ("f-429", (503, "upstream_failed")), ("f-500", (503, "upstream_failed")), ("f-bad", (400, "invalid_value"))])
def test_refused_by_the_upstream(gateway, client, post, upstream, model, expected):
    before, made = spent_u(gateway, client), len(upstream.made())
    held = held_u(gateway, client)
    assert outcome(gateway, client, post(model=model, **FILM), held) == expected
    assert (spent_u(gateway, client), len(upstream.made())) == (before, made)


def test_another_channel_takes_over_what_one_refused(post):
    assert post(model="f-two", **FILM)[0] == 200
    assert post(model="f-two", **FILM, query="?channel=two-1")[0] == 503


@pytest.mark.parametrize("model", ["f-reset", "f-hang", "f-html"])
def test_a_create_call_that_ended_unclear_is_never_repeated(gateway, client, post, upstream, model):
    before, made = spent_u(gateway, client), len(upstream.made())
    held = held_u(gateway, client)
    status, headers, answer = post(model=model, **FILM)
    assert (status, answer["error"]["code"], headers["x-should-retry"]) == (503, "upstream_unclear", "false")
    time.sleep(0.5)
    assert len(upstream.made()) == made + 1
    # It stays set aside until a person has looked, who then releases it.
    assert held_u(gateway, client) == held + 5 * SECOND_U
    gateway.run("job", "release", headers["x-request-id"])
    assert outcome(gateway, client, (0, {}, {}), held) == (0, None)
    assert spent_u(gateway, client) == before


def test_what_a_person_found_upstream_is_delivered(gateway, client, post, upstream):
    upstream.script("reset_before", at="c-f", path="/video-synthesis")
    status, headers, _ = post(model="f", **FILM)
    assert status == 503
    found = upstream.made()[-1]["id"]
    gateway.run("job", "found", headers["x-request-id"], found)
    where = f"{gateway.url}/v1/videos/generations/{headers['x-request-id']}"
    done = until(lambda: (shown := call(where, client.key)[2])["status"] == "completed" and shown, "the film")
    assert fetch(done["data"][0]["url"])[0] == 200


@pytest.mark.parametrize(("plays", "path", "expected"), [
    (["500", "reset_before", "html", "429"], "/tasks/", 200),      # polls are asked again
    (["task_unknown"], "/tasks/", 200),                             # not visible yet
    (["task_failed"], "/tasks/", 503),
    (["task_moderated"], "/tasks/", 400),
    (["403", "403"], ".mp4", 200),                                  # the link died: a fresh one is asked for
    (["500", "reset?after=1&gap_ms=0", "short_length"], ".mp4", 200),
    (["slow?gap_ms=5"], ".mp4", 200),
    (["html"], ".mp4", 503),
])
def test_faults_after_the_create_call(gateway, client, upstream, post, plays, path, expected):
    before, made = spent_u(gateway, client), len(upstream.made())
    held = held_u(gateway, client)
    status, _, job = post(model="f", **FILM, headers={"Prefer": "respond-async"})
    assert status == 202
    where = f"{gateway.url}/v1/videos/generations/{job['id']}"
    if path == "/tasks/":
        until(lambda: call(where, client.key)[2]["status"] == "in_progress", "the create call")
        upstream.script(*plays, at="c-f")
    else:
        upstream.script(*plays, path=path)
    shown = until(lambda: (shown := call(where, client.key)[2])["status"] in ("completed", "failed") and shown, "the end")
    until(lambda: held_u(gateway, client) == held, "the settlement")
    assert (shown["status"] == "completed") == (expected == 200), shown
    if expected == 400:
        assert shown["error"]["code"] == "content_policy_violation"
    assert spent_u(gateway, client) - before == (5 * SECOND_U if expected == 200 else 0)
    assert len(upstream.made()) == made + 1


def test_an_oversized_film_is_not_kept(gateway, client, upstream, post):
    gateway.apply(film("f-cap", settings="{ max_bytes = 1000000 }"),
                  maker("cap", upstream.at("cap"), {"f-cap": "x"}), name="cap.toml")
    until(lambda: post(model="f-cap", **FILM, query="?quote=1")[0] == 200, "the model")
    before = spent_u(gateway, client)
    upstream.script("padded?pad_mb=4", path=".mp4")
    status, _, answer = until(lambda: (a := post(model="f-cap", **FILM))[0] not in (0, 404) and a, "an answer")
    assert (status, answer["error"]["code"]) == (503, "result_unavailable")
    assert outcome(gateway, client, (0, {}, {}), held_u(gateway, client)) == (0, None)
    assert spent_u(gateway, client) == before
    assert not list((gateway.folder / "var" / "media" / ".drafts").iterdir())


def test_who_cannot_pay_is_refused_before_anything_is_sent(gateway, upstream):
    poor, made = gateway.client("poor", "0.2"), len(upstream.made())
    status, _, answer = call(f"{gateway.url}/v1/videos/generations", poor.key, {"model": "f", **FILM})
    assert (status, answer["error"]["type"]) == (402, "insufficient_balance")
    assert len(upstream.made()) == made
    assert call(f"{gateway.url}/v1/videos/generations", poor.key, {"model": "f", **FILM, "duration": 3})[0] == 200
    assert works_kit.balance(gateway, poor).balance_u == 200_000 - 3 * SECOND_U


def test_every_job_left_one_record(gateway, client):
    until(lambda: works_kit.settled(gateway), "the end of all jobs")
    records = {record.rid: record for record in gateway.records() if record.wire.startswith("openai.")}
    closed = {id: job for id, job in jobs(gateway).items() if not job.open}
    assert set(records) == set(closed)
    for id, job in closed.items():
        assert records[id].cost_p == (job.cost_p if job.state == "done" else 0)
        assert sum(records[id].split.values()) == records[id].cost_p
