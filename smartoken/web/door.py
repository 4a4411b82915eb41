"""The hot door: client requests of the wires, from head to relay. Everything slow is a task, and only then.

The front (web/front.py) calls `head` before a body is read, `run` when it is there, `gone`, `pause` and `resume`
while a call is under way. A refusal is rendered by the wire that serves the path, so that each SDK raises its own exception.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

from smartoken.domain.trace import new_rid
from smartoken.engine.auth import credentials_of
from smartoken.engine.relay import JSON, Call, refusal_headers
from smartoken.errors import Refusal, refuse

log = logging.getLogger("smartoken.door")


class Visit:
    """What the door knows of one request: `caller` is (key, account), None while cold; `work` is its call, or the task
    that brings it there; `extra` are the header lines of its answer."""

    __slots__ = ("caller", "extra", "rid", "work")

    def __init__(self) -> None:
        self.rid = new_rid()
        self.extra = b"X-Request-Id: %b\r\n" % self.rid.encode()
        self.caller = self.work = None


class Door:
    """One wire's handler on its paths; `body_max` in bytes. A web.request.Handler."""

    def __init__(self, gateway: Any, wire: Any, body_max: int):
        self._gateway, self._wire, self._body_max = gateway, wire, body_max
        self._tasks: set[asyncio.Task] = set()

    def head(self, request: Any) -> None:
        """Method and key, before the body."""
        visit = request.state = Visit()
        request.limit = self._body_max
        try:
            if request.method != b"POST":
                raise refuse("method_not_allowed", "This path takes POST only.", code="method_not_allowed")
            if not self._gateway.ready:
                raise refuse("upstream", "This node is going out of service.", code="not_ready", retry_after_s=1)
            visit.caller = self._gateway.keys.find(credentials_of(request.headers))
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)

    def run(self, request: Any) -> None:
        """The whole request is here."""
        try:
            if request.state.caller is None:
                self._slowly(request, self._fetch(request))
                return
            call = self._call(request)
            if call.admit():
                call.begin()
            else:
                self._slowly(request, self._hold(request, call))
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)

    def gone(self, request: Any) -> None:
        """The client left."""
        work = request.state.work
        if isinstance(work, Call):
            work.gone()
        elif work is not None:
            work.cancel()

    def pause(self, request: Any) -> None:
        """The client reads slowly."""
        if isinstance(request.state.work, Call):
            request.state.work.pause()

    def resume(self, request: Any) -> None:
        """The client caught up."""
        if isinstance(request.state.work, Call):
            request.state.work.resume()

    def _call(self, request: Any) -> Call:
        visit = request.state
        key, account = visit.caller
        ask = self._wire.peek(request.body)
        pin, show_cost = None, key.show_cost
        if request.query:
            query = parse_qs(request.query.decode("latin-1"), keep_blank_values=True)
            pin = query["channel"][-1] if "channel" in query else None
            show_cost = show_cost or query.get("cost", ["0"])[-1] in ("1", "true")
        visit.work = call = Call(self._gateway, request, self._wire, ask, key, account, visit.rid, pin, show_cost,
                                 visit.extra)
        return call

    def _slowly(self, request: Any, work: Coroutine) -> None:
        """A cold key or account: as a task, cancelled when the client leaves."""
        task = asyncio.get_running_loop().create_task(self._guarded(request, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.state.work = task

    async def _guarded(self, request: Any, work: Coroutine) -> None:
        try:
            await work
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)

    async def _fetch(self, request: Any) -> None:
        """Read key and account from the store, then go on as for a warm one."""
        task = request.state.work
        request.state.caller = await self._gateway.keys.fetch(credentials_of(request.headers))
        call = self._call(request)
        if call.admit():
            call.begin()
            return
        request.state.work = task
        await self._hold(request, call)

    async def _hold(self, request: Any, call: Call) -> None:
        """Get a lease, and the hold from it. Another call may be quicker to the same money, hence the loop."""
        while True:
            await call.prepare()
            try:
                admitted = call.admit()
            except Refusal:
                request.state.work = call   # its header lines tell the limits
                raise
            if admitted:
                request.state.work = call
                call.begin()
                return

    def _refuse(self, request: Any, refusal: Refusal) -> None:
        visit, gateway = request.state, self._gateway
        path = request.path.decode("latin-1")
        gateway.access.refusal(visit.rid, path, refusal.status, refusal.code, visit.caller[0].kid if visit.caller else "")
        gateway.metrics.refusal(path, refusal.status)
        extra = (visit.work.extra if isinstance(visit.work, Call) else visit.extra) + refusal_headers(refusal)
        visit.work = None
        if refusal.status == 405:
            extra += b"Allow: POST\r\n"
        request.answer(refusal.status, JSON, self._wire.refuse(refusal, visit.rid), extra)

    def _fault(self, request: Any) -> None:
        """Our fault: the trace stays in our log, the client gets the id to find it by."""
        work = request.state.work
        if isinstance(work, Call) and work.hold is not None:
            work.fault()
            return
        log.exception("%s: internal error", request.state.rid)
        self._refuse(request, refuse("internal", "An internal error occurred; the trace id finds it in our log.",
                                     code="internal_error"))
