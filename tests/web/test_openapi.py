"""Every operation of /openapi.json is called for real, and its answer is what the document says it would be."""

import json
from pathlib import Path

import httpx
import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from smartoken.testing.picture import png
from smartoken.testing.sound import wav
from smartoken.web.refusals import GROUPS
from tests.console.kit import Person
from tests.harness import Gateway, until

ROOT = Path(__file__).parents[2]
COMPOSITE = """\
[[models]]
slug = "many"
pricing = { input_per_mtok = 1000000, output_per_mtok = 1000000 }
composite = { members = ["chat"] }
[[categories]]
slug = "all"
title = "All"
[[listings]]
slug = "chat"
category = "all"
model = "chat"
title = "Chat"
"""
PRICED = {"llm": 'input_per_mtok = "1", output_per_mtok = "2"', "embedding": 'input_per_mtok = "1"',
          "speech": 'per_mchar = "15", per_voice = "1"', "transcription": 'per_audio_second = "0.001"',
          "text2image": 'per_image = "0.02"', "text2video": 'video_price_per_second_by_resolution = { "720P" = "0.05" }'}
MODELS = {"chat": "llm", "embed": "embedding", "tts": "speech", "ears": "transcription", "picture": "text2image",
          "film": "text2video", "claude": "llm", "gemini": "llm"}
SAY = [{"role": "user", "content": "Say something."}]
CHAT = {"model": "chat", "messages": SAY, "max_tokens": 8}
SPEAK = {"model": "tts", "input": "One two", "voice": "alloy"}
RESPOND = {"model": "chat", "input": "Hello!", "max_output_tokens": 16}
MESSAGE = {"model": "claude", "messages": SAY, "max_tokens": 8}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]}
PICTURE = {"model": "picture", "prompt": "a cat"}
FILM = {"model": "film", "prompt": "sea", "resolution": "720P", "duration": 3}
VIDEO = {"model": "film", "prompt": "sea", "seconds": "3", "size": "1280x720"}
VOICE = {"data": {"name": "Mine", "model": "tts", "consent": "Mine."}, "files": {"audio_sample": ("a.wav", wav(6_000))}}
HEAR = {"data": {"model": "ears"}, "files": {"file": ("a.wav", wav(300))}}
EDIT = {"data": PICTURE, "files": {"image": ("a.png", png(8, 8, 1), "image/png")}}
LATER = {"Prefer": "respond-async"}

