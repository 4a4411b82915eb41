"""What each provider is sent for a picture or a film, and what its answers are taken for."""

import base64

import msgspec
import pytest
from smartoken_plugins import dashscope, volcengine
from smartoken_plugins.dashscope import images as ali_images
from smartoken_plugins.dashscope import videos as ali_videos
from smartoken_plugins.volcengine import images as ark_images
from smartoken_plugins.volcengine import videos as ark_videos
from smartoken_plugins.wire_openai import images, multipart, videos

from smartoken.errors import Refusal
from smartoken.plugin import CANCELED, FAILED, GONE, MADE, RUNNING


def encode(value):
    return msgspec.json.encode(value)


def sent(outgoing):
    return msgspec.json.decode(outgoing.body)


def picture(**fields):
    return images.peek(encode({"model": "m", "prompt": "a cat", **fields}), "application/json")


def film(**fields):
    body = {"model": "m", "prompt": "night", "resolution": "720P", "duration": 5, **fields}
    return videos.peek(encode(body), "application/json")


# -- OpenAI's own

def test_openai_gets_the_clients_fields_and_is_asked_for_a_url():
    ask = picture(n=2, size="1024x1024", style="vivid", x_unknown={"a": 1.50}, response_format="b64_json")
    outgoing = images.submit(ask, "dall-e-3", "/images/generations", {})
    assert (outgoing.method, outgoing.path, outgoing.lasting) == ("POST", "/images/generations", False)
    assert sent(outgoing) == {"model": "dall-e-3", "prompt": "a cat", "n": 2, "size": "1024x1024", "style": "vivid",
                              "x_unknown": {"a": 1.5}, "response_format": "url"}
    assert b'"x_unknown":{"a":1.5}' in outgoing.body.replace(b"1.50", b"1.5") and ask.inline


@pytest.mark.parametrize(("name", "settings"), [("gpt-image-1", {}), ("other", {"always_inline": True})])
def test_models_that_refuse_response_format_are_not_sent_it(name, settings):
    assert "response_format" not in sent(images.submit(picture(response_format="url"), name, "/g", settings))


def test_openais_answers():
    picture64 = base64.b64encode(b"x" * 100).decode()
    said = images.said(encode({"created": 1, "data": [{"b64_json": picture64}, {"url": "https://a/b",
                                                                               "revised_prompt": "r"}],
                               "usage": {"total_tokens": 3}}), picture())
    assert said.state == MADE and said.tokens == {"total_tokens": 3}
    assert base64.b64decode(said.results[0].data) == b"x" * 100
    assert (said.results[1].url, said.results[1].note) == ("https://a/b", "r")
    assert images.said(encode({"error": {"message": "no", "code": "c"}}), picture()).failure.code == "c"
    part = images.said(encode({"data": [{"error": {"code": "x", "message": "blocked"}}]}), picture())
    assert part.results[0].failure == "blocked" and not part.results[0].url


@pytest.mark.parametrize("body", [{"model": "m"}, {"prompt": "p"}, {"model": "m", "prompt": "p", "n": 0},
                                  {"model": "m", "prompt": "p", "n": True}, {"model": "m", "prompt": "p", "size": 1},
                                  {"model": "m", "prompt": "p", "stream": True},
                                  {"model": "m", "prompt": "p", "response_format": "jpeg"}])
def test_bad_picture_bodies(body):
    with pytest.raises(Refusal) as refused:
        images.peek(encode(body), "application/json")
    assert refused.value.status == 400
    with pytest.raises(Refusal, match="'image' is not valid JSON"):
        images.peek(b'{"model": "m", "prompt": "p", "image": 1e999}', "application/json")


