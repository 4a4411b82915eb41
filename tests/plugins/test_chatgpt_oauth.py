"""An operator's own ChatGPT account behind a real gateway: signing in, one refresh, limits, and no lost chain."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anthropic
import openai
import pytest
from smartoken_plugins.chatgpt_oauth import limits
from smartoken_plugins.chatgpt_oauth.issuer import CHATGPT, Dead, Tokens
from smartoken_plugins.chatgpt_oauth.vault import Vault

from smartoken.adapters.sqlite import open_sqlite
from smartoken.conf import Conf
from smartoken.engine.seal import open_ring
from smartoken.plugin.loader import available, choose
from smartoken.testing.issuer import ACCOUNT, Issuer
from tests.harness import Gateway, model, until

PLUGIN = '[plugins]\nenabled = ["*", "chatgpt_oauth"]\n[plugins.chatgpt_oauth]\nissuer = "{issuer}"\nbase_url = "{backend}"\n'
CHANNEL = ('[[channels]]\nname = "own"\nprovider = "chatgpt"\ncredential = "oauth:own"\nwire_api = ["responses"]\n'
           'bridges = ["chat", "messages"]\nmodels = ["m"]\n')


@pytest.fixture
def issuer():
    issuer = Issuer(delay_s=0.3)
    yield issuer
    issuer.close()


@pytest.fixture
def gateway(tmp_path, issuer):
    """Two workers; the account is imported, nothing is served yet."""
    gateway = Gateway(tmp_path, workers=2, conf=PLUGIN.format(issuer=issuer.url, backend=issuer.backend))
    (tmp_path / "auth.json").write_text(issuer.auth_json())
    said = gateway.run("oauth", "import", "own", str(tmp_path / "auth.json"), "--yes")
    assert "terms" in said and issuer.refresh not in said
    gateway.apply(model("m"), CHANNEL)
    yield gateway
    gateway.close()


def test_every_client_is_served_and_the_backend_gets_what_it_wants(gateway, issuer):
    gateway.start()
    client = gateway.client("c")
    with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=0) as sdk:
        whole = sdk.responses.create(model="m", input="Say something.", max_output_tokens=50, temperature=1)
        assert whole.output_text.startswith(" aaa") and whole.status == "completed"
        streamed = list(sdk.responses.create(model="m", input=[{"role": "system", "content": "Be brief."},
                                                               {"role": "user", "content": "x"}], stream=True))
        assert streamed[-1].type == "response.completed"
        chat = sdk.chat.completions.create(model="m", messages=[{"role": "system", "content": "s"},
                                                                {"role": "user", "content": "x"}], max_tokens=9)
        assert chat.choices[0].message.content == whole.output_text
    with anthropic.Anthropic(api_key=client.key, base_url=gateway.url, max_retries=0) as sdk:
        said = sdk.messages.create(model="m", max_tokens=99, messages=[{"role": "user", "content": "x"}])
        assert said.content[0].text == whole.output_text
    assert issuer.headers[0]["chatgpt-account-id"] == ACCOUNT and issuer.headers[0]["originator"] == "smartoken"
    gateway.check_books()
    shown = gateway.run("oauth", "list")
    assert "own" in shown and "plus" in shown
    for secret in (issuer.access, issuer.refresh, issuer.id_token):
        assert secret not in shown and secret.encode() not in gateway.log.read_bytes()
        for file in (gateway.folder / "var").rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


def test_a_hundred_requests_on_an_expired_token_refresh_it_once(gateway, issuer):
    gateway.start()
    client = gateway.client("c")
    issuer.expire()

    def ask(number: int) -> str:
        with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=0, timeout=60) as sdk:
            return sdk.responses.create(model="m", input=f"Number {number}.").output_text

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(100)))
    assert len(answers) == 100 and all(answers)
    assert issuer.refreshes == 1 and not issuer.dead and issuer.unauthorized > 1
    gateway.check_books()


def test_limits_are_told_and_kept(gateway, issuer):
    gateway.start()
    client = gateway.client("c")
    issuer.limit_s = 5000
    with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=2) as sdk:
        for _ in range(8):
            with pytest.raises(openai.RateLimitError) as caught:
                sdk.responses.create(model="m", input="x")
            headers = caught.value.response.headers
            assert headers["x-should-retry"] == "false" and 4900 < int(headers["retry-after"]) <= 5001
    assert len(issuer.headers) <= 2         # one try of each worker, then silence until the reset


def test_a_dead_chain_takes_the_channel_out_until_somebody_signs_in(gateway, issuer):
    gateway.start()
    client = gateway.client("c")
    issuer.dead = True
    issuer.expire()
    with openai.OpenAI(api_key=client.key, base_url=f"{gateway.url}/v1", max_retries=0) as sdk:
        with pytest.raises(openai.InternalServerError):
            sdk.responses.create(model="m", input="x")
        until(lambda: "refresh_token_reused" in gateway.run("oauth", "list"), "the account's end")
        issuer.dead, issuer.spent = False, set()
        said = gateway.run("oauth", "login", "own", "--yes")
        assert "ABCD-1234" in said

        def served() -> bool:
            try:
                return bool(sdk.responses.create(model="m", input="x").output_text)
            except openai.APIStatusError:
                return False
        until(served, "service after signing in again")
    assert "revoked" in gateway.run("oauth", "remove", "own") and issuer.revoked


def test_it_is_off_unless_named():
    found = available()
    assert "chatgpt_oauth" not in [one.name for one in choose(Conf(), found)]
    named = Conf(plugins={"enabled": ("*", "chatgpt_oauth")})
    assert "chatgpt_oauth" in [one.name for one in choose(named, found)]


REFRESH = """
import asyncio, dataclasses, sys
from pathlib import Path
from smartoken.adapters.sqlite import open_sqlite
from smartoken.engine.seal import open_ring
from smartoken_plugins.chatgpt_oauth.issuer import CHATGPT
from smartoken_plugins.chatgpt_oauth.vault import Vault
folder, url = Path(sys.argv[1]), sys.argv[2]
async def main():
    store = open_sqlite(f"sqlite:///{folder}/s.db")
    await store.open()
    vault = Vault(store, open_ring(folder), folder / "oauth", "node")
    await vault.renewed("own", int(sys.argv[3]), dataclasses.replace(CHATGPT, url=url))
