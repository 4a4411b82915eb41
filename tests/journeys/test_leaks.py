"""T19: a word of its own as every secret and as every prompt; afterwards all are looked for where nobody may find them.

The gateway logs all it ever logs (`debug`), upstreams repeat our credential in whatever they answer, clients make every
kind of mistake with their key and their prompt in it.
"""

import json
from pathlib import Path

import httpx
import pytest

from tests.console.kit import PASSWORD, Person
from tests.console.kit import model as priced
from tests.harness import Gateway, model, until
from tests.journeys.test_wires import way

CREDENTIAL = "sk-canary-of-the-environment-5a1f"
SEALED = "sk-canary-put-in-the-console-77c0"
PROMPT = "the walrus canary sings at dawn"
UNKNOWN_KEY = "stk-live-canary-mistyped-0123456789abcdef"
WRONG_PASSWORD = "canary passphrase of yesterday"
TELLS = "message=No%20such%20key%3A%20{key}"       # what an upstream says with our credential in it, as some do
PLAYS = {"well": "", **{f"says-{status}": f"{status}?{TELLS}" for status in (400, 401, 402, 403, 404, 422, 429, 500, 503)},
         "html": "html", "bad-utf8": "bad_utf8", "truncated": "truncated", "bad-sse": "bad_sse", "cut": "close?after=2",
         "error-200": f"error_200?{TELLS}", "error-first": f"error_first?{TELLS}", "error-mid": f"error_mid?{TELLS}"}