# (method, path): the calls of an operation, each with what httpx is given; the id of what was made stands for {id}
CALLS: dict[tuple[str, str], list[dict]] = {
    ("post", "/v1/chat/completions"): [{"json": CHAT}, {"json": CHAT | {"stream": True}},
                                       {"json": CHAT, "params": {"cost": "1"}}],
    ("post", "/api/v1/chat/completions"): [{"json": CHAT | {"model": "many"}}, {"json": CHAT | {"stream": True}}],
    ("post", "/v1/responses"): [{"json": RESPOND}, {"json": RESPOND | {"stream": True}}],
    ("post", "/v1/responses/input_tokens"): [{"json": RESPOND}],
    ("get", "/v1/responses/{id}"): [{}], ("get", "/v1/responses/{id}/input_items"): [{}],
    ("delete", "/v1/responses/{id}"): [{}],
    ("post", "/v1/messages"): [{"json": MESSAGE}, {"json": MESSAGE | {"stream": True}}],
    ("post", "/v1/messages/count_tokens"): [{"json": {"model": "claude", "messages": SAY}}],
    **{("post", f"{base}/models/{{model}}:{verb}"): [{"json": GEMINI, "params": more}] for base in ("/v1beta", "/v1")
       for verb, more in (("generateContent", {}), ("countTokens", {}), ("streamGenerateContent", {"alt": "sse"}))},
    **{("post", f"{base}/embeddings"): [{"json": {"model": "embed", "input": ["a", "b"]}},
                                        {"json": {"model": "embed", "input": "a", "encoding_format": "base64"}}]
       for base in ("/v1", "/api/v1")},
    **{("post", f"{base}/audio/speech"): [{"json": SPEAK}, {"json": SPEAK | {"response_format": "wav"}},
                                          {"json": SPEAK | {"stream_format": "sse"}}] for base in ("/v1", "/api/v1")},
    **{("post", f"{base}/audio/transcriptions"): [
        HEAR, {**HEAR, "data": {"model": "ears", "response_format": "text"}},
        {**HEAR, "data": {"model": "ears", "response_format": "verbose_json"}},
        {**HEAR, "data": {"model": "ears", "stream": "true"}}] for base in ("/v1", "/api/v1")},
    **{(method, f"{base}/audio/voices{end}"): calls for base in ("/v1", "/api/v1") for method, end, calls in (
        ("post", "", [VOICE, {**VOICE, "params": {"cost": "1"}},
                      {"files": {"model": (None, "tts")}, "params": {"quote": "1"}}]),
        ("get", "", [{}]), ("get", "/{id}", [{}]), ("delete", "/{id}", [{}]))},
    ("post", "/v1/images/generations"): [{"json": PICTURE}, {"json": PICTURE | {"response_format": "b64_json"}},
                                         {"json": PICTURE, "params": {"cost": "1"}},
                                         {"json": PICTURE, "params": {"quote": "1"}}, {"json": PICTURE, "headers": LATER}],
    ("post", "/v1/images/edits"): [EDIT, {**EDIT, "headers": LATER}],
    ("post", "/v1/videos/generations"): [{"json": FILM}, {"json": FILM, "params": {"cost": "1"}},
                                         {"json": FILM, "headers": LATER}],
    ("post", "/v1/videos"): [{"json": VIDEO}, {"json": VIDEO, "params": {"quote": "1"}}],
    **{(method, f"{path}/{{id}}{end}"): [{}] for path in ("/v1/images/generations", "/v1/images/edits",
                                                         "/v1/videos/generations", "/v1/videos")
       for method, end in (("get", ""), ("get", "/content"), ("delete", ""), ("post", "/cancel"))},
    ("post", "/v1/quote"): [{"json": CHAT}, {"json": SPEAK, "params": {"path": "/v1/audio/speech"}},
                           {"json": PICTURE, "params": {"path": "/v1/images/generations"}}],
    ("post", "/v1/vouchers/redeem"): [{"json": {"code": "{code}"}}],
    ("get", "/v1/models"): [{}], ("get", "/v1/models/{slug}"): [{}], ("get", "/api/v1/models"): [{}],
    ("get", "/api/v1/models/{slug}"): [{}], ("get", "/api/v1/storefront/categories"): [{}],
    ("get", "/api/v1/storefront/listings"): [{}, {"params": {"limit": "1", "order": "price"}}],
    ("get", "/api/v1/storefront/listings/{slug}"): [{}], ("get", "/openapi.json"): [{}],
}
SLUGS = {"slug": "chat", "model": "gemini"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream_process):
    gateway = Gateway(tmp_path_factory.mktemp("openapi"), conf='[sign_up]\nopen = true\n')
    gateway.env["UPSTREAM_KEY"] = "sk-upstream"
    more = {"text2video": "available_durations = [3]\n"}
    at = upstream_process.at
    rows = (("c-openai", "openai", at("o"), ["chat", "responses", "embeddings", "speech", "transcriptions"],
             ["chat", "embed", "tts", "ears"]),
            ("c-works", "sandbox", at("w"), ["images", "videos"], ["picture", "film"]),
            ("c-claude", "anthropic", at("a"), ["messages"], ["claude"]),
            ("c-gemini", "gemini", at("g"), ["gemini"], ["gemini"]))
    gateway.apply(
        *(f'[[models]]\nslug = "{slug}"\ntype = "{kind}"\npricing = {{ {PRICED[kind]} }}\n{more.get(kind, "")}'
          for slug, kind in MODELS.items()), COMPOSITE,
        *(f'[[channels]]\nname = "{name}"\nprovider = "{provider}"\nbase_url = "{url}"\nwire_api = {wires!r}\n'
          f'models = {models!r}\ncredential = "env:UPSTREAM_KEY"\n' for name, provider, url, wires, models in rows))
    gateway.start()
    yield gateway
    try:
        gateway.check_books()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def http(gateway):
    key = gateway.client("everyone", "100").key
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def document(http):
    return http.get("/openapi.json").json()


@pytest.fixture(scope="module")
def holds(document):
    """holds(value, schema): nothing when the value is as the document's schema says."""
    registry = Registry().with_resource("urn:document", Resource(contents=document, specification=DRAFT202012))

    def holds(value, schema):
        text = json.dumps(schema).replace('"#/components/', '"urn:document#/components/')
        checker = jsonschema.Draft202012Validator(json.loads(text), registry=registry)
        wrong = [f"{error.json_path}: {error.message[:300]}" for error in checker.iter_errors(value)]
        assert not wrong, wrong
    return holds


