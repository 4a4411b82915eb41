"""What a serving process writes on stderr, read from real processes: by a pipe, and by a terminal."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

SAYS = """
import logging, sys
from smartoken import logs
from smartoken.conf import parse
logs.set_up(parse(sys.argv[1], "f.toml").log)
logging.getLogger("one").info("too quiet")
logging.getLogger("two").warning("a \\"line\\" of %s", "两\\nhalves")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("three").exception("it broke")
"""


def said(toml, terminal=False):
    """The lines on stderr of a process that logs as the configuration says."""
    command = [sys.executable, "-c", SAYS, toml + '\nlevel = "warning"']
    if not terminal:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr.splitlines()
    ours, theirs = pty.openpty()
    subprocess.run(command, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    text = os.read(ours, 65_536).decode()
    os.close(ours)
    return text.splitlines()


@pytest.mark.parametrize(("format", "terminal"), [("json", True), ("json", False), ("auto", False)])
def test_json_is_one_object_a_record(format, terminal):
    one, two = map(json.loads, said(f'[log]\nformat = "{format}"', terminal))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.pop("at"))
    assert one == {"level": "warning", "logger": "two", "text": 'a "line" of 两\nhalves'}
    assert two["text"] == "it broke" and two["trace"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(("format", "terminal"), [("text", True), ("text", False), ("auto", True)])
def test_text_is_for_people(format, terminal):
    lines = said(f'[log]\nformat = "{format}"', terminal)
    assert lines[0].endswith('WARNING two: a "line" of 两') and lines[-1] == "ZeroDivisionError: division by zero"
    assert any(line.startswith("Traceback") for line in lines)
