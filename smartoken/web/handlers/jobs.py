"""The doors of long work, as the wires declare them (plugin.types.JobDoor): make a job, show it, stop it, its content.

    POST path                 waits to the end, or answers at once: `Prefer: respond-async` (202), `Prefer: wait=60`
    GET path/{id}             the job; POST path/{id}/cancel and DELETE path/{id} stop it
    GET path/{id}/content     302 to the first result

A POST understands `?channel=`, `?cost=1`, `?quote=1` (what it would cost at most; nothing is made) and `?heartbeat=1`:
white space every 15 s while it waits, for clients behind proxies that cut silent connections. The status is then sent
before the end is known: 200, with an `error` object in the body where it went wrong.
"""

import asyncio
import base64
import re
from typing import Any

import msgspec
from tornado.web import stream_request_body

from smartoken.domain.job import DONE, Job
from smartoken.engine import generate, making
from smartoken.engine.admission import limit_headers
from smartoken.engine.generate import Order, refusal_of
from smartoken.engine.repeat import key_of, same_of
from smartoken.errors import MediaAway, Refusal, StoreAway, refuse
from smartoken.plugin.types import JobDoor, JobWire
from smartoken.web.answers import refusal_body
from smartoken.web.app import ApiHandler
from smartoken.web.caller import caller_of

WAIT_S = 3600            # the longest that a POST waits; then it answers 202 as well
BEAT_S = 15
POLL_AFTER_MS = "5000"   # what OpenAI's SDK is told to wait between two looks
JSON_MAX, FORM_MAX = 8 << 20, 64 << 20
_WAIT = re.compile(r"wait=(\d{1,5})")


class JobHandler(ApiHandler):
    """What both paths share: who asks, and how a job is answered with."""

    def initialize(self, gateway: Any, wire: JobWire, door: JobDoor) -> None:
        self.gateway, self.wire, self.door = gateway, wire, door
        self.caller: Any = None

    async def prepare(self) -> None:
        """Who asks is known before a body is read."""
        if not self.gateway.ready:
            raise refuse("upstream", "This node is going out of service.", code="not_ready", retry_after_s=1)
        self.caller = await caller_of(self.gateway, self.request)

    async def job(self, id: str) -> Job:
        """The caller's own job; Refusal 404 for any other."""
        try:
            job = await self.gateway.jobs.find(id, self.caller[1].id)
        except StoreAway:
            raise refuse("upstream", "The store is away; try again shortly.", code="store_away",
                         retry_after_s=2) from None
        if job is None or job.door != self.door.path:
            raise refuse("not_found", f"There is no job '{id[:64]}' here.", code="job_not_found")
        return job

    def links(self, job: Job) -> list[dict[str, Any]]:
        """What was delivered, by URL."""
        if job.state != DONE:
            return []
        return [_item({"url": self.public(kept.key)}, kept.note) for kept in job.kept]

    def public(self, key: str) -> str:
        """A stored result's address: the media store's own, or ours, as the client knows us."""
        url = self.gateway.media.url(key)
        if not url.startswith("/"):
            return url
        base = self.gateway.conf.server.public_url
        return f"{base or f'{self.request.protocol}://{self.request.host}'}{url}"

    def show(self, job: Job, status: int = 200) -> None:
        self.set_header("openai-poll-after-ms", POLL_AFTER_MS)
        self.set_header("Cache-Control", "no-store")
        self.send(self.door.show(job, self.links(job)), status)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        status, code = (cause.status, cause.code) if isinstance(cause, Refusal) else (status_code, None)
        self.gateway.access.refusal(self.rid, self.door.path, status, code, self.caller[0].kid if self.caller else "")
        self.gateway.metrics.refusal(self.door.path, status)
        super().write_error(status_code, **kwargs)


