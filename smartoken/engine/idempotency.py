"""`Idempotency-Key`: one key and body of an account is one call, over all processes, for 24 hours.

A call is claimed by inserting its document; whoever comes second gets the stored answer, or the running call, or a 409.
While it runs here, its Recording passes the answer to everybody who asked and keeps it; elsewhere, the document is
looked at until it tells the answer. A call that came to nothing (refused, failed: never charged) gives its claim back,
so the same key may try again. A call whose process died is never made again if it cost anything: 409 with its id.

A claim that nobody makes a call for (its client left while it was written, or nobody knows whether it was) is undone:
in its place comes a document as if older than a day. It also keeps out a write that arrives after its time was over.

| document | what the same key and body gets                                   |
|----------|-------------------------------------------------------------------|
| running  | the running call (here: byte for byte as it comes; elsewhere: when it is done) |
| done     | the stored answer; 409 answer_not_kept when it was larger than ANSWER_MAX      |
| its process died | a new call if the old one cost nothing, else 409 call_died with its id  |
| none, or older than a day | a new call                                       |
"""

import asyncio
import base64
import hashlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from smartoken.engine.client import Client
from smartoken.engine.refunds import find_record
from smartoken.errors import Refusal, StoreAway, refuse
from smartoken.plugin.types import Ask
from smartoken.ports import Clock, Store

KEY_MAX = 255
ANSWER_MAX = 1 << 20           # bytes of an answer that are kept
WAITING_MAX = 64 << 20         # bytes of answers that may wait for a store which is away; then they are not kept
KEPT_MS = 24 * 3600 * 1000
HOUR_MS = 3600 * 1000
SWEPT_HOURS = 72               # how long a gateway may be off and still clear away its old documents
ALIVE_MS = 5 * 60 * 1000       # a process whose heart was silent for so long is dead
PATIENCE_S = 600               # how long a call that runs elsewhere is waited for
POLL_S, POLL_MOST_S = 0.1, 1.0
UNDONE_MAX = 1000              # claims that wait for the store to be undone; past it no more are made
UNDO_S, UNDO_MOST_S = 0.1, 10  # between two tries
RECOVERY_MS = 3600 * 1000      # by then a dead process's journal was replayed, or never will be
RUNNING, DONE = "running", "done"
COLLECTION = "idempotency"

log = logging.getLogger("smartoken.idempotency")


class Recording:
    """The answer of one call, on its way to all who asked for it. A Client for the relay.

    It goes on when they have left: a client that lost its connection comes again and finds it.
    """

    def __init__(self, calls: "KeyedCalls", doc: dict[str, Any]):
        self._calls, self.doc = calls, doc
        self.call: Any = None                          # engine.relay.Call once it is under way
        self._clients: list[Client] = []
        self._head: tuple[int, bytes, bytes] | None = None
        self._parts: list[bytes] = []
        self.size = 0
        self.stream = self.over = False

    def attach(self, client: Client) -> None:
        """Give a client what there is, and all that comes."""
        again = bool(self._clients) or self._head is not None
        if self._head is not None:
            status, content_type, extra = self._head
            if self.size > ANSWER_MAX:
                raise not_kept(self.doc["rid"])
            if self.over:
                replay(client, self._kept())
                return
            client.start(status, content_type, replayed(extra) if again else extra)
            client.write(b"".join(self._parts))
        self._clients.append(client)

    def gone(self, client: Client) -> None:
        """It left; the call goes on."""
        if client in self._clients:
            self._clients.remove(client)
            self.resume()

    def pause(self) -> None:
        """The only client reads slowly."""
        if len(self._clients) == 1 and self.call is not None:
            self.call.pause()

    def resume(self) -> None:
        if self.call is not None:
            self.call.resume()

    def release(self, turn_away: Callable[[Client], None]) -> None:
        """The call came to nothing before it began: its claim is given back; who else waits for it is turned away."""
        if self.over:
            return
        self.over = True
        clients, self._clients = self._clients, []
        for client in clients:
            turn_away(client)
        self._calls.ended(self, None)

    # -- as a Client

    def answer(self, status: int, content_type: bytes, body: bytes, extra: bytes = b"") -> None:
        self.over = True
        self._head, self._parts, self.size = (status, content_type, extra), [body], len(body)
        clients, self._clients = self._clients, []
        for number, client in enumerate(clients):
            client.answer(status, content_type, body, replayed(extra) if number else extra)
        self._calls.ended(self, self._kept() if status == 200 else None)

    def start(self, status: int, content_type: bytes, extra: bytes = b"") -> None:
        self.stream, self._head = True, (status, content_type, extra)
        for number, client in enumerate(self._clients):
            client.start(status, content_type, replayed(extra) if number else extra)

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= ANSWER_MAX:
            self._parts.append(data)
        else:
            self._parts.clear()
        for client in self._clients:
            client.write(data)

    def finish(self) -> None:
        self.over = True
        clients, self._clients = self._clients, []
        for client in clients:
            client.finish()
        self._calls.ended(self, self._kept())

    def abort(self) -> None:
        """It broke off where nothing more can be said: nobody may take what there is for the whole, so none of it is
        kept, and the same key may try again."""
        self.over = True
        clients, self._clients = self._clients, []
        for client in clients:
            client.abort()
        self._calls.ended(self, None)

    def _kept(self) -> dict[str, Any]:
        status, content_type, extra = self._head
        return {"status": status, "type": content_type.decode(), "extra": extra.decode("latin-1"),
                "stream": self.stream, **written(b"".join(self._parts) if self.size <= ANSWER_MAX else None)}


