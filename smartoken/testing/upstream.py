"""A pretend upstream on a real socket: speaks the wires in wires/, misbehaves as plays.py says, keeps its own books.

In a test: `upstream = Upstream(count_file=path); await upstream.start(); upstream.at("a", "429?retry_after=2")`.
As a process: `python -m smartoken.testing.upstream --port 9001 --count-file sent.jsonl` (prints its URL when ready).

Control, below the same port: `GET /_count` (sums per model), `GET /_seen` (the last calls, bodies in base64),
`GET /_seen?raw=1` (the last body, byte for byte), `GET /_made` (long work that was accepted, see works.py), `POST /_script` {"at", "path", "model": what a call must match;
"plays": [...] one per call}, `POST /_reset` (forgets seen calls, scripts and sums; the count file stays).
"""

import argparse
import asyncio
import base64
import os
import re
import secrets
import sys
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from smartoken.testing.answers import Answer, Talk, dumps, framed, plain_talk, refusal
from smartoken.testing.calls import Call, Script
from smartoken.testing.counts import Counts
from smartoken.testing.player import Player
from smartoken.testing.plays import PLAIN, Play, is_play, parse
from smartoken.testing.spoil import spoil
from smartoken.testing.wires import wires
from smartoken.testing.works import Asked, Works

_PREFIX = re.compile(r"v\d\w*|api|paas|compatible-mode|beta|openai|services|aigc")
READY, SMALL = 64, 65_536  # answers kept by target and body, for a bench that sends the same thing all day
CONTROL = ("/_count", "/_made", "/_seen", "/_script", "/_reset")


@dataclass(eq=False)
class Upstream:
    """The server. `plays=False` makes it friendly for good: no faults, no control (the sandbox plugin uses it so)."""

    host: str = "127.0.0.1"
    port: int = 0
    count_file: str | Path | None = None
    talk: Talk = plain_talk
    manner: str = ""                   # the play that every call begins with
    plays: bool = True
    keep: int = 256                    # seen calls
    work_ms: int = 300                 # how long a picture or a film takes
    small: bool = False                # films of few pixels, for tests that make many
    connections: set = field(default_factory=set)

    def __post_init__(self):
        self.wires = wires()
        self.endings = tuple(self.wires)
        self.seen: deque[Call] = deque(maxlen=self.keep)
        self.scripts: list[Script] = []
        self.counts = Counts(self.count_file)
        self.works = Works(lambda: self.url, self.work_ms, self.small)
        self._server: asyncio.Server | None = None
        self._ready: dict[tuple[str, bytes], tuple[Play, Answer, str, str, str, str]] = {}
        self._boot, self._next = secrets.token_hex(2), 0

    async def start(self) -> None:
        """Listen; `url` is known afterwards."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Player(self), self.host, self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, drop every connection and close the count file."""
        self._server.close()
        for connection in list(self.connections):
            connection.drop()
        await self._server.wait_closed()
        await asyncio.sleep(0)
        self.counts.close()

    @property
    def url(self) -> str:
        """The root, without a trailing slash; a channel's base_url is `at(…)`."""
        return f"http://{self.host}:{self.port}"

    def at(self, name: str = "", plays: str = "") -> str:
        """A base URL: calls below it are marked with `name` and answered as `plays`."""
        return at(self.url, name, plays)

    def script(self, *plays: str, at: str = "", path: str = "", model: str = "") -> None:
        """The next calls that match are answered so, one play each."""
        for play in plays:
            parse(play)
        self.scripts.append(Script(deque(plays), at, path, model))

    def answer(self, call: Call) -> tuple[Play, Answer, str]:
        """(play, answer, wire) of a call; fills in its id, `at` and model."""
        self._next += 1
        call.id = f"{self._boot}{self._next:09x}"
        if self.plays and call.path in CONTROL:
            return PLAIN, self._control(call), ""
        self.seen.append(call)
        work = self.works.find(call)
        if work is not None:
            return self._work(call, *work)
        key = (call.target, call.body)
        ready = None if self.scripts else self._ready.get(key)
        if ready is None or any(name == b"x-fault" for name, _ in call.headers):
            return self._make(call, key)
        play, answer, ending, call.at, call.model, call.plays = ready
        return play, answer, ending

    def _make(self, call: Call, key: tuple[str, bytes]) -> tuple[Play, Answer, str]:
        path, named = stored_in(call) or model_in(call.path)
        ending = next((e for e in self.endings if path.endswith(e)), "")
        try:
            if not ending:
                return self._refuse("404", f"This upstream has no {call.path}.")
            call.plays = self._prefix(call, path.removesuffix(ending))
            wire = self.wires[ending]
            asked = wire.read(call.body)
            asked.model = asked.model or named
            asked.stream = asked.stream or ending.startswith(":stream")
            call.model = asked.model
            play, lasting = self._play(call, asked)
            answer = refusal(play) if play.status > 399 else wire.answer(asked, play, self.talk)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return self._refuse("400", str(error))
        except ValueError as error:
            return self._refuse("501", str(error))
        if lasting and len(call.body) < SMALL:
            if len(self._ready) >= READY:
                self._ready.clear()
            self._ready[key] = play, answer, ending, call.at, call.model, call.plays
        return play, answer, ending

    def _work(self, call: Call, ending: str, serve, creates: bool) -> tuple[Play, Answer, str]:
        try:
            call.plays = self._prefix(call, call.path.removesuffix(ending))
            body = Works.body_of(call)
            call.model = str(body.get("model", ""))
            own = self.works.play_of(call, body) if self.plays else ""
            play, _ = self._play(call, Asked(call.model, x_fault=own or str(body.get("x_fault", ""))))
            answer = refusal(play) if play.status > 399 else serve(call, play, body)
            if play.shape:                     # the work was accepted all the same
                answer = spoil(answer, play, lambda _: ())
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            return self._refuse("400", f"{type(error).__name__}: {error}")
        except ValueError as error:
            return self._refuse("501", str(error))
        return play, answer, ending if creates else ""

    def _prefix(self, call: Call, front: str) -> str:
        plays = [self.manner] if self.manner else []
        for segment in front.split("/"):
            segment = unquote(segment)
            if segment.startswith("@"):
                call.at = segment[1:]
            elif self.plays and is_play(segment):
                plays.append(segment)
            elif segment and not _PREFIX.fullmatch(segment):
                raise ValueError(f"no play {segment!r}")
        return "+".join(plays)

    def _play(self, call: Call, asked) -> tuple[Play, bool]:
        """The play, and whether the next equal call gets the same."""
        plays, lasting = call.plays, True
        if self.plays:
            if asked.model.startswith("fault:"):
                plays += "+" + asked.model[6:]
            if asked.x_fault:
                plays += "+" + asked.x_fault
            for name, value in call.headers:
                if name == b"x-fault":
                    plays, lasting = plays + "+" + value.decode(), False
            for script in self.scripts:
                if script.matches(call):
                    lasting = False
                    plays += "+" + script.plays.popleft()
                    if not script.plays:
                        self.scripts.remove(script)
                    break
        call.plays = plays
        play = parse(plays)
        if "{key}" in play.message:
            return replace(play, message=play.message.replace("{key}", call.credential)), False
        return play, lasting

    def _refuse(self, status: str, message: str) -> tuple[Play, Answer, str]:
        play = parse(f"{status}?message={quote(message)}")
        return play, refusal(play), ""

    def _control(self, call: Call) -> Answer:
        if call.path == "/_count":
            return _json({model: dict(sums) for model, sums in self.counts.sums.items()})
        if call.path == "/_made":
            return _json(self.works.made)
        if call.path == "/_seen":
            if "raw=1" in call.target:
                body = self.seen[-1].body if self.seen else b""
                return framed(Answer(200, "application/octet-stream", ((body, 0),), "length"))
            return _json([_shown(seen) for seen in self.seen])
        if call.path == "/_reset":
            for kept in (self.seen, self.scripts, self.counts.sums, self.works.made):
                kept.clear()
            return _json({})
        wanted = msgspec.json.decode(call.body)
        try:
            match = {name: wanted[name] for name in ("at", "path", "model") if wanted.get(name)}
            self.script(*wanted["plays"], **match)
        except (KeyError, TypeError, ValueError) as error:
            return self._refuse("501", str(error))[1]
        return _json({})


