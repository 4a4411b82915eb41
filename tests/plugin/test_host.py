"""The life of loaded plugins: opening, closing, and hooks that are called while running."""

import asyncio
import logging

import pytest

from smartoken.conf import parse
from smartoken.domain.usage import UsageRecord
from smartoken.errors import ConfigError
from smartoken.plugin import Provider, loader

LIFE = """
from smartoken.plugin import hookimpl

@hookimpl
%(open_is)sdef smartoken_open(gateway):
    gateway.append("open %(name)s")
    %(then)s

@hookimpl
%(close_is)sdef smartoken_close(gateway):
    gateway.append("close %(name)s")
    %(at_close)s
"""


def life(name, *, then="pass", at_close="pass", open_is="", close_is="async "):
    return LIFE % {"name": name, "then": then, "at_close": at_close, "open_is": open_is, "close_is": close_is}


@pytest.fixture
def load(tmp_path):
    def write(**files: str):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        return loader.load(parse(f"[plugins]\npaths = ['{tmp_path}']\nenabled = {list(files)}", "f.toml"))

    return write


def test_opens_in_order_and_closes_in_reverse_async_or_not(load):
    host = load(b=life("b"), a=life("a", open_is="async ", close_is=""), c=life("c"))

    async def main():
        marks = []
        await host.open(marks)
        await host.close(marks)
        await host.close(marks)
        return marks

    assert asyncio.run(main()) == ["open b", "open a", "open c", "close c", "close a", "close b"]


def test_a_failed_opening_closes_what_was_begun_and_names_the_plugin(load):
    host = load(a=life("a"), b=life("b", then="raise OSError('port taken')", open_is="async "), c=life("c"))
    marks = []
    with pytest.raises(ConfigError, match=r"plugin 'b' \(.*b\.py\): hook smartoken_open failed: OSError: port taken"):
        asyncio.run(host.open(marks))
    assert marks == ["open a", "open b", "close b", "close a"]


def test_one_failing_close_stops_no_other(load, caplog):
    host = load(a=life("a"), b=life("b", at_close="raise OSError('stuck')"))
    marks = []

    async def main():
        await host.open(marks)
        await host.close(marks)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert marks[-2:] == ["close b", "close a"]
    assert "plugin 'b': hook smartoken_close failed" in caplog.text


def test_a_cancelled_opening_still_closes(load):
    host = load(a=life("a"), b=life("b", then="import asyncio; await asyncio.sleep(600)", open_is="async "))
    marks = []

    async def main():
        task = asyncio.create_task(host.open(marks))
        await asyncio.sleep(0)  # it runs until it waits, in b
        assert marks == ["open a", "open b"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert marks == ["open a", "open b", "close b", "close a"]


def test_usage_reaches_every_plugin_though_one_fails(load, caplog):
    told = """
from smartoken.plugin import hookimpl
seen = []
@hookimpl
async def smartoken_usage(records):
    {}
    seen.extend(record.rid for record in records)
"""
    host = load(a=told.format("raise ValueError('full')"), b=told.format("pass"))
    records = [UsageRecord("r1", "acc", "key", "m", 1), UsageRecord("r2", "acc", "key", "m", 2)]
    with caplog.at_level(logging.ERROR):
        asyncio.run(host.usage(records))
    seen = {plugin.name: plugin.hooks["smartoken_usage"].__globals__["seen"] for plugin in host.plugins
            if plugin.name in "ab"}
    assert seen == {"a": [], "b": ["r1", "r2"]}
    assert "plugin 'a': hook smartoken_usage failed" in caplog.text


VAULT = "from smartoken.plugin import hookimpl\n@hookimpl\ndef smartoken_secret(ref):\n    return {}\n"


def test_the_first_vault_that_knows_a_reference_answers(load):
    host = load(b=VAULT.format("'from b' if ref[0] in 'ab' else None"),
                a=VAULT.format("'from a' if ref[0] in 'ac' else None"))
    assert [host.secret(ref) for ref in ("a:x", "b:x", "c:x")] == ["from b", "from b", "from a"]
    with pytest.raises(ConfigError, match="no enabled plugin knows a secret 'd:…'"):
        host.secret("d:x")


def test_a_failing_vault_keeps_no_other_from_answering(load, monkeypatch):
    host = load(a=VAULT.format("1 / 0"), b=VAULT.format("b'bytes' if ref[0] == 'b' else None"),
                c=VAULT.format("'' if ref[0] == 'e' else 'from c' if ref[0] in 'bc' else None"))
    assert host.secret("c:x") == host.secret("b:x") == "from c"
    with pytest.raises(ConfigError, match=r"plugin 'a' \(.*a\.py\): hook smartoken_secret failed: ZeroDivisionError"):
        host.secret("e:x")
    monkeypatch.setenv("A_KEY", "from the environment")
    assert host.secret("env:A_KEY") == "from the environment"


@pytest.mark.parametrize("answer", ["b'bytes'", "''", "True"])
def test_what_is_no_secret_is_told_instead_of_sent(load, answer):
    with pytest.raises(ConfigError, match=r"plugin 'a' .* where a text that is not empty belongs"):
        load(a=VAULT.format(answer)).secret("vault:x")


def test_offers_of_models_come_from_whoever_knows_the_provider(load):
    offers = """
from smartoken.plugin import hookimpl
@hookimpl
{}def smartoken_models(provider):
    return [{{"slug": provider.slug + "/x"}}] if provider.slug == "acme" else None
"""
    host = load(a=offers.format("async "), b=offers.format(""))
    assert asyncio.run(host.models(Provider("acme"))) == [{"slug": "acme/x"}] * 2
    assert asyncio.run(host.models(Provider("other"))) == []
