"""The pretend upstream in a process of its own, driven over its control paths: for benches, chaos and journeys."""

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from smartoken.testing.counts import Line, attempts
from smartoken.testing.upstream import at


class UpstreamProcess:
    """Starts at once; `url`, `host`, `port` are known afterwards. `core` pins it."""

    def __init__(self, count_file: str | Path | None = None, *, port: int = 0, core: int | None = None,
                 manner: str = "", work_ms: int = 300, small: bool = False):
        self.count_file = count_file
        command = [sys.executable, "-m", "smartoken.testing.upstream", "--with-parent",
                   "--port", str(port), "--manner", manner]
        if count_file is not None:
            command += ["--count-file", str(count_file)]
        command += ["--work-ms", str(work_ms), *(["--small"] if small else [])]
        if core is not None:
            command += ["--core", str(core)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the upstream did not start: exit {self.process.wait()}")
        self.host, self.port = urlsplit(self.url).hostname, urlsplit(self.url).port

    def at(self, name: str = "", plays: str = "") -> str:
        """A base URL for a channel: calls below it are marked with `name` and answered as `plays`."""
        return at(self.url, name, plays)

    def script(self, *plays: str, **match: str) -> None:
        """The next calls that match (`at`, `path`, `model`) are answered so, one play each."""
        self._control("/_script", {"plays": plays, **match})

    def seen(self) -> list[dict]:
        """The last calls: `at`, `model`, `target`, `headers`, `plays`, and `body` as bytes."""
        calls = self._control("/_seen")
        return [{**call, "body": base64.b64decode(call["body_b64"])} for call in calls]

    def sums(self) -> dict[str, dict[str, int]]:
        """{model: {attempts, finished, left, input, cache_read, output}} since the start or the last reset."""
        return self._control("/_count")

    def made(self) -> list[dict]:
        """The long work that was accepted, in order."""
        return self._control("/_made")

    def attempts(self) -> dict[str, Line]:
        """{id: last line} of the count file."""
        return attempts(self.count_file)

    def reset(self) -> None:
        """Forget seen calls, scripts and sums."""
        self._control("/_reset", {})

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _control(self, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=10) as answer:
            return json.load(answer)