asyncio.run(main())
"""


def test_killed_between_refresh_and_store_no_chain_is_lost(tmp_path, issuer):
    """The worst moment: the issuer has spent the old token, the store takes no writes, and the process is killed."""
    issuer.delay_s = 0

    async def with_vault(work):
        store = open_sqlite(f"sqlite:///{tmp_path}/s.db")
        await store.open()
        try:
            return await work(store, Vault(store, open_ring(tmp_path), tmp_path / "oauth", "node"))
        finally:
            await store.close()

    async def prepared(store, vault):
        await vault.put("own", _at(issuer.url), Tokens(issuer.access, issuer.refresh, issuer.id_token, ACCOUNT))
        begun = (await store.get("oauth_tokens", "own"))["generation"]
        await store.insert("oauth_tokens", {"_id": f"own:{begun}", "rev": 1, "kind": "claim", "node": "node",
                                            "pid": _dead_pid(), "at_ms": 0})  # whose owner died before it asked
        return begun

    async def taken_over(store, vault):
        doc = await vault.renewed("own", begun, _at(issuer.url))
        return doc["generation"], vault.tokens(doc).refresh_token

    begun = asyncio.run(with_vault(prepared))
    issuer.open.clear()
    other = subprocess.Popen([sys.executable, "-c", REFRESH, str(tmp_path), issuer.url, str(begun)])
    assert issuer.asked.wait(30)
    lock = sqlite3.connect(tmp_path / "s.db", isolation_level=None, timeout=10)
    lock.execute("BEGIN IMMEDIATE")
    issuer.open.set()
    until((tmp_path / "oauth" / f"own.{begun}").exists, "the file with the new tokens")
    other.send_signal(signal.SIGKILL)
    other.wait()
    lock.execute("ROLLBACK")
    lock.close()
    assert issuer.refresh.encode() not in (tmp_path / "oauth" / f"own.{begun}").read_bytes()
    assert asyncio.run(with_vault(taken_over)) == (begun + 1, issuer.refresh)
    assert issuer.refreshes == 1 and not issuer.dead and not (tmp_path / "oauth" / f"own.{begun}").exists()


def _at(url: str):
    return replace(CHATGPT, url=url)


def _dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_spent_refresh_token_is_dead_for_good(tmp_path, issuer):
    async def main() -> None:
        store = open_sqlite(f"sqlite:///{tmp_path}/s.db")
        await store.open()
        try:
            vault = Vault(store, open_ring(tmp_path), tmp_path / "oauth", "node")
            made = await vault.put("own", _at(issuer.url), Tokens(issuer.access, "spent", issuer.id_token, ACCOUNT))
            for _ in range(2):
                with pytest.raises(Dead):
                    await vault.renewed("own", made["generation"], _at(issuer.url))
        finally:
            await store.close()
    asyncio.run(main())
    assert issuer.refreshes == 0


NOW_MS = 1_800_000_000_123
PRIMARY = [(b"x-codex-primary-used-percent", b"12.5"), (b"x-codex-primary-window-minutes", b"300"),
           (b"x-codex-primary-reset-at", b"1800003600")]


@pytest.mark.parametrize("headers, wanted", [
    ([], {}),
    ([(b"content-type", b"text/event-stream"), (b"x-codex-plan-type", b"plus")], {}),
    (PRIMARY, [("", 300, 125, 1_800_003_600_000)]),
    ([*PRIMARY[:2], (b"x-codex-primary-reset-at", b""), (b"x-codex-primary-reset-after-seconds", b"90")],
     [("", 300, 125, 1_800_000_060_000)]),
    ([*PRIMARY, (b"x-codex-secondary-used-percent", b"0")], [("", 300, 125, 1_800_003_600_000), ("", 0, 0, 0)]),
    ([*PRIMARY, (b"x-codex-mini-2-primary-used-percent", b"7"), (b"x-codex-mini-2-limit-name", b"Mini 2")],
     [("", 300, 125, 1_800_003_600_000), ("Mini 2", 0, 70, 0)]),
    ([(b"x-codex-primary-used-percent", b"lots"), (b"x-codex-secondary-used-percent", b"nan")], {}),
    ([(b"x-codex-primary-used-percent", b"-1"), (b"x-codex-primary-over-secondary-limit-percent", b"5")], {}),
    ([(b"x-codex-%d-primary-used-percent" % n, b"1") for n in range(50)], 8),
])
def test_limits_are_read_from_headers_and_nonsense_is_not_told(headers, wanted):
    read = limits.read(headers, NOW_MS)
    windows = [(one.name, one.minutes, one.used_permille, one.reset_ms) for one in limits.windows_of(read)]
    assert read == {} if wanted == {} else len(windows) == wanted if isinstance(wanted, int) else windows == wanted


@pytest.mark.parametrize("has, unlimited, balance, said", [(b"True", b"False", b"12.5", "12.5"),
                                                           (b"True", b"True", b"", "unlimited"),
                                                           (b"False", b"False", b"3", "")])
def test_credits_are_told_in_the_words_of_the_backend(has, unlimited, balance, said):
    told = [(b"x-codex-credits-has-credits", has), (b"x-codex-credits-unlimited", unlimited),
            (b"x-codex-credits-balance", balance)]
    assert limits.read([*PRIMARY, *told], NOW_MS)["credits"] == said


def test_an_account_that_comes_back_takes_nothing_of_its_former_life(tmp_path, issuer):
    """Its last claim stood in the way of the first refresh of its second life, for ever."""
    issuer.delay_s = 0

    async def main() -> None:
        store = open_sqlite(f"sqlite:///{tmp_path}/s.db")
        await store.open()
        try:
            vault = Vault(store, open_ring(tmp_path), tmp_path / "oauth", "node")
            for _ in range(2):
                made = await vault.put("own", _at(issuer.url), Tokens(issuer.access, issuer.refresh))
                await vault.tell("own", 1, limits.read(PRIMARY, NOW_MS))
                renewed = await asyncio.wait_for(vault.renewed("own", made["generation"], _at(issuer.url)), 20)
                await vault.remove("own")
                assert renewed["generation"] == made["generation"] + 1
                assert await store.find("oauth_tokens") == []
        finally:
            await store.close()
    asyncio.run(main())
    assert issuer.refreshes == 2
