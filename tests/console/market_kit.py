"""A market to walk through: something of every type, some of it served by the sandbox that comes with Smartoken."""

import json
import re

from tests.console.kit import PASSWORD, Person
from tests.harness import Gateway

SIGN_UP = '[sign_up]\nopen = true\ncredit_usd = "2"\n'
TEXTS = {"title": "", "description": "", "owned_by": "acme", "context_length": 0}

# Where a text is only ever a text: markup, template syntax, addresses that are programs, Markdown that hides them.
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'><svg/onload=alert(1)>", "javascript:alert(1)",
        "{{ 7 * 191 }}{% raw 1 %}", "[press](javascript:alert(1))", "![look](https://evil.invalid/x.png)",
        "</textarea></title><script>alert(1)</script>", "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
        "[a](<javascript:alert(1)>) `<img src=x onerror=alert(1)>` **<b onclick=alert(1)>**", "&lt;script&gt;\u202e\u2028")


def table(slug: str, type: str, pricing: str, **fields: object) -> str:
    """A [[models]] table."""
    more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in (TEXTS | fields).items() if value or value is False)
    return f'[[models]]\nslug = "{slug}"\ntype = "{type}"\npricing = {pricing}\n{more}'


CHAT = '{ input_per_mtok = "0.28", output_per_mtok = "0.42", cache_read_per_mtok = "0.028" }'
DEAR = '{ input_per_mtok = "15", output_per_mtok = "75" }'
CATALOG = (
    table("sandbox/echo", "llm", CHAT, title="Echo", description="Says it back.", owned_by="sandbox", context_length=128_000,
          max_output=8192, rpm=600),
    table("acme/opus", "llm", DEAR, title="Opus", context_length=200_000),
    table("acme/hidden", "llm", CHAT, title="Hidden", public=False),
    table("sandbox/picture", "text2image", '{ per_image = "0.02", per_image_by_size = { "1536x1024" = "0.03" } }',
          title="Picture", owned_by="sandbox", available_sizes=["1024x1024", "1536x1024"]),
    table("sandbox/film", "text2video", '{ video_price_per_second_by_resolution = { "720P" = "0.05", "1080P" = "0.1" } }',
          title="Film", owned_by="sandbox", available_ratios=["16:9"], available_durations=[3, 10]),
    table("sandbox/voice", "speech", '{ per_mchar = "15", per_voice = "1.5" }', title="Voice", owned_by="sandbox"),
    table("acme/vector", "embedding", '{ input_per_mtok = "0.02" }', title="Vector"),
    table("acme/evil", "llm", CHAT, title=EVIL[0] + EVIL[1], description=" ".join(EVIL), owned_by=EVIL[2]),
    '[[channels]]\nname = "sandbox"\nprovider = "sandbox"\nwire_api = ["chat", "images", "videos", "speech"]\n'
    'models = ["sandbox/echo", "sandbox/picture", "sandbox/film", "sandbox/voice"]\n')


class Buyer(Person):
    """Somebody who signs up and in on the site."""

    def sign_up(self, name: str) -> "Buyer":
        done = self.form("/sign-up", name=name, password=PASSWORD, again=PASSWORD)
        assert done.status_code == 303 and done.headers["location"].startswith("/dashboard"), done.text
        return self._in()

    def new_key(self, name: str = "app", **fields: str) -> str:
        """The text of a new key, as the page shows it."""
        return re.search(r"stk-live-[0-9A-Za-z]{46}", self.form("/keys", name=name, **fields).text)[0]

    def play_key(self) -> str:
        """A key of the playground."""
        made = self.http.post("/playground/key", headers={"Origin": self.gateway.url, "X-CSRF-Token": self.csrf})
        assert made.status_code == 200, made.text
        return made.json()["key"]


def open_market(folder) -> Gateway:
    """A gateway with CATALOG, an owner `ada` in `owner`, and the sign-up open."""
    gateway = Gateway(folder, conf=SIGN_UP)
    gateway.apply(*CATALOG)
    gateway.start()
    gateway.owner = Person(gateway).first_owner()
    return gateway
