"""`smartoken reconcile` as people run it: exit code 0 on sound books, 1 when one number was changed."""

import json
import os
import sqlite3
import subprocess
import sys


def smartoken(folder, *words):
    env = {name: value for name, value in os.environ.items() if not name.startswith("SMARTOKEN_")}
    command = [sys.executable, "-c", "from smartoken.cli import main; main()", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_reconcile(tmp_path):
    made = smartoken(tmp_path, "account", "create", "Ann", "--json")
    assert made.returncode == 0, made.stderr
    acct = json.loads(made.stdout)["id"]
    assert smartoken(tmp_path, "account", "topup", acct, "10").returncode == 0
    sound = smartoken(tmp_path, "reconcile")
    assert sound.returncode == 0 and "no differences" in sound.stdout, sound.stderr
    [db] = tmp_path.glob("var/*.db")
    with sqlite3.connect(db) as books:
        books.execute("UPDATE entries SET body = replace(body, '10000000', '99000000') WHERE chain = ?", (acct,))
    wrong = smartoken(tmp_path, "reconcile", "--patience", "0", "--json")
    assert wrong.returncode == 1 and json.loads(wrong.stdout)["differences"] > 0, wrong.stderr
    assert "R1" in smartoken(tmp_path, "reconcile", "--patience", "0").stdout