class KeyedCalls:
    """Of one process, whose leases are called `name`."""

    def __init__(self, store: Store, clock: Clock, name: str):
        self._store, self._clock, self._name = store, clock, name
        self._here: dict[str, Recording] = {}
        self._tasks: set[asyncio.Task] = set()
        self._undoing: set[asyncio.Task] = set()
        self._waiting = self._swept_hour = 0

    async def claim(self, acct: str, key: str, digest: str, rid: str) -> Recording | dict[str, Any]:
        """A new Recording (its rid is ours: make the call), one that runs here (attach to it), or a stored answer
        (`replay` it). Refusal 409; 503 when the store is away, for then nobody can tell."""
        now_ms = self._clock.now_ms()
        # Revisions begin with the time, so that those of one claim do not come again in the next one of this key.
        doc = {"_id": f"{acct}:{hashlib.sha256(key.encode()).hexdigest()[:40]}", "rev": now_ms, "acct": acct,
               "digest": digest, "rid": rid, "owner": self._name, "at_ms": now_ms, "hour": now_ms // HOUR_MS,
               "state": RUNNING}
        try:
            if len(self._undoing) >= UNDONE_MAX:
                raise StoreAway(f"{UNDONE_MAX} claims wait for it")
            return await self._claim(doc)
        except StoreAway:
            raise refuse("upstream", "The store is away, so this Idempotency-Key cannot be honoured yet; try again "
                         "shortly.", code="store_away", retry_after_s=2) from None

    async def _claim(self, doc: dict[str, Any]) -> Recording | dict[str, Any]:
        pause_s, waited_s = POLL_S, 0.0
        while True:
            here = self._here.get(doc["_id"])
            there = here.doc if here is not None else await self._write(self._insert(doc), doc)
            if there["rid"] == doc["rid"]:
                recording = self._here[doc["_id"]] = Recording(self, there)
                return recording
            if there["at_ms"] + KEPT_MS <= self._clock.now_ms() and here is None:
                if recording := await self._take_over(doc, there):
                    return recording
                continue
            if there["digest"] != doc["digest"]:
                raise refuse("idempotency", "This Idempotency-Key was used with another request; use a new key for a "
                             "new request.", code="idempotency_key_reused")
            if here is not None:
                return here
            if there["state"] == DONE:
                if there["answer"]["body"] is None:
                    raise not_kept(there["rid"])
                return there["answer"]
            if there["owner"] != self._name and not await self._alive(there["owner"]):
                await self._check_dead(there)
                if recording := await self._take_over(doc, there):
                    return recording
                continue
            if waited_s >= PATIENCE_S:
                raise refuse("idempotency", f"The call {there['rid']} with this Idempotency-Key is still running.",
                             code="idempotent_call_running", retry_after_s=5)
            await asyncio.sleep(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(pause_s * 1.5, POLL_MOST_S)

    async def _insert(self, doc: dict[str, Any]) -> dict[str, Any]:
        """What is under the id afterwards. A lost reply is looked up."""
        try:
            if await self._store.insert(COLLECTION, doc):
                return doc
        except StoreAway:
            there = await self._store.get(COLLECTION, doc["_id"])
            if there is None:
                raise
            return there
        return await self._store.get(COLLECTION, doc["_id"]) or await self._insert(doc)

    async def _take_over(self, doc: dict[str, Any], there: dict[str, Any]) -> Recording | None:
        """Put our claim in place of one that stands for nothing any more; None when somebody was quicker."""
        mine = {**doc, "rev": there["rev"] + 1}
        if not await self._write(self._replace(mine, there["rev"]), mine, there):
            return None
        recording = self._here[doc["_id"]] = Recording(self, mine)
        return recording

    async def _replace(self, doc: dict[str, Any], rev: int) -> bool:
        """Whether it is in the store afterwards. A lost reply is looked up."""
        try:
            return await self._store.replace(COLLECTION, doc, rev)
        except StoreAway:
            found = await self._store.get(COLLECTION, doc["_id"])
            return found is not None and found["rid"] == doc["rid"]

    async def _write(self, work: Coroutine[Any, Any, Any], doc: dict[str, Any], old: dict[str, Any] | None = None) -> Any:
        """Write a claim in place of `old`, to the end though its client leaves; then it is undone, and also when nobody
        knows whether it was written. StoreAway."""
        write = self._start(work, self._tasks)
        try:
            return await asyncio.shield(write)
        except (asyncio.CancelledError, StoreAway):
            self._start(self._undo(write, doc, old), self._undoing)
            raise

    async def _undo(self, write: asyncio.Task, doc: dict[str, Any], old: dict[str, Any] | None) -> None:
        """See the module."""
        await asyncio.gather(write, return_exceptions=True)
        nothing, pause_s = {**doc, "at_ms": 0}, UNDO_S
        while True:
            try:
                there = await self._store.get(COLLECTION, doc["_id"])
                if there is None:
                    if old is not None or await self._store.insert(COLLECTION, nothing):
                        return
                elif not ((there["rid"] == doc["rid"] and there["at_ms"]) or there == old):
                    return
                elif await self._store.replace(COLLECTION, {**nothing, "rev": there["rev"] + 1}, there["rev"]):
                    return
            except StoreAway as away:
                log.info("the claim of %s waits for the store to be undone: %s", doc["rid"], away)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, UNDO_MOST_S)

    def _start(self, work: Coroutine[Any, Any, Any], among: set[asyncio.Task]) -> asyncio.Task:
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task

    async def _alive(self, owner: str) -> bool:
        node = await self._store.get("nodes", owner.rpartition("-")[0])
        return node is not None and node["name"] == owner and node["at_ms"] + ALIVE_MS > self._clock.now_ms()

    async def _check_dead(self, there: dict[str, Any]) -> None:
        """Refusal 409 unless the call of a dead process may be made anew, because it cost nothing."""
        record = await find_record(self._store, there["acct"], there["rid"])
        if record is None and there["at_ms"] + RECOVERY_MS > self._clock.now_ms():
            raise refuse("idempotency", f"The process that made the call {there['rid']} died; what it cost is not "
                         "known yet.", code="call_died", retry_after_s=30)
        if record is not None and record.cost_p:
            raise refuse("idempotency", f"The call {there['rid']} with this Idempotency-Key was cut short when its "
                         "process died; its usage record tells what it cost. Use a new key for a new call.",
                         code="call_died", should_retry=False)

    # -- the end of a call

    def ended(self, recording: Recording, answer: dict[str, Any] | None) -> None:
        """Keep its answer; with None, give its claim back, and nobody may join it any more."""
        if answer is None:
            self._here.pop(recording.doc["_id"], None)
        elif answer["body"] is not None:
            if self._waiting + recording.size > WAITING_MAX:
                answer = {**answer, "body": None}
            else:
                self._waiting += recording.size
        self._start(self._settle(recording, answer), self._tasks)

    async def _settle(self, recording: Recording, answer: dict[str, Any] | None) -> None:
        doc, pause_s = recording.doc, 0.5
        try:
            while True:
                try:
                    if answer is None:
                        await self._store.remove(COLLECTION, doc["_id"], doc["rev"])
                    else:
                        done = {**doc, "rev": doc["rev"] + 1, "state": DONE, "answer": answer}
                        await self._store.replace(COLLECTION, done, doc["rev"])
                    return
                except StoreAway as away:
                    log.warning("the answer of %s waits for the store: %s", doc["rid"], away)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, 30)
        finally:
            if answer is not None:
                self._here.pop(doc["_id"], None)
                if answer["body"] is not None:
                    self._waiting -= recording.size

    async def close(self) -> None:
        """Wait a little for answers that are being kept; the rest is found to have died with us."""
        if tasks := self._tasks | self._undoing:
            await asyncio.wait(tasks, timeout=2)
        while tasks := self._tasks | self._undoing:     # the end of a claim's write begins its undoing
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """Once an hour: remove what is older than a day."""
        hour = self._clock.now_ms() // HOUR_MS
        if hour == self._swept_hour:
            return
        for old in range(hour - 25 - SWEPT_HOURS, hour - 24):
            while docs := await self._store.find(COLLECTION, {"hour": old}, limit=100):
                for doc in docs:
                    await self._store.remove(COLLECTION, doc["_id"], doc["rev"])
        self._swept_hour = hour


