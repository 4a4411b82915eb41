"""`smartoken plugin new` and `check`, as a plugin author runs them: real files and processes."""

import json
import os
import subprocess
import sys

import pytest

from smartoken.plugin.check import check

BIN = os.path.dirname(sys.executable)


@pytest.fixture
def run(tmp_path):
    """run(words…) -> the finished `smartoken` (or another program of this environment), in an empty folder."""
    env = {name: value for name, value in os.environ.items() if name not in ("SMARTOKEN_CONF", "SMARTOKEN_DATA")}

    def go(*words, program="smartoken"):
        return subprocess.run([os.path.join(BIN, program), *words], cwd=tmp_path, env=env, capture_output=True,
                              text=True, timeout=60)

    return go


def test_the_written_plugin_is_accepted_and_its_own_test_passes(run, tmp_path):
    assert run("plugin", "new", "acme_ai").returncode == 0
    proved = run("plugin", "check", "my_plugins/acme_ai.py")
    assert proved.returncode == 0 and "gives provider acme_ai" in proved.stdout
    tested = run("my_plugins", program="pytest")
    assert tested.returncode == 0 and "1 passed" in tested.stdout
    assert len((tmp_path / "my_plugins" / "acme_ai.py").read_text().splitlines()) < 30


def test_the_written_plugin_loads_and_takes_its_settings(run, tmp_path):
    run("plugin", "new", "acme")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "smartoken.toml").write_text(
        "[plugins]\nenabled = ['*', 'acme']\npaths = ['my_plugins']\n[plugins.acme]\nbase_url = 'https://x.example/v9'\n")
    rows = {row["name"]: row for row in json.loads(run("plugin", "list", "--json").stdout)}
    assert rows["acme"]["enabled"] and rows["acme"]["gives"] == ["provider acme"]
    assert rows["openai"]["enabled"] and rows["built-in"]["gives"]
    assert run("plugin", "check", "acme").returncode == 0


@pytest.mark.parametrize("words, says", [
    (["new", "Acme"], "small letters"),
    (["new", "test_acme"], "never be loaded"),
    (["new", "deepseek"], "a plugin is named 'deepseek' already (entry point smartoken_plugins.deepseek); choose "
                          "another name, such as my_deepseek"),
    (["check", "opena"], "did you mean 'openai'?"),
    (["check", "gone.py"], "there is no such file"),
])
def test_a_mistake_is_one_sentence_and_exit_code_2(run, words, says):
    done = run("plugin", *words)
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


PROVIDER = """
from smartoken.plugin import Provider, bearer, hookimpl

@hookimpl
def smartoken_providers():
    return [Provider("{slug}", base_url="https://a.example/v1", auth=bearer, speaks={{"{wire}": "/c"}})]
"""


@pytest.mark.parametrize(("slug", "wire", "said"), [
    ("openai", "openai.chat", "gives provider 'openai', which plugin 'openai' gave already"),
    ("acme", "openai.caht", "provider 'acme': it names the wire 'openai.caht', which no plugin brings; did you mean "
                            "'openai.chat'?")])
def test_what_only_fails_beside_others_is_found(run, tmp_path, slug, wire, said):
    (tmp_path / "mine.py").write_text(PROVIDER.format(slug=slug, wire=wire))
    done = run("plugin", "check", "mine.py")
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "f.toml").write_text("[plugins]\nenabled = ['*', '-openai']\n")
    assert run("plugin", "check", "mine.py", "--conf", "f.toml").returncode == (0 if slug == "openai" else 1)


def test_a_file_of_a_taken_name_is_found_wherever_it_lies(run, tmp_path):
    """With its folder in 'plugins.paths' the gateway would not start."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("openai", "acme"):
            (tmp_path / folder / f"{name}.py").write_text(PROVIDER.format(slug="acme", wire="openai.chat"))
    done = run("plugin", "check", "a/openai.py")
    assert done.returncode == 1 and "a plugin is named 'openai' already (entry point smartoken_plugins.openai); " \
                                    "rename the file" in done.stderr
    (tmp_path / "b" / "openai.py").unlink()
    (tmp_path / "f.toml").write_text("[plugins]\npaths = ['b']\n")
    assert "already (b/acme.py)" in run("plugin", "check", "a/acme.py", "--conf", "f.toml").stderr
    assert run("plugin", "check", f"{tmp_path}/b/acme.py", "--conf", "f.toml").returncode == 0


def test_new_never_overwrites(run, tmp_path):
    run("plugin", "new", "acme")
    (tmp_path / "my_plugins" / "acme.py").write_text("mine")
    assert run("plugin", "new", "acme").returncode == 2
    assert (tmp_path / "my_plugins" / "acme.py").read_text() == "mine"


HEAD = "from smartoken.plugin import *\n@hookimpl\ndef smartoken_providers():\n    return [Provider('acme', "


@pytest.mark.parametrize("text, says", [
    (HEAD + "speaks={'openai.chta': '/x'})]", "names the wire 'openai.chta', which no plugin brings; did you mean "
                                              "'openai.chat'?"),
    (HEAD + "speaks={'openai.chat': '/x'}, auth=lambda credential: credential)]", "auth('a-credential') must give"),
    (HEAD + "speaks={'openai.chat': '/x'}, auth=lambda credential: (('x', 1),))]", "names and values as text"),
    (HEAD + "speaks={'openai.chat': 'x'})]", "must start with '/'"),
    ("import nothing_of_this_name", "importing it failed"),
])
def test_says_what_is_wrong(run, tmp_path, text, says):
    (tmp_path / "acme.py").write_text(text)
    done = run("plugin", "check", "acme.py")
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["openai", "deepseek", "moonshot", "zhipu", "dashscope", "openrouter", "vllm",
                                  "wire_openai"])
def test_first_party_plugins_pass_the_same_check(name):
    assert check(name).problems == ()


def test_a_broken_plugin_shows_in_the_list_instead_of_hiding_it(run, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "acme.py").write_text("1 / 0")
    (tmp_path / "f.toml").write_text("[plugins]\nenabled = ['*', 'acme']\npaths = ['p']\n")
    done = run("plugin", "list", "--conf", "f.toml")
    assert done.returncode == 1 and "openai" in done.stdout
    assert "plugin 'acme' (p/acme.py): importing it failed: ZeroDivisionError" in done.stderr
