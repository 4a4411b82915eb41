"""Secrets at rest: what opens, what does not, and what is made at the first start."""

import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from smartoken.engine.seal import Sealer, fingerprint, kid_of, open_pepper, open_ring
from smartoken.errors import ConfigError

OLD, NEW = Sealer({"old": b"o" * 32}), Sealer({"new": b"n" * 32, "old": b"o" * 32})
KEY = "A" * 42 + "E"


@given(some.text(min_size=1))
def test_what_is_sealed_opens_again_in_its_place_only(clear):
    blob = NEW.seal("channels", "a", "credential", clear)
    assert clear not in blob or len(clear) < 8
    assert NEW.open("channels", "a", "credential", blob) == clear
    for place in (("channels", "b", "credential"), ("channels", "a", "other"), ("models", "a", "credential")):
        with pytest.raises(ConfigError):
            NEW.open(*place, blob)


def test_the_newest_seals_and_all_open():
    blob = OLD.seal("c", "a", "f", "secret")
    assert NEW.open("c", "a", "f", blob) == "secret"
    assert kid_of(NEW.seal("c", "a", "f", "secret")) == "new"


def test_a_key_that_the_ring_lacks_is_named():
    with pytest.raises(ConfigError, match="'new', which is not on the key ring"):
        OLD.open("c", "a", "f", NEW.seal("c", "a", "f", "secret"))


def test_every_damaged_character_is_noticed():
    blob = OLD.seal("c", "a", "f", "secret")
    for at in range(len("v1.old."), len(blob)):
        for other in "Aw.é":
            damaged = blob[:at] + other + blob[at + 1:]
            if damaged == blob:
                continue
            try:
                assert OLD.open("c", "a", "f", damaged) == "secret" and at in _last_characters(blob)
            except ConfigError:
                pass


def _last_characters(blob: str) -> set[int]:
    """Where base64 has bits to spare: another last character may mean the same bytes."""
    return {blob.rindex(".") - 1, len(blob) - 1}


def test_two_seals_of_one_secret_differ():
    assert OLD.seal("c", "a", "f", "secret") != OLD.seal("c", "a", "f", "secret")


def test_an_empty_secret_is_not_sealed():
    with pytest.raises(ValueError):
        OLD.seal("c", "a", "f", "")


def test_made_once_with_mode_0600(tmp_path):
    folder = tmp_path / "var"
    blob = open_ring(folder).seal("c", "a", "f", "secret")
    pepper = open_pepper(folder)
    assert open_ring(folder).open("c", "a", "f", blob) == "secret"
    assert open_pepper(folder) == pepper and len(pepper) == 32
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {"keyring": 0o600,
                                                                                          "pepper": 0o600}


def test_many_processes_start_at_once_and_agree(tmp_path):
    code = ("import sys, pathlib; from smartoken.engine.seal import open_ring, open_pepper, fingerprint;"
            "folder = pathlib.Path(sys.argv[1]); print(open_ring(folder).newest, fingerprint(open_pepper(folder)))")
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "var")], stdout=subprocess.PIPE, text=True)
               for _ in range(6)]
    said = {process.communicate()[0] for process in started}
    assert len(said) == 1 and said.pop().strip()
    assert sorted(file.name for file in (tmp_path / "var").iterdir()) == ["keyring", "pepper"]


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_ring_and_pepper_are_errors(tmp_path, monkeypatch, text):
    (tmp_path / "keyring").write_text(text)
    (tmp_path / "pepper").write_text(text)
    monkeypatch.setenv("SMARTOKEN_T_EMPTY", text)
    for ref in ("", "env:SMARTOKEN_T_EMPTY"):
        with pytest.raises(ConfigError, match="empty"):
            open_ring(tmp_path, ref)
        with pytest.raises(ConfigError, match="empty"):
            open_pepper(tmp_path, ref)


@pytest.mark.parametrize("line", ["kid", "kid:", ":" + KEY, "kid:short", "kid:" + "A" * 43, "k.d:" + KEY,
                                  f"kid:{KEY} kid:{KEY}", "kid:é"])
def test_unsound_rings(tmp_path, line):
    (tmp_path / "keyring").write_text(line)
    with pytest.raises(ConfigError) as told:
        open_ring(tmp_path)
    assert KEY not in str(told.value)


def test_a_ring_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SMARTOKEN_T_RING", f"b:{KEY}\na:{KEY[::-1]}")
    assert open_ring(tmp_path, "env:SMARTOKEN_T_RING").newest == "b"
    assert not list(tmp_path.iterdir())


def test_fingerprints_tell_peppers_apart():
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