def key_of(value: bytes) -> str:
    """An `Idempotency-Key` header's text; Refusal 400 for one that is empty, too long or not plain."""
    text = value.strip().decode("latin-1")
    if not 1 <= len(text) <= KEY_MAX or not text.isascii() or not text.isprintable():
        raise refuse("invalid_request", f"An Idempotency-Key has 1 to {KEY_MAX} plain characters.",
                     code="invalid_idempotency_key")
    return text


def same_of(ask: Ask, body: bytes, content_type: str) -> bytes:
    """What tells one body from another: its bytes; of a form what was read of it, since clients make a new boundary for
    each try."""
    if not content_type.lower().startswith("multipart/"):
        return body
    files = [(part.name, part.filename, part.content_type, hashlib.sha256(part.data).hexdigest()) for part in ask.files]
    return msgspec.json.encode([ask.slug, list(ask.fields.items()), files])


def digest_of(path: bytes, query: bytes, body: bytes) -> str:
    """What tells one request from another; `body` as by same_of."""
    return hashlib.sha256(b"%b?%b\n%b" % (path, query, body)).hexdigest()


def written(body: bytes | None) -> dict[str, Any]:
    """A body as it stands in a document: text, or base64 where it is none (audio); None when it is not kept."""
    if body is None:
        return {"body": None}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "base64": True}


def read(answer: dict[str, Any]) -> bytes:
    """The body that `written` wrote down."""
    return base64.b64decode(answer["body"]) if answer.get("base64") else answer["body"].encode()


def replay(client: Client, answer: dict[str, Any]) -> None:
    """Give a stored answer once more, under the id of the call that made it."""
    content_type, extra = answer["type"].encode(), replayed(answer["extra"].encode("latin-1"))
    body = read(answer)
    if not answer["stream"]:
        client.answer(answer["status"], content_type, body, extra)
        return
    client.start(answer["status"], content_type, extra)
    client.write(body)
    client.finish()


def replayed(extra: bytes) -> bytes:
    """The header lines of an answer for whoever gets it after the first; limits are as they were then, so not told."""
    lines = [line for line in extra.split(b"\r\n") if line and not line.lower().startswith(b"x-ratelimit")]
    return b"".join(line + b"\r\n" for line in (*lines, b"Idempotency-Replayed: true"))


def not_kept(rid: str) -> Refusal:
    """409: the call is done, but its answer was too large to keep."""
    return refuse("idempotency", f"The call {rid} with this Idempotency-Key is done, but its answer was too large to "
                  "keep. Use a new key for a new call.", code="answer_not_kept", should_retry=False)
