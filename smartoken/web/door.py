"""The hot door: client requests of the wires, from head to relay. Everything slow is a task, and only then.

The front (web/front.py) calls `head` before a body is read, `run` when it is there, `gone`/`pause`/`resume` while a
call is under way. A refusal is rendered by the wire that serves the path, so that each SDK raises its own exception.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qs

from smartoken.domain.trace import new_rid
from smartoken.engine.auth import credentials_of
from smartoken.engine.relay import JSON, Call, refusal_headers
from smartoken.errors import Refusal, refuse

log = logging.getLogger("smartoken.door")


class Door:
    """One wire's handler on its paths."""

    def __init__(self, gateway: Any, wire: Any):
        self._gateway, self._wire = gateway, wire
        self._tasks: set[asyncio.Task] = set()

    def head(self, request: Any) -> bool:
        """Method and key, before the body; False when it was answered."""
        request.rid = new_rid()
        try:
            if request.method != b"POST":
                raise refuse("method_not_allowed", "This path takes POST only.", code="method_not_allowed")
            if not self._gateway.ready:
                raise refuse("upstream", "This node is going out of service.", code="not_ready", retry_after_s=1)
            token = credentials_of(request.headers)
            request.caller = self._gateway.keys.find(token)
        except Refusal as refusal:
            self._refuse(request, refusal)
            return False
        except Exception:
            self._fault(request)
            return False
        return True

    def run(self, request: Any) -> None:
        """The whole request is here."""
        try:
            if request.caller is None:
                self._slowly(request, self._fetch(request))
                return
            call = self._call(request)
            if call.admit():
                call.begin()
            else:
                self._slowly(request, self._prepare(request, call))
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)

    def gone(self, request: Any) -> None:
        """The client left."""
        work = request.work
        if isinstance(work, Call):
            work.gone()
        elif work is not None:
            work.cancel()

    def pause(self, request: Any) -> None:
        """The client reads slowly."""
        if isinstance(request.work, Call):
            request.work.pause()

    def resume(self, request: Any) -> None:
        """The client caught up."""
        if isinstance(request.work, Call):
            request.work.resume()

    def _call(self, request: Any) -> Call:
        key, account = request.caller
        ask = self._wire.peek(request.body)
        pin, show_cost = None, key.show_cost
        if request.query:
            query = parse_qs(request.query.decode("latin-1"), keep_blank_values=True)
            pin = query["channel"][-1] if "channel" in query else None
            show_cost = show_cost or query.get("cost", ["0"])[-1] in ("1", "true")
        request.body = b""
        call = Call(self._gateway, request, self._wire, ask, key, account, request.rid, pin, show_cost,
                    b"X-Request-Id: %s\r\n" % request.rid.encode())
        request.work = call
        return call

    def _slowly(self, request: Any, work) -> None:
        """A cold key or account: as a task, cancelled when the client leaves."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        request.work = task

    async def _fetch(self, request: Any) -> None:
        """Read key and account from the store, then go on as for a warm one."""
        try:
            request.caller = await self._gateway.keys.fetch(credentials_of(request.headers))
            call = self._call(request)
            if not call.admit():
                await self._hold(request, call)
            call.begin()
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)

    async def _prepare(self, request: Any, call: Call) -> None:
        try:
            await self._hold(request, call)
            call.begin()
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)

    async def _hold(self, request: Any, call: Call) -> None:
        """Get a lease, and the hold from it. Another call may be quicker to the same money, hence more than once."""
        request.work = asyncio.current_task()
        for _ in range(8):
            await call.prepare()
            if call.admit():
                request.work = call
                return
        raise refuse("insufficient_balance", "The balance is held by other calls in flight.",
                     code="in_flight_budget_exhausted", retry_after_s=1)

    def _refuse(self, request: Any, refusal: Refusal) -> None:
        request.work = None
        caller = getattr(request, "caller", None)
        self._gateway.access.refusal(request.rid, request.path.decode("latin-1"), refusal.status, refusal.code,
                                     caller[0].kid if caller else "")
        self._gateway.metrics.refusal(request.path.decode("latin-1"), refusal.status)
        extra = b"X-Request-Id: %s\r\n" % request.rid.encode() + refusal_headers(refusal)
        if refusal.status == 405:
            extra += b"Allow: POST\r\n"
        request.answer(refusal.status, JSON, self._wire.refuse(refusal, request.rid), extra)

    def _fault(self, request: Any) -> None:
        """Our fault: the trace stays in our log, the client gets the id to find it by."""
        if isinstance(request.work, Call) and request.work.hold is not None:
            request.work.fault()
            return
        log.exception("%s: internal error", request.rid)
        self._refuse(request, refuse("internal", "An internal error occurred; the trace id finds it in our log.",
                                     code="internal_error"))
