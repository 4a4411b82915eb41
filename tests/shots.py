"""`python -m tests.shots`: every page of the console in both themes (and some in Chinese and on a phone) as PNGs in
var/shots/, from a gateway of its own with some traffic. To be looked at before a change of the looks is called done."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from smartoken.testing.issuer import Issuer, limits
from smartoken.testing.process import UpstreamProcess
from tests.console.browser import browser
from tests.console.kit import Person, model
from tests.console.test_oauth import BASE, CHANNEL, PLUGIN
from tests.harness import Gateway, until

OUT = Path(__file__).parents[1] / "var" / "shots"
SAY = [{"role": "user", "content": "Say something."}]
CHANNELS = {"deepseek": ("", {"deepseek/chat": "deepseek-chat"}, 0), "openrouter": ("", {"deepseek/chat": "deepseek-chat"}, 1),
            "flaky": ("500", {"acme/large": "large"}, 0), "acme": ("", {"acme/large": "large", "acme/small": "small"}, 1)}
COSTS = {"input_per_mtok": "0.20", "output_per_mtok": "0.30"}
PAGES = ("", "usage", "models", "models/new", "models/acme%2Flarge", "models/acme%2Flarge/prices", "channels", "channels/new",
         "channels/acme", "accounts", "accounts/{acct}", "keys", "keys/new", "keys/{kid}", "usage/{rid}", "usage/nothing",
         "vouchers", "oauth", "oauth/new", "oauth/chatgpt/sign-ins/{ref}", "system", "plugins", "people", "audit", "me")
DOORS = ("sign-in",)
# The pages for buyers, before and after the sign-in.
MARKET = ("/", "/models?view=table", "/models/acme/large", "/models/sandbox/film", "/models/none", "/playground", "/sign-up")
OWN = ("/dashboard", "/keys", "/usage", "/account", "/vouchers", "/password", "/playground", "/playground?mode=images")
LOOKS = (("light", "en-US", 1280, PAGES), ("dark", "en-US", 1280, PAGES), ("light", "zh-CN", 1280, PAGES),
         ("dark", "zh-CN", 360, PAGES))


def fill(gateway: Gateway, upstream: UpstreamProcess, owner: Person) -> dict[str, str]:
    """Channels, models, accounts, keys and calls; what the pages' addresses need."""
    for name, (play, models, priority) in CHANNELS.items():
        channel = {"provider": "vllm", "base_url": upstream.at(name, play), "wire_api": ["chat"], "models": models,
                   "priority": priority, "costs": dict.fromkeys(models, COSTS)}
        owner.api("PUT", f"/channels/{name}", {"channel": channel, "rev": 0, "credential": f"sk-{name}-secret"})
    for slug, price in (("deepseek/chat", "0.28"), ("acme/large", "2.50"), ("acme/small", "0.15")):
        pricing = {"input_per_mtok": price, "output_per_mtok": f"{float(price) * 4:.2f}", "cache_read_per_mtok": "0.02"}
        owner.api("PUT", f"/models/{slug.replace('/', '%2F')}", {"rev": 0, "model": model(
            slug, title=slug.title(), owned_by=slug.partition("/")[0], pricing=pricing, context_length=128_000)})
    dearer = model("acme/large", owned_by="acme", pricing={"input_per_mtok": "3", "output_per_mtok": "12"})
    owner.api("PUT", "/models/acme%2Flarge", {"rev": 1, "model": dearer})
    owner.api("POST", "/people", {"name": "billing.bo", "role": "billing", "password": "correct horse battery"})
    known: dict[str, str] = {}
    for number, name in enumerate(("Northwind Traders", "Contoso", "蓝天科技")):
        acct = owner.api("POST", "/accounts", {"name": name}).json()["id"]
        owner.api("POST", f"/accounts/{acct}/topups", {"amount_u": "250", "op": f"inv-2026-{number}", "note": "first invoice"})
        key = owner.api("POST", "/keys", {"acct": acct, "name": "production", "rpm": 600}).json()
        for slug in ("deepseek/chat", "acme/large", "acme/small", "deepseek/chat"):
            for tokens in (40, 90):
                _, headers, _ = gateway.post("/v1/chat/completions", {"model": slug, "messages": SAY, "max_tokens": tokens},
                                             key["key"])
                if slug == "acme/large":
                    known.setdefault("rid", headers["x-request-id"])
        known |= {"acct": acct, "kid": key["kid"], "key": key["key"]}
    owner.form("/account", acct=known["acct"])
    owner.api("POST", "/vouchers", {"op": "welcome", "face_u": "5", "count": 4, "models": ["acme/small"], "note": "welcome"})
    gateway.record(known["rid"])
    return known