def contents(document):
    """(where, media type, content) of every request and answer."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"{method} {path}", kind, content
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    yield f"{method} {path} {status}", kind, content


def events_in(text):
    """The JSON of every event of a stream."""
    lines = (line.removeprefix("data: ") for line in text.replace("\r\n", "\n").split("\n") if line.startswith("data: "))
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_the_table_of_calls_is_whole(document):
    there = {(method, path) for path, operations in document["paths"].items() for method in operations}
    assert there == set(CALLS)


def test_every_example_is_as_its_schema_says(document, holds):
    seen = 0
    for where, kind, content in contents(document):
        if kind == "text/event-stream":
            assert events_in(content["example"]), where
            for event in events_in(content["example"]):
                holds(event, content["x-event"])
        for example in [content["example"]] if "example" in content else [
                one["value"] for one in content.get("examples", {}).values()]:
            holds(example, content["schema"])
            seen += 1
    assert seen > 400


def test_every_answer_has_a_schema_that_says_something(document):
    for where, kind, content in contents(document):
        assert content["schema"] not in ({}, {"type": "object"}), f"{where} {kind}"


def test_refusals_are_as_they_are_said(document, http, holds):
    for path, operations in document["paths"].items():
        if operations.get("post", {}).get("security") == [] or "post" not in operations or "{id}" in path:
            continue
        target = path.replace("{model}", "gemini")
        got = httpx.post(f"{http.base_url}{target}", json={"model": "none"}, headers={"Authorization": "Bearer stk-none"},
                         params={"alt": "sse"})
        said = operations["post"]["responses"][str(got.status_code)]["content"]["application/json"]
        assert got.status_code == 401, path
        holds(got.json(), said["schema"])


def test_every_code_is_one_that_we_give():
    sources = "".join(file.read_text(encoding="utf-8") for room in ("smartoken", "plugins")
                      for file in (ROOT / room).rglob("*.py") if file.name != "refusals.py")
    told = {code for group in GROUPS.values() for codes in group.values() for code in codes}
    assert {code for code in told if f'"{code.removeprefix("requests").removeprefix("tokens")}"' not in sources
            and f'}}{code.removeprefix("requests").removeprefix("tokens")}"' not in sources} == set()


def fresh(http, path):
    """The id of something that the operations below a path are about."""
    if path.startswith("/v1/responses"):
        return http.post("/v1/responses", json=RESPOND).json()["id"]
    if "/audio/voices" in path:
        return http.post("/v1/audio/voices", **VOICE).json()["id"]
    door = path.split("/{id}")[0]
    asked = {"/v1/videos": {"json": VIDEO}, "/v1/videos/generations": {"json": FILM},
             "/v1/images/generations": {"json": PICTURE}, "/v1/images/edits": EDIT}[door]
    id = http.post(door, headers=LATER, **asked).json()["id"]
    until(lambda: http.get(f"{door}/{id}").json()["status"] == "completed", "the job's end")
    return id


@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda part: part)
def test_a_real_answer_is_as_it_is_said(gateway, http, document, holds, method, path):
    operation = document["paths"][path][method]
    for call in CALLS[method, path]:
        target = path
        for name, value in SLUGS.items():
            target = target.replace(f"{{{name}}}", value)
        if "{id}" in path:
            target = target.replace("{id}", fresh(http, path))
        if path.endswith("/redeem"):
            owner = Person(gateway).first_owner()
            made = owner.api("POST", "/vouchers", {"op": "v-1", "face_u": "5", "count": 1, "models": [], "note": ""}).json()
            call = {"json": {"code": made["codes"][0]["code"]}}
        got = http.request(method, target, **call)
        said = operation["responses"].get(str(got.status_code))
        assert got.status_code < 400 and said, f"{got.status_code} {got.text[:300]}"
        assert all(name.lower() in got.headers for name in said["headers"])
        if "content" not in said:
            assert got.status_code == 302 and got.headers["location"]
            continue
        kind = got.headers["content-type"].partition(";")[0]
        content = said["content"][kind]
        if kind == "text/event-stream":
            found = events_in(got.text)
            assert found, got.text
            for event in found:
                holds(event, content["x-event"])
        elif kind == "application/json":
            holds(got.json(), content["schema"])
        else:
            assert got.content


@pytest.fixture(scope="module")
def stranger(gateway):
    key = gateway.client("stranger", "100").key
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        yield http


@pytest.mark.parametrize(("method", "path"), [call for call in CALLS if "{id}" in call[1]], ids=lambda part: part)
def test_what_is_another_account_s_is_not_there(http, stranger, method, path):
    """It looks like what nobody has, and stays as it was."""
    id = fresh(http, path)
    nobody_s = id[:-4] + ("0000" if id[-4:] != "0000" else "1111")
    told = []
    for one in (id, nobody_s):
        got = stranger.request(method, path.replace("{id}", one))
        assert got.status_code == 404, got.text
        told.append(got.text.replace(one, "{id}").replace(got.headers["x-request-id"], ""))
    assert told[0] == told[1]
    assert http.get(path.partition("{id}")[0] + id).status_code == 200
