"""The hot door: client requests of the wires, from head to relay. Everything slow is a task, and only then.

The front (web/front.py) calls `head` before a body is read, `run` when it is there, `gone`, `pause` and `resume`
while a call is under way. A refusal is rendered by the wire that serves the path, so that each SDK raises its own exception.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any
from urllib.parse import parse_qs

from msgspec import Raw
from msgspec.json import encode

from smartoken.domain.trace import new_rid
from smartoken.engine.auth import credentials_of
from smartoken.engine.client import JSON, refusal_headers
from smartoken.engine.idempotency import Recording, digest_of, key_of, replay, same_of
from smartoken.engine.relay import Call
from smartoken.engine.toolloop import Rounds, call_for
from smartoken.errors import Refusal, StoreAway, refuse
from smartoken.plugin.types import Ask

log = logging.getLogger("smartoken.door")

KEY_HEADER = b"idempotency-key"
CALLS = (Call, Rounds)


class Visit:
    """What the door knows of one request: `caller` is (key, account), None while cold; `work` is its call, the task
    that brings it there, or the recording of a call with an Idempotency-Key; `recording` is that of its own call;
    `extra` are the header lines of its answer."""

    __slots__ = ("caller", "extra", "recording", "rid", "work")

    def __init__(self, rid_header: str) -> None:
        self.rid = new_rid()
        self.extra = b"X-Request-Id: %b\r\n" % self.rid.encode()
        if rid_header:
            self.extra += b"%b: %b\r\n" % (rid_header.encode(), self.rid.encode())
        self.caller = self.work = self.recording = None


class Door:
    """One wire's handler on its paths; `body_max` in bytes. A web.request.Handler."""

    def __init__(self, gateway: Any, wire: Any, body_max: int):
        self._gateway, self._wire, self._body_max = gateway, wire, body_max
        self._methods = ", ".join(wire.methods)
        self._tasks: set[asyncio.Task] = set()

    def head(self, request: Any) -> bool:
        """Method and key, before the body. False: below a shared beginning of paths, the application has the rest."""
        served = request.method.decode("latin-1") in self._wire.methods
        if not served and request.path.decode("latin-1") not in self._wire.paths:
            return False
        visit = request.state = Visit(self._wire.rid_header)
        request.limit = self._body_max
        try:
            if not served:
                raise refuse("method_not_allowed", f"This path takes {self._methods} only.", code="method_not_allowed")
            if not self._gateway.ready:
                raise refuse("upstream", "This node is going out of service.", code="not_ready", retry_after_s=1)
            visit.caller = self._gateway.keys.find(self._key(request))
        except Refusal as refusal:
            self._refuse(request, refusal)
        except Exception:
            self._fault(request)
        return True

    def run(self, request: Any) -> None:
        """The whole request is here."""
        try:
            if request.state.caller is None:
                self._slowly(request, self._fetch(request))
                return
            ask = self._peek(request)
            if KEY_HEADER in request.headers and not ask.free:
                self._slowly(request, self._keyed(request, ask))
                return
            if (ask.follows and self._gateway.answers.find(ask.follows) is None) or (
                    ask.voice and self._gateway.voices.find(ask.voice) is None):
                self._slowly(request, self._follow(request, ask))
                return
            call = self._call(request, ask)
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
        if isinstance(work, CALLS):
            work.gone()
        elif isinstance(work, Recording):
            work.gone(request)
        elif work is not None:
            work.cancel()

    def pause(self, request: Any) -> None:
        """The client reads slowly."""
        if isinstance(request.state.work, (*CALLS, Recording)):
            request.state.work.pause()

    def resume(self, request: Any) -> None:
        """The client caught up."""
        if isinstance(request.state.work, (*CALLS, Recording)):
            request.state.work.resume()

    def _key(self, request: Any) -> bytes:
        """The key that the client shows."""
        name = self._wire.key_in_query
        if not name or not request.query:
            return credentials_of(request.headers)
        shown = parse_qs(request.query.decode("latin-1")).get(name, ())
        return credentials_of(request.headers, [key.encode() for key in shown])

    def _peek(self, request: Any) -> Ask:
        wire = self._wire
        if wire.peek_at is None:
            return wire.peek(request.body)
        return wire.peek_at(request.method.decode("latin-1"), request.path.decode("latin-1"),
                            request.query.decode("latin-1"), request.body)

    def _call(self, request: Any, ask: Ask) -> Call | Rounds:
        visit = request.state
        key, account = visit.caller
        pin, show_cost = None, key.show_cost or self._wire.tell is not None
        if request.query:
            query = parse_qs(request.query.decode("latin-1"), keep_blank_values=True)
            pin = query["channel"][-1] if "channel" in query else None
            show_cost = show_cost or query.get("cost", ["0"])[-1] in ("1", "true")
        if ask.follows:
            pin = self._origin(ask, account.id)
        if ask.voice:
            voice = self._gateway.voices.speak(ask.voice, account.id, ask.slug)
            pin = voice.channel
            ask.fields = {**ask.fields, "voice": Raw(encode(voice.voice))}
        client = visit.recording or request
        visit.work = call = call_for(self._gateway, client, self._wire, ask, key, account, visit.rid, pin, show_cost,
                                 visit.extra, self._passed(request.headers))
        return call

    def _origin(self, ask: Ask, acct: str) -> str:
        """The channel that keeps the answer which the ask is about; its owner alone may go on from it."""
        found = self._gateway.answers.find(ask.follows)
        if found is None or found.acct != acct:
            if ask.slug:
                raise refuse("invalid_request", f"The response '{ask.follows[:100]}' is not known here.",
                             code="previous_response_not_found", param="previous_response_id")
            raise refuse("not_found", f"The response '{ask.follows[:100]}' is not known here.",
                         code="response_not_found")
        ask.slug = ask.slug or found.slug
        return found.channel

    def _passed(self, headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """The client's headers that go upstream."""
        passed = {name: headers[name] for name in self._wire.pass_headers if name in headers}
        for name, value in passed.items():
            if not value.isascii() or not value.decode().isprintable():
                raise refuse("invalid_request", f"The header {name.decode()} holds a strange character.")
        return passed

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
        request.state.caller = await self._gateway.keys.fetch(self._key(request))
        ask = self._peek(request)
        if KEY_HEADER in request.headers and not ask.free:
            await self._keyed(request, ask)
        else:
            await self._follow(request, ask)

    async def _keyed(self, request: Any, ask: Ask) -> None:
        """A call with an Idempotency-Key: make it, join the one that runs, or give its answer again."""
        visit = request.state
        same = same_of(ask, request.body, request.headers.get(b"content-type", b"").decode("latin-1"))
        found = await self._gateway.keyed.claim(visit.caller[1].id, key_of(request.headers[KEY_HEADER]),
                                                digest_of(request.path, request.query, same), visit.rid)
        if isinstance(found, dict):
            replay(request, found)
            return
        found.attach(request)
        if found.doc["rid"] == visit.rid:
            visit.recording = found
            try:
                await self._follow(request, ask)
                found.call = visit.work
            except Refusal:
                raise                   # it goes to all who wait, and gives the claim back
            except BaseException:
                visit.recording = None
                found.gone(request)
                found.release(self._turn_away)
                raise
        visit.work = found

    def _turn_away(self, client: Any) -> None:
        """The call that a client waited for was never begun."""
        refusal = refuse("idempotency", "The call with this Idempotency-Key was given up before it began; try again.",
                         code="idempotent_call_gone", retry_after_s=1)
        client.answer(refusal.status, JSON, self._wire.refuse(refusal, client.state.rid),
                      client.state.extra + refusal_headers(refusal))

    async def _follow(self, request: Any, ask: Ask) -> None:
        """Learn where an answer or a voice is kept that another process took note of, then go on."""
        task = request.state.work
        try:
            if ask.follows:
                await self._gateway.answers.fetch(ask.follows)
            if ask.voice:
                await self._gateway.voices.fetch(ask.voice)
        except StoreAway:
            raise refuse("upstream", "The store is away, and only it knows what this request is about.",
                         code="store_away", retry_after_s=5) from None
        call = self._call(request, ask)
        if call.admit():
            call.begin()
            return
        request.state.work = task
        await self._hold(request, call)

    async def _hold(self, request: Any, call: Call | Rounds) -> None:
        """Get the hold from the ledger."""
        try:
            await call.prepare()
        finally:
            if call.wants or call.hold is not None:
                request.state.work = call       # its header lines tell the limits
        call.begin()

    def _refuse(self, request: Any, refusal: Refusal) -> None:
        visit, gateway = request.state, self._gateway
        path = request.path.decode("latin-1")
        gateway.access.refusal(visit.rid, path, refusal.status, refusal.code, visit.caller[0].kid if visit.caller else "")
        gateway.metrics.refusal(path, refusal.status)
        extra = (visit.work.extra if isinstance(visit.work, CALLS) else visit.extra) + refusal_headers(refusal)
        visit.work = None
        if refusal.status == 405:
            extra += b"Allow: %b\r\n" % self._methods.encode()
        (visit.recording or request).answer(refusal.status, JSON, self._wire.refuse(refusal, visit.rid), extra)

    def _fault(self, request: Any) -> None:
        """Our fault: the trace stays in our log, the client gets the id to find it by."""
        work = request.state.work
        if isinstance(work, CALLS) and work.hold is not None:
            work.fault()
            return
        log.exception("%s: internal error", request.state.rid)
        self._refuse(request, refuse("internal", "An internal error occurred; the trace id finds it in our log.",
                                     code="internal_error"))


class HotPaths(dict):
    """{path: handler}; a path with '/' at its end stands for all that begin with it. FrontServer's `hot`."""

    def __init__(self, handlers: Mapping[bytes, Any]):
        super().__init__(handlers)
        self._beginnings = tuple((path, handler) for path, handler in handlers.items() if path.endswith(b"/"))

    def get(self, path: bytes, default: Any = None) -> Any:
        """The handler of a path: an exact one first."""
        found = super().get(path)
        if found is None:
            for beginning, handler in self._beginnings:
                if path.startswith(beginning):
                    return handler
        return default if found is None else found