@stream_request_body
class Collection(JobHandler):
    """POST path."""

    def initialize(self, gateway: Any, wire: JobWire, door: JobDoor) -> None:
        super().initialize(gateway, wire, door)
        self._parts: list[bytes] = []
        self._waiter: asyncio.Task | None = None

    async def prepare(self) -> None:
        if self.request.method == "POST":
            form = self.request.headers.get("Content-Type", "").startswith("multipart/")
            self.request.connection.set_max_body_size(FORM_MAX if form else JSON_MAX)
            await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        self._parts.append(chunk)

    def on_connection_close(self) -> None:
        """The client left: only the waiting ends, the job goes on."""
        if self._waiter is not None:
            self._waiter.cancel()

    async def post(self) -> None:
        order = self._order()
        if self.get_query_argument("quote", "") in ("1", "true"):
            _, _, held_u = generate.offer(self.gateway, order)
            self.send({"object": "quote", "model": order.ask.slug, "cost_micro_usd": held_u})
            return
        try:
            job = await generate.begin(self.gateway.jobs, order)
        finally:
            self.tell(limit_headers(self.gateway.limiter, order.wants))
        self.set_header("X-Job-Id", job.id)
        prefer = self.request.headers.get("Prefer", "")
        if not self.door.waits:
            self.show(job)
            return
        wait = _WAIT.search(prefer)
        wait_s = int(wait[1]) if wait else 0 if "respond-async" in prefer else WAIT_S
        self._waiter = asyncio.create_task(self._wait(job, min(wait_s, WAIT_S)))
        try:
            job = await self._waiter
        except asyncio.CancelledError:
            if not self._waiter.cancelled():
                raise
            return
        except StoreAway:
            pass  # the job is there all the same: the client is told where
        if not job.ended:
            self.set_header("Location", f"{self.door.path}/{job.id}")
            self.show(job, 202)
            return
        await self._answer(job)

    def _order(self) -> Order:
        body = b"".join(self._parts)
        key, account = self.caller
        content_type = self.request.headers.get("Content-Type", "")
        ask = self.door.peek(body, content_type)
        pin = self.get_query_argument("channel", None)
        show_cost = key.show_cost or self.get_query_argument("cost", "") in ("1", "true")
        return Order(self.rid, key, account, self.wire.kind, self.wire.name, self.door.path, ask,
                     same_of(ask, body, content_type), pin, self._repeat(), show_cost)

    def _repeat(self) -> str:
        """The call's Idempotency-Key, '' without one; Refusal 400."""
        key = self.request.headers.get("Idempotency-Key")
        return "" if key is None else key_of(key.encode("latin-1", "replace"))

    async def _wait(self, job: Job, wait_s: float) -> Job:
        beats = self.get_query_argument("heartbeat", "") in ("1", "true")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while not job.ended and loop.time() < deadline:
            job = await self.gateway.jobs.ended(job, min(BEAT_S if beats else wait_s, deadline - loop.time()))
            if beats and not job.ended:
                self.write(b" ")
                await self.flush()
        return job

    async def _answer(self, job: Job) -> None:
        if job.state == DONE:
            items = await self._inline(job) if job.inline else self.links(job)
            self.finish(msgspec.json.encode(self.door.whole(job, items)))
            return
        refusal = refusal_of(job)
        if self._headers_written:
            self.finish(refusal_body(refusal))
            return
        raise refusal

    async def _inline(self, job: Job) -> list[dict[str, Any]]:
        """The pictures themselves."""
        items = []
        for kept in job.kept:
            try:
                parts = [part async for part in self.gateway.media.read(kept.key)]
            except MediaAway:
                raise refuse("upstream", f"The pictures are made and paid for; GET {self.door.path}/{job.id} leads to "
                             "them when the media store is back.", code="media_away", should_retry=False) from None
            text = await asyncio.to_thread(lambda data=b"".join(parts): base64.b64encode(data).decode())
            items.append(_item({"b64_json": text}, kept.note))
        return items


class One(JobHandler):
    """GET and DELETE path/{id}, POST path/{id}/cancel, GET path/{id}/content."""

    async def get(self, id: str, what: str = "") -> None:
        if what == "cancel":
            raise refuse("method_not_allowed", "Cancel with POST.", code="method_not_allowed")
        job = await self.job(id)
        if not what:
            self.show(job)
            return
        if job.state != DONE:
            raise refuse("not_found", "There is nothing yet." if not job.ended else refusal_of(job).message,
                         code="content_not_ready")
        self.set_header("Cache-Control", "no-store")
        self.redirect(self.public(job.kept[0].key), status=302)

    async def post(self, id: str, what: str = "") -> None:
        if what != "cancel":
            raise refuse("method_not_allowed", "POST to this job's /cancel.", code="method_not_allowed")
        await self._cancel(id)

    async def delete(self, id: str, what: str = "") -> None:
        if what:
            raise refuse("method_not_allowed", "DELETE the job itself.", code="method_not_allowed")
        await self._cancel(id)

    async def _cancel(self, id: str) -> None:
        job = await self.job(id)
        if not job.ended:
            await making.cancel(self.gateway.jobs, job)
            job = await self.gateway.jobs.ended(job, 10)
        self.show(job, 200 if job.ended else 202)


def _item(item: dict[str, Any], note: str) -> dict[str, Any]:
    return item | ({"revised_prompt": note} if note else {})


def routes(gateway) -> list:
    """Longer paths first: /v1/videos/generations is no job of /v1/videos."""
    found = []
    for path, (wire, door) in sorted(gateway.registry.job_paths.items(), key=lambda row: -len(row[0])):
        given = {"gateway": gateway, "wire": wire, "door": door}
        found += [(re.escape(path), Collection, given),
                  (re.escape(path) + r"/([A-Za-z0-9_-]{1,64})(?:/(cancel|content))?", One, given)]
    return found
