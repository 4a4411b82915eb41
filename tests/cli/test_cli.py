"""The command as people run it: real processes in an empty folder."""

import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SMARTOKEN = str(Path(sys.executable).with_name("smartoken"))
HERE = Path(__file__).parents[1]


@pytest.fixture
def env():
    clean = {name: value for name, value in os.environ.items()
             if name not in ("HOST", "PORT") and not name.startswith("SMARTOKEN_")}
    return clean | {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(HERE)}


@pytest.fixture
def run(tmp_path, env):
    def go(*words, **more):
        return subprocess.run([SMARTOKEN, *words], cwd=tmp_path, env=env | more, capture_output=True, text=True,
                              timeout=60)

    return go


def test_help_names_every_command_and_version_says_which(run):
    told = run("--help")
    assert told.returncode == 0
    for word in ("serve", "plugin", "doctor", "version", "catalog", "account", "key"):
        assert re.search(rf"^\W*{word}\b", told.stdout, re.M), f"{word} is not in --help"
    assert re.fullmatch(r"smartoken \d+\.\d+\.\d+ \(Python 3\.\d+\.\d+\)\n", run("version").stdout)


def test_a_command_imports_only_its_own_file(env, tmp_path):
    code = ("import sys; from smartoken.cli import build; build(['--debug', '--conf', 'x', 'version']); "
            "print(sorted(name for name in sys.modules if name.startswith('smartoken')))")
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert told.stdout.strip() == str(["smartoken", "smartoken.cli", "smartoken.cli.version", "smartoken.errors"])


@pytest.mark.parametrize("words", [("serve",), ("serve", "--demo"), ("plugin", "list"), ("account", "list")])
def test_a_mistake_is_one_sentence_and_exit_code_2(run, tmp_path, words):
    (tmp_path / "f.toml").write_text("[server]\nprot = 1")
    told = run(*words, "--conf", "f.toml")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "smartoken: f.toml: unknown key 'server.prot'; did you mean 'port'?\n"
    traced = run("--debug", *words, "--conf", "f.toml")
    assert traced.returncode == 2 and "Traceback" in traced.stderr


@pytest.mark.parametrize(("conf", "said"), [
    ("[server]\nhost = 'nobody.invalid'", "'server.host': 'nobody.invalid' is no address of this machine"),
    ("[server]\nhost = '192.0.2.1'", "'server.host': this machine has no address 192.0.2.1"),
    ("[data]\nfolder = 'f.toml'", "f.toml: 'data.folder': f.toml cannot be used (Not a directory)"),
    ("[store]\nurl = 'sqlite:///f.toml/x.db'", "'store.url': the store cannot be reached (cannot open f.toml/x.db"),
    ("[media]\nurl = 'folder:///f.toml'", "'media.url': the folder f.toml cannot be used"),
    ("[secrets]\npepper = 'vault:x'", "f.toml: 'secrets.pepper': write where the secret is, such as env:NAME"),
    ("[sign_up]\nopen = 'yes'", "f.toml: 'sign_up.open': write true or false, not 'yes'"),
    ("[plugins.search]\nurl = 'x'", "f.toml: 'plugins.search.url': write the engine's URL"),
    ("[plugins.oss]\ninternal = 1", "f.toml: 'plugins.oss.internal': write true or false, not 1")])
def test_every_section_names_its_key_and_a_remedy(run, tmp_path, conf, said):
    (tmp_path / "f.toml").write_text(conf)
    told = run("serve", "--conf", "f.toml", PORT="0")
    assert told.returncode == 2 and said in told.stderr and "Traceback" not in told.stderr


def test_a_store_that_is_away_is_told_by_its_key(run, tmp_path):
    (tmp_path / "f.toml").write_text("[store]\nurl = 'sqlite:///f.toml/x.db'")
    told = run("account", "list", "--conf", "f.toml")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("smartoken: 'store.url': the store cannot be reached (cannot open f.toml/x.db")


def test_conf_may_stand_before_or_after_the_command(run, tmp_path):
    (tmp_path / "f.toml").write_text("x = 1")
    for words in (("--conf", "f.toml", "plugin", "list"), ("plugin", "list", "--conf", "f.toml")):
        assert "f.toml: unknown key 'x'" in run(*words).stderr


def test_an_unknown_command_is_told(run):
    told = run("srve")
    assert told.returncode == 2 and "srve" in told.stderr and "Traceback" not in told.stderr


def test_a_plugin_brings_a_command(run, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "acme.py").write_text("""
from smartoken.plugin import hookimpl

@hookimpl
def smartoken_commands(cli):
    @cli.command()
    def greet(name: str):
        print(f"hello {name}")
""")
    (tmp_path / "f.toml").write_text("[plugins]\nenabled = ['acme']\npaths = ['p']")
    for where in (("--conf", "f.toml"), ("--conf=f.toml",)):
        assert run(*where, "greet", "you").stdout == "hello you\n"
    assert re.search(r"^\W*greet\b", run("--conf", "f.toml", "--help").stdout, re.M)
    (tmp_path / "p" / "acme.py").write_text("import nothing_like_this")
    told = run("--conf", "f.toml", "--help")
    assert told.returncode == 0 and "serve" in told.stdout and "nothing_like_this" in told.stderr
    assert run("greet", "you").returncode == 2