def model_in(path: str) -> tuple[str, str]:
    """(path without it, the model) where a wire names it in the path: /models/{model}:method."""
    front, found, rest = path.rpartition("/models/")
    name, colon, method = rest.rpartition(":")
    return (f"{front}:{method}", unquote(name)) if found and colon else (path, "")


def stored_in(call: Call) -> tuple[str, str] | None:
    """(path with {id} in the id's place, the id) of a call about a stored response; a DELETE says so at the end."""
    front, found, rest = call.path.partition("/responses/")
    id, slash, below = rest.partition("/")
    if not found or not id.startswith("resp_"):
        return None
    return f"{front}/responses/{{id}}{slash}{below}{':delete' if call.method == 'DELETE' else ''}", id


def at(url: str, name: str = "", plays: str = "") -> str:
    """`url` with a mark and plays in its path, ending in /v1, as a channel's base URL wants it."""
    parts = [url]
    if name:
        parts.append("@" + quote(name, safe=""))
    parts += [quote(play, safe="") for play in plays.split("+") if play]
    return "/".join([*parts, "v1"])


def _json(value) -> Answer:
    return framed(Answer(200, "application/json", ((dumps(value), 0),), "length"))


def _shown(call: Call) -> dict:
    return {"id": call.id, "at": call.at, "model": call.model, "method": call.method, "target": call.target,
            "plays": call.plays, "body_b64": base64.b64encode(call.body).decode(),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in call.headers]}


async def _serve(options: argparse.Namespace) -> None:
    upstream = Upstream(options.host, options.port, options.count_file, manner=options.manner,
                        work_ms=options.work_ms, small=options.small)
    await upstream.start()
    print(upstream.url, flush=True)
    try:
        if options.with_parent:
            await asyncio.to_thread(sys.stdin.read)  # ends when whoever holds the other end is gone, however it went
        else:
            await asyncio.Event().wait()
    finally:
        await upstream.stop()


def main() -> None:
    """The command line."""
    import uvloop

    parser = argparse.ArgumentParser(description="A pretend upstream.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--count-file", help="JSON lines of every token sent, appended before it is sent")
    parser.add_argument("--manner", default="", help="the play that every call begins with")
    parser.add_argument("--work-ms", type=int, default=300, help="how long a picture or a film takes")
    parser.add_argument("--small", action="store_true", help="films of few pixels")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    parser.add_argument("--core", type=int, help="run on this core only")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    try:
        uvloop.run(_serve(options))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