def sign_in(gateway: Gateway, owner: Person, issuer: Issuer, key: str) -> dict[str, str]:
    """An account in service, one that rests, one that must sign in again, and a sign-in under way."""
    owner.api("PUT", "/models/acme%2Fgpt", {"rev": 0, "model": model("acme/gpt", owned_by="acme")})
    for id, slug in (("own", "acme/other"), ("research", "acme/gpt")):
        owner.api("POST", f"{BASE}/imports", {"id": id, "terms": True, "file": issuer.auth_json()})
        channel = {**CHANNEL, "models": {slug: "gpt-x"}}
        owner.api("PUT", f"/channels/{id}", {"channel": channel, "rev": 0, "credential": f"oauth:{id}"})
    for id, used in (("own", (37.5, 62)), ("research", (100, 81))):
        issuer.told = limits(*used)
        until(lambda id=id: owner.api("POST", f"/channels/{id}/test", {"wire": "openai.responses"}).json()["ok"], "a call")
    issuer.limit_s = 8000
    until(lambda: gateway.post("/v1/chat/completions", {"model": "acme/gpt", "messages": SAY}, key)[0] == 429, "a refusal")
    issuer.lifetime_s, issuer.word = 60, "agree"
    soon = owner.api("POST", f"{BASE}/sign-ins", {"id": "old", "terms": True}).json()["ref"]
    until(lambda: owner.api("POST", f"{BASE}/sign-ins/{soon}/follow").json()["state"] == "signed in", "an account")
    issuer.dead, issuer.word = True, ""
    rows = lambda: {row["id"]: row for row in owner.api("GET", "/oauth").json()["accounts"]}
    until(lambda: rows()["own"]["limits"] and rows()["research"]["limits"] and rows()["old"]["why"], "what they tell")
    return {"ref": owner.api("POST", f"{BASE}/sign-ins", {"id": "new", "terms": True}).json()["ref"]}


def main() -> int:
    """Take them all; 1 when a page did not answer or was wider than its window."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        upstream = UpstreamProcess(Path(folder) / "sent.jsonl")
        issuer = Issuer(person=True)
        gateway = Gateway(Path(folder), conf=PLUGIN.format(issuer=issuer.url, backend=issuer.backend))
        try:
            gateway.start()
            owner = Person(gateway).first_owner()
            known = fill(gateway, upstream, owner)
            known |= sign_in(gateway, owner, issuer, known["key"])
            wrong = shoot(gateway, owner, known)
        finally:
            gateway.close()
            issuer.close()
            upstream.stop()
    print("\n".join(wrong) or f"{len(list(OUT.glob('*.png')))} pictures in {OUT}")
    return 1 if wrong else 0


def shoot(gateway: Gateway, owner: Person, known: dict[str, str]) -> list[str]:
    """Every page in every look; what was wrong."""
    wrong = []
    with browser() as chromium:
        for theme, language, width, pages in LOOKS:
            wrong += shoot_market(gateway, owner, chromium, theme, language, width)
            context = chromium.new_context(color_scheme=theme, locale=language, viewport={"width": width, "height": 860})
            page = context.new_page()
            for path in (*DOORS, *pages):
                if path == pages[0]:
                    context.add_cookies([{"name": "smartoken", "value": owner.http.cookies["smartoken"], "url": gateway.url}])
                address = "/console" + (f"/{path.format(**known)}" if path else "")
                answer = page.goto(gateway.url + address)
                page.wait_for_load_state("networkidle")
                name = path.replace("/", "_").replace("{", "").replace("}", "").replace("%2F", "-") or "overview"
                page.screenshot(path=OUT / f"{name}-{theme}-{language}-{width}.png", full_page=True)
                if answer.status >= 500 or page.evaluate("document.documentElement.scrollWidth") > width:
                    wrong.append(f"{address} in {theme}, {language}, {width}: status {answer.status}, or too wide")
            context.close()
    return wrong


def shoot_market(gateway: Gateway, owner: Person, chromium, theme: str, language: str, width: int) -> list[str]:
    """The pages for buyers in one look; what was wrong."""
    wrong = []
    context = chromium.new_context(color_scheme=theme, locale=language, viewport={"width": width, "height": 860})
    page = context.new_page()
    for at, address in enumerate((*MARKET, *OWN)):
        if at == len(MARKET):
            context.add_cookies([{"name": "smartoken", "value": owner.http.cookies["smartoken"], "url": gateway.url}])
        answer = page.goto(gateway.url + address)
        page.wait_for_load_state("networkidle")
        name = re.sub(r"[^a-z]+", "-", address).strip("-") or "landing"
        page.screenshot(path=OUT / f"{'own' if at >= len(MARKET) else 'market'}-{name}-{theme}-{language}-{width}.png", full_page=True)
        if answer.status >= 500 or page.evaluate("document.documentElement.scrollWidth") > width:
            wrong.append(f"{address} in {theme}, {language}, {width}: status {answer.status}, or too wide")
    context.close()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
