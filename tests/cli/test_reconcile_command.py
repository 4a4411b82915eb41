"""`smartoken reconcile` as people run it: exit code 0 on sound books, 1 when one number was changed."""

import csv
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
    assert sound.returncode == 0 and "differences: none" in sound.stdout, sound.stderr
    [db] = tmp_path.glob("var/*.db")
    with sqlite3.connect(db) as books:
        books.execute("UPDATE entries SET body = replace(body, '10000000', '99000000') WHERE chain = ?", (acct,))
    wrong = smartoken(tmp_path, "reconcile", "--patience", "0", "--json")
    assert wrong.returncode == 1 and json.loads(wrong.stdout)["differences"] > 0, wrong.stderr
    assert "R1" in smartoken(tmp_path, "reconcile", "--patience", "0").stdout
    file = tmp_path / "page.csv"
    found = smartoken(tmp_path, "reconcile", "--patience", "0", "--csv", str(file))
    assert found.returncode == 1
    table = list(csv.DictReader(file.open(newline="")))
    findings = json.loads(wrong.stdout)["findings"]
    assert [(row["rule"], row["where"], row["wrong"], row["text"]) for row in table[:-1]] == [
        (one["rule"], one["where"], str(int(one["wrong"])), one["text"]) for one in findings]
    seal = json.loads(wrong.stdout)["seal"]
    assert (table[-1]["rule"], table[-1]["text"]) == ("seal", seal) and f"Seal {seal}" in found.stdout
    again = smartoken(tmp_path, "reconcile", "--csv", str(file))
    assert again.returncode == 2 and "not there yet" in again.stderr and len(list(csv.reader(file.open()))) > 2


def test_a_provider_statement(tmp_path):
    file, page = tmp_path / "june.csv", tmp_path / "page.csv"
    assert smartoken(tmp_path, "account", "create", "Ann").returncode == 0
    [db] = tmp_path.glob("var/*.db")

    def run(*words):
        done = smartoken(tmp_path, "reconcile", "--provider", str(file), "--csv", str(page), *words)
        return done.returncode, done.stdout + done.stderr

    def refused(text, *words):
        file.write_bytes(text)
        code, said = run(*words)
        assert code == 2 and not page.exists(), said
        return " ".join(said.split())

    good = b"\xef\xbb\xbfchannel,model,input,output\r\nc,m,1000,10\r\n"
    assert "name the days" in refused(good) and "name the days" in refused(good, "--day", "2026-11-01", "--since", "x")
    assert "--day: 'june' is no day" in refused(good, "--day", "june")
    assert "line 2, column input: '1k'" in refused(good.replace(b"1000", b"1k"), "--day", "2026-11-01")
    assert "no text in UTF-8" in refused(b"\xff\xfe", "--day", "2026-11-01")
    assert "there is no channel 'c'" in refused(good, "--day", "2026-11-01")
    with sqlite3.connect(db) as books:
        row = {"rid": "r1", "acct": "", "key": "", "model": "m", "channel": "c", "at_ms": 1793534400000,
               "usage": {"input": 1000, "output": 10}}
        books.execute("INSERT INTO usage (rid, acct, key, model, channel, status, at_ms, cost_p, body)"
                      " VALUES ('r1', '', '', 'm', 'c', 'ok', 1793534400000, 0, ?)", (json.dumps(row),))
    code, said = run("--since", "2026-11-01", "--until", "2026-11-02")
    assert code == 0 and "R4" in page.read_text(), said
    page.unlink()
    file.write_bytes(good.replace(b"1000", b"1100"))
    code, said = run("--day", "2026-11-01")
    assert code == 1 and "R4" in said and "R4,c m,1," in page.read_text()
    page.unlink()
    assert "there is no channel 'c'" in refused(good, "--day", "2026-11-02"), "nor any record of that day"
    assert smartoken(tmp_path, "reconcile", "--day", "2026-11-02").returncode == 2
    file.unlink()
    assert "cannot be read" in run("--day", "2026-11-02")[1]
