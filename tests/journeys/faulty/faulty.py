"""A plugin for tests: a SQLite store that fails as a file beside it says, in processes that serve.

The file is JSON, {"replace jobs": "away", …}: the method and the collection (of an append, the entry's kind; "*" is any
call), and how it fails. `away`: it never arrives. `lost`: it happens, its reply is lost. `slow`: it happens when the
rule is gone, though the caller be gone by then. `late`: its time is over, and a second later it happens all the same. `lossy`: by chance. The file beside it with the ending
.met has a line for each call that failed.
"""

import asyncio
import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from smartoken.adapters.sqlite import open_sqlite
from smartoken.plugin import StoreAway, hookimpl
from smartoken.testing.lossy import LossyStore

serving = False
under_way = set()


class Faulty:
    def __init__(self, url):
        self._store = open_sqlite(url.replace("faulty", "sqlite", 1))
        self._lossy = LossyStore(self._store, os.getpid())
        self._rules = Path(unquote(urlsplit(url).path)[1:]).with_suffix(".faults")

    def __getattr__(self, name):
        method = getattr(self._store, name)
        if name in ("open", "close"):
            return method

        async def call(*args, **named):
            subject = args[0].kind if name == "append" else args[0] if args and isinstance(args[0], str) else ""
            rule = self._rule(name, subject)
            if rule == "away":
                raise StoreAway("away")
            if rule == "lossy":
                return await getattr(self._lossy, name)(*args, **named)
            if rule in ("late", "slow"):
                task = asyncio.create_task(self._afterwards(rule, name, subject, args, named))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                if rule == "late":
                    raise StoreAway("no reply in time")
                return await asyncio.shield(task)
            answer = await method(*args, **named)
            if rule == "lost":
                raise StoreAway("reply lost")
            return answer

        return call

    async def _afterwards(self, rule, name, subject, args, named):
        await asyncio.sleep(1 if rule == "late" else 0)
        while rule == "slow" and self._rule(name, subject, quiet=True) == "slow":
            await asyncio.sleep(0.02)
        return await getattr(self._store, name)(*args, **named)

    def _rule(self, name, subject, quiet=False):
        if not serving or not self._rules.exists():
            return ""
        rules = json.loads(self._rules.read_text())
        rule = rules.get(f"{name} {subject}", rules.get("*", ""))
        if rule and not quiet:
            with self._rules.with_suffix(".met").open("a") as met:
                met.write(f"{os.getpid()} {name} {subject}\n")
        return rule


@hookimpl
def smartoken_adapters():
    return {"store": {"faulty": Faulty}}


@hookimpl
async def smartoken_open(gateway):
    global serving
    serving = True
