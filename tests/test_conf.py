"""The configuration: the shipped file, strictness, and the few variables that override it."""

import re
import tomllib
from pathlib import Path

import pytest

from smartoken.conf import Conf, find, load, parse, with_workers
from smartoken.errors import ConfigError

SHIPPED = Path(__file__).parents[1] / "conf" / "smartoken.toml"
KEY = re.compile(r"#(?=[a-z_]+ = )")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """No file and no variable but the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("SMARTOKEN_CONF", "SMARTOKEN_DATA", "HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)


def test_the_shipped_file_holds_every_key_with_its_default():
    """Uncommented, it says what the code says; so a key that is missing, stale or of another default shows."""
    text = "\n".join(KEY.sub("", line) for line in SHIPPED.read_text().splitlines())
    written = tomllib.loads(text)
    coded = {section: field.annotation().model_dump(mode="json") for section, field in Conf.model_fields.items()}
    assert written == coded
    assert list(written) == list(coded), "the sections stand in the same order"


def test_the_shipped_file_changes_nothing_as_it_is():
    assert parse(SHIPPED.read_text(), "shipped").model_dump() == Conf().model_dump()


def test_every_key_of_the_shipped_file_has_a_comment_above():
    above = ""
    for line in SHIPPED.read_text().splitlines():
        if KEY.match(line):
            assert above.startswith("#"), f"nothing says what {line} is for"
        above = line


@pytest.mark.parametrize("text, says", [
    ("[sever]", "f.toml: unknown key 'sever'; did you mean 'server'?"),
    ("[server]\nprot = 1", "f.toml: unknown key 'server.prot'; did you mean 'port'?"),
    ("[server]\nzzz = 1", "f.toml: unknown key 'server.zzz'; known: admin_host, admin_port, drain_s,"),
    ("[server]\nport = '1'", "f.toml: 'server.port': write a whole number, not '1'"),
    ("[server]\nport = true", "f.toml: 'server.port': write a whole number, not True"),
    ("[server]\nport = 70000", "f.toml: 'server.port': input should be less than or equal to 65535 (it is 70000)"),
    ("[server]\nworkers = 0", "'server.workers': input should be greater than or equal to 1"),
    ("[server]\ntrusted_proxies = ['10.0.0.300']", "'10.0.0.300' is neither an IP address nor a network"),
    ("[server]\npublic_url = 'api.example.com'", "'server.public_url': write the address that clients use"),
    ("[server]\nadmin_port = 8000", "f.toml: 'server.admin_port': 8000 is the port of the API already; take another"),
    ("[server]\nadmin_port = 70000", "f.toml: 'server.admin_port': input should be less than or equal to 65535"),
    ("[server]\nadmin_port = '9'", "f.toml: 'server.admin_port': write a whole number, not '9'"),
    ("[server]\nadmin_host = ''", "f.toml: 'server.admin_host': string should have at least 1 character"),
    ("server = 3", "f.toml: 'server' is a table; write it as [server]"),
    ("[store]\nurl = 'smartoken.db'", "'store.url': write a URL with a scheme"),
    ("[plugins]\nenabeld = ['x']", "unknown key 'plugins.enabeld'; did you mean 'enabled'?"),
    ("[plugins]\nenabled = 'x'", "'plugins.enabled': input should be a list (it is 'x')"),
    ("[money]\ndurability = 'hard'", "'money.durability': input should be 'normal' or 'strict' (it is 'hard')"),
    ("[demo]\ncredit_usd = '-1'", "'demo.credit_usd': write an amount above zero"),
    ("[demo]\ncredit_usd = '1.0000001'", "at most six decimals"),
    ("x = [", "f.toml: this is not TOML"),
])
def test_a_mistake_is_named_with_its_remedy(text, says):
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert says in str(caught.value)


def test_a_secret_in_the_wrong_place_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        parse("[secrets]\npepper = 'hunter2'", "f.toml")
    assert "env:NAME or file:/path" in str(caught.value) and "hunter2" not in str(caught.value)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        parse("[server]\nport = -1\nworkers = 0", "f.toml")
    assert len(str(caught.value).splitlines()) == 2


def test_finds_the_named_file_then_the_variable_then_the_usual_place(tmp_path, monkeypatch):
    assert find() is None and load().file == "built-in defaults"
    usual = tmp_path / "conf" / "smartoken.toml"
    usual.parent.mkdir()
    usual.write_text("[server]\nport = 1111")
    assert load().server.port == 1111
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2222")
    monkeypatch.setenv("SMARTOKEN_CONF", str(other))
    assert (load().server.port, load().file) == (2222, str(other))
    assert load(str(usual)).server.port == 1111


def test_a_file_that_is_not_there_is_an_error_when_it_was_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot read the configuration \(No such file"):
        load(str(tmp_path / "gone.toml"))


def test_variables_go_before_keys(monkeypatch):
    monkeypatch.setenv("PORT", "9")
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("SMARTOKEN_DATA", "/srv/data")
    conf = load()
    assert (conf.server.port, conf.server.host, conf.base_url) == (9, "0.0.0.0", "http://127.0.0.1:9")
    assert (conf.store.url, conf.media.url) == ("sqlite:////srv/data/smartoken.db", "folder:////srv/data/media")


@pytest.mark.parametrize("value, says", [("x", "write a whole number"), ("70000", "65535"), ("-1", "whole number")])
def test_a_bad_variable_is_named(monkeypatch, value, says):
    monkeypatch.setenv("PORT", value)
    with pytest.raises(ConfigError, match=f"the variable PORT: 'server.port': .*{says}"):
        load()


def test_the_data_folder_is_filled_into_urls_that_ask_for_it():
    conf = parse("[data]\nfolder = 'elsewhere'\n[store]\nurl = 'sqlite:///kept.db'", "f.toml")
    assert (conf.store.url, conf.media.url) == ("sqlite:///kept.db", "folder:///elsewhere/media")


def test_tables_of_plugins_are_kept_for_the_plugins():
    conf = parse("[plugins]\nenabled = ['acme']\n[plugins.acme]\nregion = 'eu'", "f.toml")
    assert conf.plugins.settings == {"acme": {"region": "eu"}}


@pytest.mark.parametrize("host, url", [("127.0.0.1", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"),
                                       ("::1", "http://[::1]:8000"), ("gate.example", "http://gate.example:8000")])
def test_says_where_clients_reach_it(host, url):
    assert parse(f"[server]\nhost = '{host}'", "f").base_url == url
    assert parse(f"[server]\nhost = '{host}'\npublic_url = 'https://x.example/'", "f").base_url == "https://x.example"


def test_workers_may_be_changed_alone():
    conf = with_workers(parse("[server]\nport = 7", "f.toml"), 3)
    assert (conf.server.workers, conf.server.port, conf.file) == (3, 7, "f.toml")
