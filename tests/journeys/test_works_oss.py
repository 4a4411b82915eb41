"""The same pictures and films with the media in OSS: links signed by V4, proven by the server that serves them."""

import shutil

import openai
import pytest

from smartoken.testing.process import UpstreamProcess
from tests.harness import Gateway, until
from tests.journeys import works_kit
from tests.journeys.oss_kit import OssProcess
from tests.journeys.works_kit import FILM, SECOND_U, call, fetch, film, maker, picture, probe


@pytest.fixture
def oss(tmp_path):
    (tmp_path / "oss").mkdir()
    oss = OssProcess(tmp_path / "oss")
    yield oss
    oss.stop()


@pytest.fixture
def gateway(tmp_path, oss):
    upstream = UpstreamProcess(tmp_path / "sent.jsonl", small=True)
    (tmp_path / "gateway").mkdir()
    gateway = Gateway(tmp_path / "gateway", conf=oss.conf(sign_for_s="3600"))
    gateway.apply(picture("p"), film("f"), maker("maker", upstream.at("maker"), {"p": "dall-e-3", "f": "wan2.7-t2v"}))
    gateway.start()
    yield gateway
    gateway.close()
    upstream.stop()


def test_pictures_and_films_on_oss(gateway, oss, tmp_path):
    client = gateway.client("oss")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=client.key, max_retries=0) as sdk:
        url = sdk.images.generate(model="p", prompt="a cat").data[0].url
        inline = sdk.images.generate(model="p", prompt="a cat", response_format="b64_json").data[0].b64_json
    assert url.startswith(f"{oss.endpoint}/bucket/media/") and "x-oss-signature=" in url
    status, headers, body = fetch(url)
    assert (status, headers["content-type"]) == (200, "image/png") and body.startswith(b"\x89PNG") and inline
    status, headers, body = fetch(url, Range="bytes=1-3")
    assert (status, body) == (206, b"PNG")
    assert fetch(url.split("?")[0])[0] == 403

    status, _, made = call(f"{gateway.url}/v1/videos/generations", client.key, {"model": "f", **FILM})
    status, headers, body = fetch(made["data"][0]["url"])
    assert (status, headers["content-type"]) == (200, "video/mp4")
    if shutil.which("ffprobe"):
        assert float(probe(body, tmp_path)[3]) == 5.0
    until(lambda: works_kit.settled(gateway), "the end of all jobs")
    assert client.credit_u - works_kit.balance(gateway, client).balance_u == 2 * works_kit.PICTURE_U + 5 * SECOND_U
    gateway.check_books(client)


def test_a_store_in_trouble_delays_a_film_and_loses_none(gateway, oss, tmp_path):
    client = gateway.client("oss")
    oss.stop()
    status, headers, job = call(f"{gateway.url}/v1/videos/generations", client.key, {"model": "f", **FILM},
                                Prefer="respond-async")
    where = f"{gateway.url}{headers['location']}"
    until(lambda: next(iter(works_kit.jobs(gateway).values())).state == "made", "the upstream's part")
    port = oss.endpoint.rpartition(":")[2]
    again = OssProcess(tmp_path / "oss", port)
    try:
        done = until(lambda: (shown := call(where, client.key)[2])["status"] == "completed" and shown, "the film", 60)
        assert fetch(done["data"][0]["url"])[0] == 200
    finally:
        again.stop()
    gateway.check_books(client)
