"""References to secrets: every way for one to be missing or empty is an error with a remedy."""

from pathlib import Path

import pytest

from smartoken.errors import ConfigError
from smartoken.secrets import is_ours, resolve


def test_a_variable_and_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SMARTOKEN_T_SECRET", " sk-1\n")
    (tmp_path / "s").write_text("sk-2\n")
    assert resolve("env:SMARTOKEN_T_SECRET") == "sk-1"
    assert resolve(f"file:{tmp_path}/s") == "sk-2"


@pytest.mark.parametrize("content", ["", "   ", "\n\t"])
def test_an_empty_secret_is_an_error(tmp_path, monkeypatch, content):
    monkeypatch.setenv("SMARTOKEN_T_SECRET", content)
    (tmp_path / "s").write_text(content)
    with pytest.raises(ConfigError, match="empty"):
        resolve("env:SMARTOKEN_T_SECRET")
    with pytest.raises(ConfigError, match="empty"):
        resolve(f"file:{tmp_path}/s")


def test_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("SMARTOKEN_T_SECRET", raising=False)
    with pytest.raises(ConfigError, match="not set"):
        resolve("env:SMARTOKEN_T_SECRET")
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve(f"file:{tmp_path}/nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve(f"file:{tmp_path}")


@pytest.mark.parametrize("ref", ["file:a\0b", "file:~nobody-of-that-name/x", "file:\ud800", "env:A\ud800"])
def test_what_cannot_be_a_name_is_an_error_like_any(ref):
    """Anything else would be raised where a whole catalog is read, and leave none of it in force."""
    with pytest.raises(ConfigError):
        resolve(ref)
    assert not is_ours(ref, Path("var"), ())


def test_what_is_the_gateways_own(tmp_path, monkeypatch):
    data, other = tmp_path / "var", tmp_path / "variant"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    own = ("env:RING", f"file:{tmp_path}/pepper", "")
    for ref in (f"file:{data}/keyring", "file:var/keyring", f"file:{tmp_path}/link/keyring", "file: var/x/../keyring ",
                "env:RING", "env: RING ", "file:pepper"):
        assert is_ours(ref, data, own), ref
    for ref in (f"file:{other}/x", "file:var/../x", "env:RINGS", "", "RING", "oauth:RING", "sk-var/keyring"):
        assert not is_ours(ref, data, own), ref


def test_binary(tmp_path):
    (tmp_path / "s").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        resolve(f"file:{tmp_path}/s")


@pytest.mark.parametrize("text", ["sk-canary", "", "env:", "file: ", "vault:canary", "ENV:X"])
def test_what_may_be_the_secret_itself_is_not_repeated(text):
    with pytest.raises(ConfigError) as told:
        resolve(text)
    assert "canary" not in str(told.value)