def test_an_edit_travels_as_a_form():
    parts = [multipart.Part("model", "", "", b"m"), multipart.Part("prompt", "", "", b"ein Hut"),
             multipart.Part("n", "", "", b"2"), multipart.Part("image[]", 'a"b.png', "image/png", b"\x89PNG\r\n--x\r\n"),
             multipart.Part("mask", "m.png", "image/png", b"")]
    body, content_type = multipart.write(parts)
    ask = images.peek_edit(body, content_type)
    assert (ask.slug, ask.images, [part.name for part in ask.files]) == ("m", 2, ["image[]", "mask"])
    again, content_type = (outgoing := images.submit(ask, "gpt-image-1", "/images/generations", {})).body, \
        outgoing.content_type
    read = {part.name: part for part in multipart.parts_of(again, content_type)}
    assert outgoing.path == "/images/edits"
    assert (read["model"].data, read["n"].data, read["prompt"].data) == (b"gpt-image-1", b"2", b"ein Hut")
    assert read["image[]"].data == b"\x89PNG\r\n--x\r\n" and read["image[]"].content_type == "image/png"


@pytest.mark.parametrize("body", [b"", b"--b\r\n", b"--b\r\n\r\nx\r\n--b--", b"--b\r\nContent-Type: x\r\n\r\nx\r\n--b--",
                                  b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b'])
def test_broken_forms(body):
    with pytest.raises(Refusal):
        multipart.parts_of(body, "multipart/form-data; boundary=b")


# -- DashScope

def test_qwen_image_is_called_and_answers_at_once():
    outgoing = ali_images.submit(picture(n=2, size="1328x1328", seed=7), "qwen-image-plus", ali_images.SYNC, {})
    assert outgoing.path == ali_images.SYNC and not outgoing.headers and not outgoing.lasting
    assert sent(outgoing) == {
        "model": "qwen-image-plus", "input": {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]},
        "parameters": {"n": 2, "watermark": False, "seed": 7, "size": "1328*1328"}}
    said = ali_images.said(encode({"output": {"choices": [{"message": {"content": [
        {"image": "https://x/1"}, {"image": "https://x/2"}]}}]}}), picture())
    assert (said.state, [one.url for one in said.results]) == (MADE, ["https://x/1", "https://x/2"])


def test_wan_pictures_are_tasks():
    outgoing = ali_images.submit(picture(negative_prompt="dogs"), "wan2.2-t2i-flash", ali_images.SYNC, {})
    assert outgoing.path == ali_images.ASYNC and outgoing.lasting and outgoing.headers == dashscope.images.tasks.ASYNC
    assert sent(outgoing)["input"] == {"prompt": "a cat", "negative_prompt": "dogs"}
    said = ali_images.said(encode({"output": {"task_status": "SUCCEEDED", "results": [
        {"url": "https://x/1", "actual_prompt": "r"}, {"code": "DataInspectionFailed", "message": "blocked"}]}}), picture())
    assert [(one.url, one.failure) for one in said.results] == [("https://x/1", ""), ("", "blocked")]


def test_happyhorse_is_sent_only_what_it_knows():
    outgoing = ali_videos.submit(film(ratio="9:16", seed=3, prompt_extend=True, negative_prompt="x"),
                                 "happyhorse-1.0-t2v", ali_videos.PATH, {})
    assert (outgoing.path, outgoing.headers, outgoing.lasting) == (ali_videos.PATH, (("X-DashScope-Async", "enable"),),
                                                                   True)
    assert sent(outgoing) == {"model": "happyhorse-1.0-t2v", "input": {"prompt": "night"}, "parameters": {
        "duration": 5, "watermark": False, "seed": 3, "resolution": "720P", "ratio": "9:16"}}


def test_older_wan_takes_sizes_and_newer_resolutions():
    old = sent(ali_videos.submit(film(ratio="1:1", negative_prompt="x"), "wan2.5-t2v-preview", "/p", {}))
    assert old["parameters"]["size"] == "960*960" and old["input"]["negative_prompt"] == "x"
    new = sent(ali_videos.submit(film(parameters={"shot_type": "multi"}), "wan2.7-t2v", "/p", {}))
    assert new["parameters"]["resolution"] == "720P" and new["parameters"]["shot_type"] == "multi"
    with pytest.raises(Refusal, match="16:9, 9:16, 1:1"):
        ali_videos.submit(film(ratio="21:9"), "wan2.2-t2v-plus", "/p", {})


@pytest.mark.parametrize(("output", "state"), [
    ({"task_id": "t", "task_status": "PENDING"}, RUNNING), ({"task_id": "t", "task_status": "RUNNING"}, RUNNING),
    ({"task_id": "t", "task_status": "SUSPENDED"}, RUNNING), ({"task_id": "t", "task_status": "NEWWORD"}, RUNNING),
    ({"task_id": "t", "task_status": "CANCELED"}, CANCELED), ({"task_id": "t", "task_status": "UNKNOWN"}, GONE),
    ({"task_id": "t", "task_status": "FAILED", "code": "DataInspectionFailed", "message": "m"}, FAILED),
    ({"task_id": "t", "task_status": "SUCCEEDED", "video_url": "https://x"}, MADE)])
def test_states_of_a_dashscope_task(output, state):
    said = ali_videos.said(encode({"output": output, "request_id": "r"}), film())
    assert said.state == state
    assert said.waiting == (output["task_status"] == "PENDING")
    if state == FAILED:
        assert (said.failure.code, said.failure.message) == ("DataInspectionFailed", "m")


@pytest.mark.parametrize(("usage", "video_ms"), [
    ({"duration": 5, "output_video_duration": 5, "SR": 720}, 5000), ({"video_duration": 5}, 5000),
    ({"duration": 4.96}, 4960), ({"duration": "5"}, None), ({}, None), ({"duration": True}, None)])
def test_the_billed_length(usage, video_ms):
    answer = {"output": {"task_status": "SUCCEEDED", "video_url": "https://x"}, "usage": usage}
    assert ali_videos.said(encode(answer), film()).video_ms == video_ms


def test_dashscopes_errors_and_root():
    refused = dashscope.images.tasks.failure(encode({"code": "Throttling.RateQuota", "message": "slow", "request_id": "1"}))
    assert (refused.code, refused.message) == ("Throttling.RateQuota", "slow")
    assert dashscope.images.tasks.failure(b"<html>").code == ""
    assert ali_videos.said(encode({"code": "InternalError", "message": "m"}), film()).failure.code == "InternalError"
    root = dashscope.images.tasks.root
    assert root("https://dashscope-intl.aliyuncs.com/compatible-mode/v1") == "https://dashscope-intl.aliyuncs.com/api/v1"
    assert root("https://w.cn-beijing.maas.aliyuncs.com/api/v1") == "https://w.cn-beijing.maas.aliyuncs.com/api/v1"


# -- Ark

def test_seedream():
    outgoing = ark_images.submit(picture(n=3, size="2K", quality="hd", seed=1), "doubao-seedream-4-0-250828", "/i", {})
    assert sent(outgoing) == {"model": "doubao-seedream-4-0-250828", "prompt": "a cat", "size": "2K", "seed": 1,
                              "response_format": "url", "watermark": False, "sequential_image_generation": "auto",
                              "sequential_image_generation_options": {"max_images": 3}}


def test_seedance():
    outgoing = ark_videos.submit(film(ratio="16:9", camera_fixed=True), "doubao-seedance-1-0-pro-250528",
                                 ark_videos.PATH, {})
    assert outgoing.lasting and sent(outgoing) == {
        "model": "doubao-seedance-1-0-pro-250528", "content": [{"type": "text", "text": "night"}], "resolution": "720p",
        "duration": 5, "watermark": False, "ratio": "16:9", "camera_fixed": True}
    assert ark_videos.said(b'{"id":"cgt-1"}', film()).upstream_id == "cgt-1"
    for status, state in (("queued", RUNNING), ("running", RUNNING), ("cancelled", CANCELED), ("failed", FAILED),
                          ("expired", FAILED)):
        assert ark_videos.said(encode({"id": "1", "status": status}), film()).state == state
    done = ark_videos.said(encode({"id": "1", "status": "succeeded", "content": {"video_url": "https://x"},
                                   "duration": 5}), film())
    assert (done.state, done.results[0].url, done.video_ms) == (MADE, "https://x", 5000)


# -- pictures to work from

QWEN = (ali_images, "qwen-image-edit", ali_images.SYNC)
ARK = (ark_images, "doubao-seedream-4-0-250828", "/images/generations")
PNG = multipart.Part("image[]", "a.png", "image/png", b"\x89PNG")


def edit(**fields):
    return images.peek_edit(encode({"model": "m", "prompt": "a hat", **fields}), "application/json")


def edit_form(*files):
    parts = [multipart.Part(name, "", "", b"m") for name in ("model", "prompt")]
    return images.peek_edit(*multipart.write([*parts, *files]))


def pictures_sent(maker, name, path, ask):
    """As the provider gets them, in its own words."""
    body = sent(maker.submit(ask, name, path, {}))
    if maker is ark_images:
        assert "images" not in body and "mask" not in body
        return body.get("image", [])
    return [one["image"] for one in body["input"]["messages"][0]["content"] if "image" in one]


@pytest.mark.parametrize("provider", [QWEN, ARK], ids=["dashscope", "ark"])
def test_pictures_to_work_from_reach_their_provider(provider):
    links = ["https://x/1.png", "data:image/png;base64,aaaa"]
    for ask in (edit(images=[{"image_url": link} for link in links]), edit(image=links), picture(image=links)):
        assert pictures_sent(*provider, ask) == links
    assert pictures_sent(*provider, edit(image=links[0])) == links[:1]
    assert pictures_sent(*provider, edit_form(PNG)) == [f"data:image/png;base64,{base64.b64encode(PNG.data).decode()}"]
    assert pictures_sent(*provider, picture()) == []


@pytest.mark.parametrize("provider", [QWEN, ARK], ids=["dashscope", "ark"])
@pytest.mark.parametrize(("make", "param"), [
    (lambda: edit(image="https://x", mask={"image_url": "https://x"}), "mask"),
    (lambda: edit_form(PNG, multipart.Part("mask", "m.png", "image/png", b"\x89PNG")), "mask"),
    (lambda: edit_form(PNG, multipart.Part("image[1]", "m.png", "image/png", b"\x89PNG")), "image[1]"),
    (lambda: edit(images=[{"url": "https://x"}]), "images"), (lambda: edit(image=7), "image")])
def test_pictures_that_a_provider_cannot_take_are_refused(provider, make, param):
    with pytest.raises(Refusal) as refused:
        pictures_sent(*provider, make())
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("fields", [{"images": [{"file_id": "file-1"}]}, {"image": {"file_id": "file-1"}},
                                    {"image": "https://x", "mask": {"file_id": "file-1"}}])
def test_the_operators_uploads_are_not_the_clients(fields):
    with pytest.raises(Refusal, match="file_id"):
        edit(**fields)


@pytest.mark.parametrize("ask", [edit(images=[{"image_url": "https://x"}]), edit(image="https://x"), edit_form(PNG)])
def test_a_task_of_dashscope_takes_no_picture(ask):
    with pytest.raises(Refusal, match="words only"):
        ali_images.submit(ask, "wan2.2-t2i-flash", ali_images.SYNC, {})


# -- OpenAI's shape for films

@pytest.mark.parametrize(("size", "frame"), [
    ("1280x720", ("720P", "16:9")), ("720x1280", ("720P", "9:16")), ("1792x1024", ("1080P", "16:9")),
    ("832*480", ("480P", "16:9")), ("1024x1024", ("1080P", "1:1"))])
def test_sizes_as_resolutions(size, frame):
    assert videos.frame_of(size) == frame


@pytest.mark.parametrize("size", ["", "big", "0x1", "1x0", "1280", "99999x1"])
def test_sizes_that_are_none(size):
    with pytest.raises(Refusal):
        videos.frame_of(size)


def test_openais_fields_for_a_film():
    ask = videos.peek_openai(encode({"model": "m", "prompt": "p", "seconds": "8", "size": "1280x720"}), "")
    assert (ask.seconds, ask.resolution, ask.ratio) == (8, "720P", "16:9")
    with pytest.raises(Refusal):
        videos.peek_openai(encode({"model": "m", "prompt": "p", "input_reference": {"image_url": "x"}}), "")


def test_every_declared_path_has_its_maker():
    for plugin in (dashscope, volcengine):
        for provider in plugin.smartoken_providers():
            assert set(provider.makers) <= set(provider.speaks)
            assert "openai.videos" in provider.makers
