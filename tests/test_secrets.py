"""References to secrets: every way for one to be missing or empty is an error with a remedy."""

import pytest

from smartoken.errors import ConfigError
from smartoken.secrets import resolve


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


def test_binary(tmp_path):
    (tmp_path / "s").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        resolve(f"file:{tmp_path}/s")


@pytest.mark.parametrize("text", ["sk-canary", "", "env:", "file: ", "vault:canary", "ENV:X"])
def test_what_may_be_the_secret_itself_is_not_repeated(text):
    with pytest.raises(ConfigError) as told:
        resolve(text)
    assert "canary" not in str(told.value)
