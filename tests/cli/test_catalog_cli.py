"""The commands as an operator runs them: processes of their own, one store, one sentence when something is wrong."""

import json
import os
import subprocess
import sys

import pytest

CATALOG = """
[[models]]
slug = "acme/chat"
pricing = { input_per_mtok = "0.28", output_per_mtok = 420000 }

[[channels]]
name = "acme"
provider = "openai"
credential = "env:ACME_KEY"
models = { "acme/chat" = "chat-1" }
"""


@pytest.fixture
def run(tmp_path):
    """run(*words, code=0, stdin="") -> stdout (stderr when a code is expected), in an empty folder."""
    env = {"PATH": os.environ["PATH"], "COLUMNS": "200"}
    (tmp_path / "c.toml").write_text(CATALOG)

    def run(*words, code=0, stdin=""):
        done = subprocess.run([sys.executable, "-c", "from smartoken.cli import main; main()", *words], cwd=tmp_path,
                              env=env, input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if code > 1 else done.stdout

    run.folder = tmp_path
    return run


def test_apply_diff_export_round(run):
    assert "acme/chat" in run("catalog", "diff", "c.toml", code=1)
    assert "Applied: 2" in run("catalog", "apply", "c.toml", "--yes")
    assert "No difference" in run("catalog", "apply", "c.toml", "--yes")
    exported = run("catalog", "export", "--out", "e.toml") or (run.folder / "e.toml").read_text()
    assert "[[models]]" in exported and 'credential = "env:ACME_KEY"' in exported
    assert "No difference" in run("catalog", "diff", "e.toml")
    assert "No difference" in run("catalog", "diff", "e.toml", "--prune")


OFFERS = """
from smartoken.plugin import Provider, hookimpl

@hookimpl
def smartoken_providers():
    return [Provider("acme", base_url="https://a.example/v1", speaks={"openai.chat": "/c"})]

@hookimpl
async def smartoken_models(provider):
    if provider.slug == "acme":
        return [{"slug": "acme/one", "context_length": 8000, "pricing": {"input_per_mtok": "1", "output_per_mtok": %s}}]
"""


def test_sync_writes_what_a_provider_offers_and_changes_nothing(run):
    (run.folder / "p").mkdir()
    (run.folder / "p" / "acme.py").write_text(OFFERS % '"2.5"')
    (run.folder / "f.toml").write_text("[plugins]\nenabled = ['*', 'acme']\npaths = ['p']")
    conf = ("--conf", "f.toml")
    assert "output_per_mtok = 2500000" in run("catalog", "sync", "acme", *conf)
    run("catalog", "sync", "acme", "--out", "offered.toml", *conf)
    assert run("catalog", "export", *conf) == ""
    assert "Applied: 1" in run("catalog", "apply", "offered.toml", "--yes", *conf)
    assert "did you mean 'acme'?" in run("catalog", "sync", "acmee", *conf, code=2)
    assert "no plugin tells what 'openai' offers" in run("catalog", "sync", "openai", *conf, code=2)
    (run.folder / "p" / "acme.py").write_text(OFFERS % "0.5")
    assert "models.acme/one.pricing" in run("catalog", "sync", "acme", *conf, code=2)


def test_prune_removes_what_the_file_does_not_name_and_only_then(run):
    run("catalog", "apply", "c.toml", "--yes")
    (run.folder / "less.toml").write_text("channels = []\n" + CATALOG.split("[[channels]]")[0])
    assert "No difference" in run("catalog", "apply", "less.toml", "--yes")
    assert json.loads(run("catalog", "diff", "less.toml", "--prune", "--json", code=1))[0]["action"] == "remove"
    run("catalog", "apply", "less.toml", "--yes", "--prune")
    assert "[[channels]]" not in run("catalog", "export")


SHOP = """
[[categories]]
slug = "chat"
title = "Chat"

[[listings]]
slug = "acme"
category = "chat"
model = "acme/chat"
title = "Acme"
"""


def test_prune_leaves_alone_the_tables_that_the_file_does_not_have(run):
    (run.folder / "all.toml").write_text(CATALOG + SHOP)
    run("catalog", "apply", "all.toml", "--yes")
    assert "No difference" in run("catalog", "apply", "c.toml", "--yes", "--prune")
    assert "No difference" in run("catalog", "diff", "c.toml", "--prune")
    (run.folder / "none.toml").write_text("listings = []")
    removed = json.loads(run("catalog", "apply", "none.toml", "--yes", "--prune", "--json"))
    assert [(one["action"], one["collection"], one["id"]) for one in removed] == [("remove", "listings", "acme")]
    left = run("catalog", "export")
    assert "[[categories]]" in left and "[[channels]]" in left and "[[listings]]" not in left
    told = " ".join(run("catalog", "apply", "--help").split())
    assert all(name in told for name in ("models", "channels", "categories", "listings"))


def test_nothing_is_written_without_a_yes(run):
    assert "--yes" in run("catalog", "apply", "c.toml", code=2)
    assert run("catalog", "export") == ""


def test_steep_prices_want_a_confirmation(run):
    run("catalog", "apply", "c.toml", "--yes")
    (run.folder / "steep.toml").write_text(CATALOG.replace('"0.28"', '"28"').replace("420000", "1"))
    told = run("catalog", "apply", "steep.toml", "--yes", code=2)
    assert "input_per_mtok 0.28 USD -> 28.00 USD" in told and "output_per_mtok" in told and "--confirm-prices" in told
    assert "input_per_mtok = 280000" in run("catalog", "export")
    run("catalog", "apply", "steep.toml", "--yes", "--confirm-prices")
    assert "input_per_mtok = 28000000" in run("catalog", "export")


@pytest.mark.parametrize(("text", "said"), [
    (CATALOG.replace('"0.28"', "0.28"), "models.acme/chat.pricing.input_per_mtok"),
    (CATALOG.replace("credential", "credentail"), "did you mean 'credential'"),
    (CATALOG.replace("[[channels]]", "[[chanels]]"), "did you mean 'channels'"),
    (CATALOG.replace("env:ACME_KEY", "sk-canary-123"), "env:NAME"),
    (CATALOG.replace('"env:ACME_KEY"', "123456789"), "env:NAME"),
    (CATALOG + CATALOG, "twice"),
    ("models = 5", "[[models]]"),
    ("[[models]", "not TOML"),
    ('[[models]]\nslug = "x"', "'models.x.pricing' is missing"),
    ('[[models]]\npricing = {}', "models.2.slug"),
])
def test_a_wrong_file_is_named_with_its_key_and_nothing_is_written(run, text, said):
    (run.folder / "bad.toml").write_text('[[models]]\nslug = "good/one"\npricing = { input_per_mtok = 0, '
                                         'output_per_mtok = 0 }\n' * (not text.startswith("models")) + text)
    told = run("catalog", "apply", "bad.toml", "--yes", code=2)
    assert "bad.toml" in told and said in told and "canary" not in told and "123456789" not in told
    assert not (run.folder / "var").exists()


def test_a_file_that_is_not_there(run):
    assert "nothing.toml: cannot be read" in run("catalog", "apply", "nothing.toml", code=2)
    assert "cannot be read" in run("catalog", "apply", ".", code=2)


def test_a_credential_goes_in_sealed_and_stays_through_an_apply_without_one(run):
    without = CATALOG.replace('credential = "env:ACME_KEY"\n', "")
    (run.folder / "w.toml").write_text(without)
    run("catalog", "apply", "w.toml", "--yes")
    run("catalog", "credential", "acme", stdin="sk-canary-456\n")
    assert "empty" in run("catalog", "credential", "acme", stdin=" \n", code=2)
    assert "no channel" in run("catalog", "credential", "nobody", stdin="x", code=2)
    assert "No difference" in run("catalog", "apply", "w.toml", "--yes")
    exported = run("catalog", "export")
    assert 'credential = "v1.' in exported
    (run.folder / "e.toml").write_text(exported)
    assert "No difference" in run("catalog", "diff", "e.toml")
    assert "v1." not in run("catalog", "apply", "c.toml", "--yes")
    for file in (run.folder / "var").iterdir():
        assert b"canary" not in file.read_bytes()


def test_accounts_keys_and_money(run):
    run("catalog", "apply", "c.toml", "--yes")
    acct = json.loads(run("account", "create", "Ann [bold]", "--overdraft", "0.50", "--json"))
    assert acct["overdraft_u"] == 500_000 and acct["active"]
    assert "Ann [bold]" in run("account", "list")
    for again in (False, True):
        put = json.loads(run("account", "topup", acct["id"], "12.50", "--op", "invoice-7", "--json"))
        assert (put["balance_u"], put["op"], put["again"]) == (12_500_000, "invoice-7", again)
    assert "were booked before, nothing moved (invoice-7)" in run("account", "topup", acct["id"], "12.50", "--op",
                                                                  "invoice-7")
    assert "before" in run("account", "topup", acct["id"], "13", "--op", "invoice-7", code=2)
    assert "1.00 USD booked (cli-" in run("account", "topup", acct["id"], "1")
    assert json.loads(run("account", "show", acct["id"], "--json"))["balance_u"] == 13_500_000
    made = json.loads(run("key", "create", acct["id"], "--model", "acme/chat", "--days", "3", "--json"))
    assert made["models"] == ["acme/chat"] and made["exp_ms"] and made["key"].startswith("stk-live-" + made["kid"])
    listed = run("key", "list", "--json")
    assert made["kid"] in listed and made["key"] not in listed and "digest" not in listed
    run("key", "revoke", made["kid"])
    assert "revoked" in run("account", "show", acct["id"])
    run("account", "suspend", acct["id"])
    assert "suspended" in run("account", "show", acct["id"])
    run("account", "resume", acct["id"])
    assert json.loads(run("account", "list", "--json"))[0]["active"]
    for file in (run.folder / "var").iterdir():
        assert made["key"].encode() not in file.read_bytes()


def test_what_cannot_be_done_is_one_sentence(run):
    run("account", "create", "Ann", "--id", "ann")
    for words in (
            "account topup nobody 10", "account topup ann 0", "account topup ann ten", "account topup ann -- -5",
            "account show nobody", "account suspend nobody", "account create Ann --id ann", "account create B --id ~b",
            "account create B --overdraft 1.00000001", "key create nobody", "key revoke nokey",
            "key create ann --model ~"):
        told = run(*words.split(), code=2)
        assert told.startswith("smartoken: ") and len(told.splitlines()) == 1, words


def test_a_key_is_not_made_under_another_pepper(run):
    run("account", "create", "Ann", "--id", "ann")
    run("key", "create", "ann")
    (run.folder / "var/pepper").unlink()
    assert "another pepper" in run("key", "create", "ann", code=2)


def test_the_seed_catalog_is_sound(run):
    seed = os.path.join(os.path.dirname(__file__), "..", "..", "conf", "catalog.toml")
    run("catalog", "apply", seed, "--yes")
    examples = [line[2:] for line in open(seed, encoding="utf-8").read().splitlines() if line.startswith("# ")]
    begin = examples.index("[[models]]")
    end = next(at for at, line in enumerate(examples) if line.startswith("All that a model"))
    (run.folder / "example.toml").write_text("\n".join(examples[begin:end]))
    assert "Applied: 2" in run("catalog", "apply", "example.toml", "--yes")
    assert 'credential = "env:DEEPSEEK_API_KEY"' in run("catalog", "export")


def test_a_model_or_state_that_is_not_there_is_told_with_the_nearest(run):
    run("catalog", "apply", "c.toml", "--yes")
    acct = json.loads(run("account", "create", "A", "--json"))["id"]
    assert "--model: there is no model 'acme/chatt'; did you mean 'acme/chat'?" in run(
        "key", "create", acct, "--model", "acme/chatt", code=2)
    assert "did you mean 'acme/chat'?" in run("voucher", "create", "5", "--model", "acme/chatt", "--csv", "v.csv", code=2)
    assert not (run.folder / "v.csv").exists() and json.loads(run("key", "list", "--json")) == []
    assert "--state: there is no state 'unknwn'; did you mean 'unknown'?" in run("job", "list", "--state", "unknwn", code=2)
    assert json.loads(run("job", "list", "--state", "unknown", "--json")) == []
    assert "There is no job 'x'" in run("job", "show", "x", code=2)


def test_a_file_of_codes_is_written_whole_or_not_at_all(run):
    codes = run.folder / "v.csv"
    for _ in range(2):
        assert "count" in run("voucher", "create", "5", "--count", "99999999", "--csv", "v.csv", code=2)
        assert not codes.exists()
    made = json.loads(run("voucher", "create", "5", "--count", "2", "--csv", "v.csv", "--json"))
    assert [line.split(",")[0] for line in codes.read_text().splitlines()] == ["code", *(row["code"] for row in made)]
    assert "is not there yet" in run("voucher", "create", "5", "--csv", "v.csv", code=2)
    assert len(codes.read_text().splitlines()) == 3