WIRES = {
    "chat/completions": lambda slug: {"model": slug, "messages": [{"role": "user", "content": PROMPT}]},
    "responses": lambda slug: {"model": slug, "input": PROMPT},
    "messages": lambda slug: {"model": slug, "max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]},
}
TEXTS = (b"{", b'{"model": "well", "messages": "' + PROMPT.encode() + b'"}', b"[" * 5000, b"\xff\xfe" + PROMPT.encode(),
         json.dumps({"model": PROMPT, "messages": []}).encode(),
         json.dumps({"model": "well", "messages": [{"role": PROMPT, "content": 7}], "stream": PROMPT}).encode())


@pytest.fixture
def gateway(tmp_path, upstream_process):
    gateway = Gateway(tmp_path, conf='[log]\nlevel = "debug"\n')
    gateway.env["UPSTREAM_KEY"] = CREDENTIAL
    gateway.apply(*(model(slug) for slug in PLAYS), *(
        way(f"c-{slug}", "openai", upstream_process.at(f"leak-{slug}", play), [slug], ["chat", "responses"], bridges=["messages"])
        for slug, play in PLAYS.items()),
        model("gem"), model("gem-401"), way("gem", "gemini", upstream_process.at("leak-gem"), ["gem"], ["gemini"]),
        way("gem-401", "gemini", upstream_process.at("leak-gem-401", f"401?{TELLS}"), ["gem-401"], ["gemini"]))
    gateway.start()
    yield gateway
    gateway.close()


def everything_asked(gateway: Gateway, key: str) -> list[str]:
    """Heads and bodies of the answers to a client that does all it can think of."""
    answers = []
    with httpx.Client(base_url=gateway.url, timeout=30) as http:
        def ask(method: str, path: str, **more):
            got = http.request(method, path, **more)
            answers.append(f"{got.status_code} {dict(got.headers)} {got.text}")

        auth = {"Authorization": f"Bearer {key}"}
        for slug in PLAYS:
            for path, body in WIRES.items():
                for stream in (False, True):
                    ask("POST", f"/v1/{path}", json={**body(slug), "stream": stream}, headers=auth)
        for text in TEXTS:
            ask("POST", "/v1/chat/completions", content=text, headers=auth)
        for path in ("/v1/nothing", "/v1/models/nothing", "/v1/videos/generations/nothing", "/api/v1/models"):
            ask("GET", path, headers=auth)
        for wrong in (UNKNOWN_KEY, f"{key}x", f"{key} {key}"):
            ask("POST", "/v1/chat/completions", json=WIRES["chat/completions"]("well"), headers={"Authorization": f"Bearer {wrong}"})
            ask("POST", "/v1/chat/completions", json=WIRES["chat/completions"]("well"), headers={"Authorization": wrong})
        # Google's clients may put the key into the address.
        for slug in ("gem", "gem-401", "well", "nobody"):
            for verb in ("generateContent?", "streamGenerateContent?alt=sse&", "streamGenerateContent?", "fly?"):
                for shown in (key, UNKNOWN_KEY, f"{key}x", f"{key}&key={UNKNOWN_KEY}"):
                    ask("POST", f"/v1beta/models/{slug}:{verb}key={shown}", json={"contents": [{"parts": [{"text": PROMPT}]}]})
        ask("POST", f"/v1beta/models/gem:generateContent?key={key}", json={"contents": [{"parts": [{"text": PROMPT}]}]},
            headers={"Idempotency-Key": "twice"})
        ask("POST", f"/v1/chat/completions?key={key}", json=WIRES["chat/completions"]("well"))
        ask("GET", f"/v1beta/models?key={UNKNOWN_KEY}")
        ask("GET", f"/%2e%2e/{key}?{PROMPT}")
        ask("POST", "/v1/chat/completions", json=WIRES["chat/completions"]("well"),
            headers={**auth, "Idempotency-Key": "once"})
    return answers


def test_no_secret_and_no_prompt_is_anywhere_it_must_not_be(gateway, upstream_process):
    client = gateway.client("careful")
    owner = Person(gateway).first_owner()
    doc = {"provider": "openai", "base_url": upstream_process.at("sealed", f"401?{TELLS}"), "models": {"sealed": "x"}}
    pages = [owner.api("PUT", "/channels/sealed", {"channel": doc, "rev": 0, "credential": SEALED}).text,
             owner.api("PUT", "/models/sealed", {"model": priced("sealed"), "rev": 0}).text,
             owner.api("POST", "/channels/sealed/test", {}).text,
             owner.http.post("/console/sign-in", data={"name": "ada", "password": WRONG_PASSWORD, "code": ""}).text,
             Person(gateway).form("/console/sign-in", name="ada", password=WRONG_PASSWORD, code="").text]
    answers = everything_asked(gateway, client.key)
    until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls")
    until(lambda: len(gateway.records(client)) > len(PLAYS), "records")
    pages += [owner.page(f"/console/{page}") for page in ("", "usage", "channels", "channels/sealed", "audit", "system")]
    pages += [owner.page(f"/console/usage/{row.rid}") for row in gateway.records(client)]
    cookies = [cookie.value for cookie in owner.http.cookies.jar]
    owner.close()
    gateway.stop()

    assert sum(text.startswith("200") and '"usageMetadata"' in text for text in answers) == 3, "the key in the address works"
    assert answers[-4].startswith("401"), "but for Google's clients alone"
    log = gateway.log.read_text()
    assert "c-says-401" in log and any("No such key: …" in text for text in answers) and "No such key: …" in pages[2], (
        "what went wrong is told, or this proves nothing")
    secrets = [CREDENTIAL, SEALED, UNKNOWN_KEY, WRONG_PASSWORD, PASSWORD, client.key, *cookies]
    found = [f"{secret} in an answer: {text[:400]}" for text in answers for secret in secrets if secret in text]
    found += [f"{secret} in a page: {text[:200]}" for text in pages for secret in secrets if secret in text]
    found += [f"{word} in the log: {line[:400]}" for line in log.splitlines() for word in (*secrets, PROMPT) if word in line]
    for file in sorted(path for path in (gateway.folder / "var").rglob("*") if path.is_file()):
        kept = file.read_bytes()
        found += [f"{word} in {file}" for word in (*secrets, PROMPT) if word.encode() in kept]
    assert not found, "\n".join(found)
    assert "Traceback" not in "".join(answers) and "File \"" not in "".join(answers)
    assert (gateway.folder / "var" / "smartoken.db").stat().st_size > 100_000 and Path(gateway.log).stat().st_size > 1000