# doctor


def findings(told) -> dict[str, str]:
    """{what: level} of the doctor's table."""
    rows = re.findall(r"^ *(ok|warning|wrong) +([a-z ]+?)  +", told.stdout, re.M)
    return {what: level for level, what in rows}


def test_the_doctor_finds_a_fresh_place_fit(run):
    told = run("doctor", "--conf", "f.toml")
    assert told.returncode == 1 and findings(told) == {"configuration": "wrong"}
    told = run("doctor", PORT="0")
    assert told.returncode == 0, told.stdout
    assert {"configuration", "plugins", "data folder", "disk", "store", "secrets", "port", "workers", "clock",
            "open files"} == set(findings(told))
    assert "wrong" not in findings(told).values()


def test_the_doctor_names_what_is_wrong(run, tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "pepper").write_text("x")
    (tmp_path / "var" / "pepper").chmod(0o644)
    (tmp_path / "f.toml").write_text("[store]\nurl = 'sqlit:///x'\n[server]\nworkers = 256")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = run("doctor", "--conf", "f.toml", PORT=str(taken.getsockname()[1]))
    found = findings(told)
    assert told.returncode == 1
    assert (found["store"], found["secrets"], found["port"], found["workers"]) == ("wrong", "wrong", "wrong", "warning")
    for remedy in ("did you mean 'sqlite'?", "chmod 600", "PORT or --port", "more workers than cores"):
        assert remedy in told.stdout


def test_the_doctor_says_when_the_data_folder_cannot_be_used(run, tmp_path):
    (tmp_path / "var").write_text("a file")
    told = run("doctor", PORT="0")
    assert told.returncode == 1 and findings(told)["data folder"] == "wrong" and "Traceback" not in told.stderr


# serve


def demo(tmp_path, env, **more) -> dict[str, str]:
    """Make the demo as `serve --demo` does, in its own process; the lines of demo.env."""
    code = "from smartoken.conf import load; from smartoken.cli._demo import prepare; prepare(load())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "var" / "demo.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_demo_is_made_once_and_kept(run, tmp_path, env):
    first = demo(tmp_path, env)
    assert set(first) == {"BASE_URL", "API_KEY", "ADMIN_URL", "MODEL"}
    assert first["BASE_URL"] == "http://127.0.0.1:8000/v1" and first["API_KEY"].startswith("stk-live-")
    assert stat.S_IMODE((tmp_path / "var" / "demo.env").stat().st_mode) == 0o600
    again = demo(tmp_path, env, PORT="9000")
    token = (tmp_path / "var" / "first-run-token").read_text().strip()
    assert again == first | {"BASE_URL": "http://127.0.0.1:9000/v1",
                             "ADMIN_URL": f"http://127.0.0.1:9000/console/welcome?token={token}"}
    account = json.loads(run("account", "show", "demo", "--json").stdout)
    assert account["available_u"] == 10_000_000, "ten dollars once, not twice"
    assert len(account["keys"]) == 1


def test_the_demo_keeps_what_the_operator_changed(run, tmp_path, env):
    first = demo(tmp_path, env)
    text = run("catalog", "export").stdout
    assert first["MODEL"] in text
    (tmp_path / "mine.toml").write_text(text.replace("280000", "290000"))
    assert run("catalog", "apply", "mine.toml", "--yes").returncode == 0
    kid = json.loads(run("account", "show", "demo", "--json").stdout)["keys"][0]
    assert run("key", "revoke", kid).returncode == 0
    again = demo(tmp_path, env)
    assert again["API_KEY"] != first["API_KEY"], "a revoked key is not handed out"
    assert "290000" in run("catalog", "export").stdout


def test_the_banner_s_curl_line_can_be_copied_whatever_the_width(env, tmp_path):
    code = """
from smartoken.cli._banner import show_demo
from smartoken.conf import Conf
show_demo(Conf(), {"BASE_URL": "http://h:1/v1", "API_KEY": "stk-live-x", "ADMIN_URL": "http://h:1/admin/",
                   "MODEL": "sandbox/echo"})
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env | {"COLUMNS": "40"}, capture_output=True,
                          text=True, check=True)
    words = shlex.split(told.stdout[told.stdout.index("curl "):].splitlines()[0])
    assert words[:3] == ["curl", "-N", "http://h:1/v1/chat/completions"] and "Authorization: Bearer stk-live-x" in words
    assert json.loads(words[-1])["model"] == "sandbox/echo"


def test_the_demo_needs_its_sandbox(run, tmp_path):
    (tmp_path / "f.toml").write_text("[plugins]\nenabled = ['*', '-sandbox']")
    told = run("serve", "--demo", "--conf", "f.toml", PORT="0")
    assert told.returncode == 2 and "the demo needs the plugin 'sandbox'" in told.stderr


def test_a_taken_port_is_told_before_anything_is_made(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = run("serve", "--demo", "--port", str(port))
    assert told.returncode == 2
    assert f"'server.port': cannot have port {port} on 127.0.0.1" in told.stderr and "--port" in told.stderr
    assert not (tmp_path / "var").exists()
