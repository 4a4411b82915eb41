"""One call from admission to settlement, as call-backs on one slotted object: no task, no future, no await here.

    new --admit--> held --send--> asked --first valid event--> committed --end--> done
                                  asked --failure--> asked (next route) ... --> done (503)

`admit` may find no money at hand; then the door awaits `prepare` and admits again. Whatever happens after a hold, the
call is settled exactly once (engine/settle.py), synchronously, and the client gets the last bytes only when the record is
written: who holds a complete answer has paid for it, whatever is killed.
Which channel is asked, and what happens when it fails, is engine/attempts.py; the rest is one file because every function
in it moves that one state.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from smartoken.domain.money import ceil_u
from smartoken.domain.price import token_cost_p, tools_cost_p
from smartoken.domain.usage import NONE, Attempt, Usage
from smartoken.engine import admission, attempts, composite, settle, stretch
from smartoken.engine.bridged import BridgedReader
from smartoken.engine.client import HEARS_NOTHING, JSON, NOBODY, NOTHING, SSE, Client, header, refusal_headers
from smartoken.engine.funds import Span
from smartoken.engine.health import meaning_of
from smartoken.engine.masking import masked
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import CALLER, RETRY, Failure, Look, Told

log = logging.getLogger("smartoken.relay")

STREAM_HEADERS = b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
NO_USAGE = Usage()
TOO_LARGE = "event_too_large"    # a reader's failure that is noticed while bytes still pass
DRAIN_S = 60             # how long an abandoned stream is read to its end where cancelling would not save money
DRAIN_SHARE_PCT = 5      # and by how many of the streams in flight


class Call:
    """See the module's docstring."""

    __slots__ = ("account", "ask", "at_ms", "attempt_us", "attempts", "behind", "body_size", "cap", "channel_wants",
                 "client", "committed", "cost_p", "counted", "done", "estimate", "exchange", "extra", "first_us",
                 "foreign", "forgot", "full_us", "gateway", "headers", "health", "hold", "key", "left", "limited",
                 "line", "look", "model", "money", "need", "parts", "passed", "pin", "price", "reader", "renewal",
                 "rid", "route", "routes", "served", "show_cost", "slot", "stages", "started_us", "status", "tail",
                 "timer", "tokens", "tools", "tried", "unsaid", "usage", "wants", "watch", "wire")

    def __init__(self, gateway: Any, client: Client, wire: Any, ask: Any, key: Any, account: Any, rid: str,
                 pin: str | None, show_cost: bool, extra: bytes, passed: Mapping[bytes, bytes] = NOTHING):
        self.gateway, self.client, self.wire, self.ask = gateway, client, wire, ask
        self.key, self.account, self.rid, self.pin, self.show_cost = key, account, rid, pin, show_cost
        self.extra, self.passed = extra, passed
        self.started_us, self.at_ms = gateway.clock.mono_us(), gateway.clock.now_ms()
        self.body_size = len(ask.body)
        self.committed = self.done = self.left = False
        self.counted = self.first_us = self.attempt_us = self.status = self.full_us = self.tokens = 0
        self.watch = stretch.WATCH_TOKENS
        self.cap: int | None = None             # tokens of output that the upstream is told to stop at
        self.need: admission.Need | None = None
        self.money: asyncio.Task | None = None  # waits for more money; the upstream is paused meanwhile
        self.tail = b""                         # the beginning of an event, kept back while that task runs
        self.attempts: list[Attempt] = []
        self.tried: list = []
        self.hold = self.exchange = self.reader = self.route = self.health = self.timer = None
        self.parts: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.slot = -1
        self.renewal: asyncio.Task | None = None
        self.unsaid: Refusal | None = None      # a channel could not be asked for this, and none was yet
        self.foreign: Failure | None = None     # the last channel could not read what another had made
        self.forgot = False                     # and the request was sent once more without that
        self.wants = self.channel_wants = ()
        self.line: list[composite.Pick] | None = None   # of a composite model: whom to ask, in order
        self.look: Look | None = None                   # what its rules are asked about; None: look at the ask
        self.behind: list[composite.Pick] = []          # those of them who are still to be asked
        self.limited = True             # False: an earlier round of the same request was let in by the limits
        self.tools: dict[str, int] = {}                 # server-side tools charged with this call
        self.stages: list[dict[str, Any]] = []
        self.usage, self.cost_p = NO_USAGE, 0           # once it is settled

    # -- before the upstream -------------------------------------------------------------------------------------------

    def admit(self) -> bool:
        """Check, take limits, take the hold. False when no money is at hand in this process: await prepare()."""
        gateway, ask = self.gateway, self.ask
        if not gateway.journal.healthy:
            raise refuse("upstream", "This node takes no paid requests at the moment.", code="journal_unhealthy",
                         retry_after_s=30)
        self.model = model = admission.model_for(gateway.snapshots.current, self.key, ask.slug)
        self.price = model.price
        self.estimate = estimate = gateway.estimate(model.slug)
        prompt = estimate.input(self.body_size)
        attempts.line_up(self, prompt)
        admission.run_gates(gateway.registry.gates, self.key, ask)
        admission.take_cost_limit(ask)
        self.tokens = 0 if ask.free else prompt + (ask.max_output or estimate.output(model.max_output))
        if ask.max_cost_p:
            self.need = admission.need_of(model, ask)
            self.tokens = min(self.tokens, self.need.prompt + self.need.output)
        wants = admission.wants_of(self.key, self.account, model, self.tokens if self.limited else 0)
        if wants:
            if self.limited:
                try:
                    admission.take(gateway.limiter, wants)
                finally:
                    self.extra += admission.limit_headers(gateway.limiter, wants)
            self.wants = wants              # of a later round nothing is taken; what it used is booked at its end
        self.hold = gateway.leases.place(self.account, model.slug, self._ceiling_p(estimate), self.span)
        return self.hold is not None

    async def prepare(self) -> None:
        """Get the hold from the ledger; Refusal 402, 403 or 503 when there is no money. Limits are given back then."""
        gateway, slug = self.gateway, self.model.slug
        try:
            self.hold = await gateway.leases.hold(self.account, slug, self._ceiling_p(gateway.estimate(slug)), self.span)
        except BaseException:
            admission.give_back(gateway.limiter, self.wants)
            raise

    def span(self) -> Span:
        """What it may hold if the account is poor."""
        if self.need is None:
            self.need = admission.need_of(self.model, self.ask)
        tools_p = tools_cost_p(self.price, self.tools)
        least_p, full_p = self.need.span(self.ask.choices)
        return Span(least_p + tools_p, full_p + tools_p)

    def _limit_output(self) -> None:
        """Where the money, or the client's own limit of the cost, pays for less output than the client allows, the
        upstream is told so, and the client too; likewise where neither the client nor the model says how much that is."""
        ask, most = self.ask, self.need.output
        if self.hold.spanned:
            most = self.need.output_for(self.hold.amount_p - tools_cost_p(self.price, self.tools))
        if ask.max_output is not None and most >= ask.max_output:
            return
        self.cap = max(most, ask.choices)
        reason = b""
        if self.hold.spanned and self.cap < self.need.output:
            reason = b"insufficient_balance"
        elif self.need.output < admission.output_at_most(self.model, ask):
            reason = b"max_cost"
        elif ask.max_output is None and not self.model.max_output:
            reason = b"max_tokens_not_set"
        if reason:
            self.extra += b"X-Output-Limit: %d\r\nX-Output-Limit-Reason: %b\r\n" % (self.cap, reason)

    def _ceiling_p(self, estimate: Any) -> int:
        return admission.ceiling_p(self.model, estimate, self.ask) + tools_cost_p(self.price, self.tools)

    def begin(self) -> None:
        """The hold is there: into the journal, then to the first channel."""
        if (self.hold.spanned or self.ask.max_cost_p) and self.wire.cap is not None:
            self._limit_output()
        self.slot = settle.begin(self)
        self.gateway.calls.add(self)
        self.gateway.retries.request()
        attempts.send(self)

    def tools_alone(self) -> None:
        """The hold is there, the client is not: charge the server-side tools that ran for it, and ask nobody."""
        self.left, self.client = True, NOBODY
        self.slot = settle.begin(self)
        settle.finish(self, "cut", Usage(source=NONE), 0)

    # -- the upstream answers ------------------------------------------------------------------------------------------

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Its head has come."""
        try:
            self._head(status, headers)
        except Exception:
            self.fault()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status, self.headers = status, headers
        channel = self.route.channel
        if channel.provider.heard is not None:
            channel.provider.heard(channel.credential, headers)
        if not self.first_us:
            self.first_us = self.gateway.clock.mono_us() - self.started_us
        if status == 200 and self.ask.stream and b"json" not in header(headers, b"content-type"):
            self.exchange.body_max = 0  # a stream may be long; its events are bounded one by one
            self.reader = self._reader()

    def _reader(self) -> Any:
        bridge, quirks = self.route.bridge, self.route.channel.settings
        if bridge is None:
            return self.wire.reader(self.ask, quirks, self.show_cost)
        outer = None
        if self.show_cost or not self.ask.usage_wanted:  # the bridge always tells usage; this keeps it back
            outer = self.wire.reader(self.ask, quirks, self.show_cost)
        return BridgedReader(self.wire_up.reader(self.ask, quirks, False), bridge.stream(self.ask), outer,
                             self.show_cost)

    def on_data(self, data: bytes) -> None:
        """Some of its body, as it was read from the socket."""
        try:
            self._data(data)
        except Exception:
            self.fault()

    def _data(self, data: bytes) -> None:
        reader = self.reader
        if reader is None:
            self.parts.append(data)
            return
        out = reader.feed(data)
        if not self.committed:
            if reader.failure is not None:
                self.drop()
                attempts.failed(self, meaning_of(self.route.channel.provider, 200, reader.failure), reader.failure)
                return
            if not reader.started:
                return
            self._commit()
            self._note_answer(out)
            if self.left:
                self._abandon()
                return
        elif reader.failure is not None and not reader.ended and (not out or reader.failure.code == TOO_LARGE):
            self.drop()
            self._broken(reader.failure.message)
            return
        if reader.ended:
            self._let_go()
            self._end_stream(out)
            return
        if out:
            counted = reader.counted
            if counted != self.counted:
                self.counted = counted
                self.gateway.journal.count(self.slot, self.estimate.counted(counted))
                if counted >= self.watch and not reader.finished and not stretch.enough(self, counted):
                    pending = reader.pending
                    if pending:
                        out, self.tail = out[:-pending], out[-pending:]
                    stretch.wait(self)
            if not self.left:
                self.client.write(out)

    def on_end(self) -> None:
        """Its answer is complete."""
        self._over()
        try:
            self._end()
        except Exception:
            self.fault()

    def _end(self) -> None:
        if self.reader is not None:
            self._end_stream()
        elif self.status == 200:
            self._end_whole(b"".join(self.parts))
        else:
            failure = self.wire_up.failure(b"".join(self.parts))
            meaning = meaning_of(self.route.channel.provider, self.status, failure)
            if self.ask.method != "POST" and self.status == 404:
                meaning = CALLER  # the stored answer is gone, not the model
            attempts.failed(self, meaning, failure)

    def on_fail(self, kind: str, detail: str) -> None:
        """The connection failed, for a reason of upstream.pool.FAILS."""
        self._over()
        try:
            self._fail(kind, detail)
        except Exception:
            self.fault()

    def _fail(self, kind: str, detail: str) -> None:
        if self.committed:
            self.gateway.health.failed(self.route, self.health, self.gateway.clock.mono_us(), RETRY, None, kind)
            self._broken(kind)
            return
        attempts.failed(self, RETRY, Failure(detail, code=kind))

    @property
    def wire_up(self) -> Any:
        """The wire that the upstream speaks."""
        return self.wire if self.route.bridge is None else self.gateway.registry.wires[self.route.wire]

    def _commit(self) -> None:
        """From here on no other channel can be tried."""
        self.committed = True
        now_us = self.gateway.clock.mono_us()
        self.gateway.health.succeeded(self.route, self.health, now_us, now_us - self.attempt_us)
        if not self.left:
            self.client.start(200, self._type(SSE), self.extra + STREAM_HEADERS)

    def _type(self, usual: bytes) -> bytes:
        """The Content-Type of a good answer."""
        if self.wire.answer_type is None:
            return usual
        return self.wire.answer_type(self.ask, header(self.headers, b"content-type"))

    def add_told(self, data: bytes, cost_u: int) -> bytes:
        """What the wire tells at the end of an answer."""
        wire = self.wire
        if wire.tell is None:
            return wire.add_cost(data, cost_u)
        return wire.tell(data, Told(self.ask.slug, cost_u, self.usage, self.stages))

    def _end_stream(self, out: bytes = b"") -> None:
        """`out`: of the batch that ended it, not yet with the client."""
        reader = self.reader
        out, self.tail = self.tail + out, b""
        rest = out + reader.close()
        if not self.committed:
            if reader.started:
                self._commit()
            else:
                failure = reader.failure or Failure("The upstream's stream is empty.", code="empty_stream")
                attempts.failed(self, meaning_of(self.route.channel.provider, 200, failure), failure)
                return
        if not (reader.ended or reader.finished or reader.failure):
            self.gateway.health.failed(self.route, self.health, self.gateway.clock.mono_us(), RETRY, None, "no end")
            self._broken("The stream ended before its time.")
            return
        self.counted = reader.counted
        status, usage = "broken" if reader.failure else "cut" if self.left else "ok", reader.usage()
        self.attempted("broken" if reader.failure else "ok", usage)
        cost_p = settle.finish(self, status, usage, self.counted)
        if self.show_cost:
            rest = out + reader.cost_event(self.add_told, ceil_u(cost_p)) + rest[len(out):]
        self.last(lambda: self._close_stream(rest))

    def _close_stream(self, rest: bytes) -> None:
        if self.left:
            return
        if rest:
            self.client.write(rest)
        self.client.finish()

    def _end_whole(self, data: bytes) -> None:
        if self.wire_up.gather is not None and b"event-stream" in header(self.headers, b"content-type"):
            data = self.wire_up.gather(data)
        usage, failure, counted = self.wire_up.whole(data, self.ask, self.route.channel.settings)
        if failure is not None:
            attempts.failed(self, meaning_of(self.route.channel.provider, 200, failure), failure)
            return
        if usage is not None and not settle.believable(self.model, self.ask, usage):
            counted = counted or -(-len(data) // 4)     # a wire counts only where nothing was reported
        now_us = self.gateway.clock.mono_us()
        self.gateway.health.succeeded(self.route, self.health, now_us, now_us - self.attempt_us)
        self.attempted("ok", usage)
        self._note_answer(data)
        if self.route.bridge is not None:
            data = self.route.bridge.answer(data, self.ask)
        cost_p = settle.finish(self, "cut" if self.left else "ok", usage, counted)
        if self.left:
            return
        if self.show_cost and (self.wire.add_cost is not None or self.wire.tell is not None):
            data = self.add_told(data, ceil_u(cost_p))
        self.last(lambda: self.client.answer(200, self._type(JSON), data, self.extra))

    def _note_answer(self, data: bytes) -> None:
        """Remember which channel keeps this answer, for those that go on from it."""
        if self.wire.answer_id is not None and self.route.bridge is None and not self.ask.free:
            id = self.wire.answer_id(data, self.ask)
            if id:
                self.gateway.answers.note(id, self.account.id, self.route.channel.name, self.model.slug)

    def last(self, send) -> None:
        """The answer's last bytes: when the record is written, or under `durability = "strict"` when it is synced."""
        journal = self.gateway.journal

        def say() -> None:
            send()
            self.client = NOBODY

        if self.gateway.strict:
            journal.durable(say)
        else:
            journal.written(say)

    # -- failures ------------------------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal, status: str = "refused") -> None:
        """Nothing billable was delivered; the client is told why."""
        settle.finish(self, status, None, 0, refusal.status)
        if not self.left:
            self.client.answer(refusal.status, JSON, self.wire.refuse(refusal, self.rid),
                               self.extra + refusal_headers(refusal))
        self.client = NOBODY

    def _broken(self, why: str) -> None:
        """The upstream died in the middle of a committed stream: an honest event, and what was delivered is charged."""
        self.attempted("broken")
        settle.finish(self, "broken", self.reader.usage(), self.counted)
        self._end_badly(refuse("upstream", "The upstream broke off its answer.", code="upstream_broke_off"))
        log.info("%s: channel %s broke off: %s", self.rid, self.route.channel.name, masked(self.route.channel, why))

    def _end_badly(self, refusal: Refusal) -> None:
        """The last words of a started stream; where its wire has none for that, the connection is cut."""
        if self.left:
            return
        words = self.wire.refuse_in_stream(refusal, self.rid)
        if words:
            self.client.write(words)
            self.client.finish()
        else:
            self.client.abort()
        self.client = NOBODY

    def fault(self) -> None:
        """A fault of ours (or of a plugin's wire) in the middle of a call: logged, settled, told."""
        log.exception("%s: internal error", self.rid)
        self._give_up("broken", None, refuse("internal", "An internal error occurred; the trace id finds it in our log.",
                                             code="internal_error"))

    def stop(self) -> None:
        """The process ends: charge what was delivered, and say so; a call without an answer yet costs nothing."""
        try:
            usage = self.reader.usage() if self.committed else None
            self._give_up("cut" if self.left else "broken", usage, refuse(
                "upstream", "This node is going out of service.", code="not_ready", retry_after_s=1))
        except Exception:                  # of a plugin's reader: the calls that follow are stopped all the same
            self.fault()

    def _give_up(self, status: str, usage: Usage | None, why: Refusal) -> None:
        """End the call here: as `status`, if the client has some of its answer."""
        if self.exchange is not None:
            self.drop()
        if self.hold is None or self.done:
            return
        if not self.committed:
            self.refuse(why, "failed")
            return
        settle.finish(self, status, usage, self.counted)
        self._end_badly(why)

    # -- the client ----------------------------------------------------------------------------------------------------

    def gone(self) -> None:
        """The client left. A whole answer is awaited all the same, a stream up to its first event; see MONEY §9."""
        if self.done or self.left:
            return
        self.left, self.client = True, NOBODY
        if self.exchange is not None and self.money is None:
            self.exchange.resume()
        if self.committed:
            self._abandon()

    def _abandon(self) -> None:
        gateway = self.gateway
        draining = sum(1 for call in gateway.calls if call.timer is not None)
        if self.route.channel.cancel_stops_billing or draining * 100 > len(gateway.calls) * DRAIN_SHARE_PCT + 100:
            self._cut()
        else:
            self.timer = asyncio.get_running_loop().call_later(DRAIN_S, self._cut)

    def _cut(self) -> None:
        """Stop an abandoned stream and charge what was delivered of it."""
        if self.done:
            return
        self.drop()
        self.attempted("cut")
        settle.finish(self, "cut", self.reader.usage(), self.counted)

    def pause(self) -> None:
        """The client reads slowly: stop reading from the upstream."""
        if self.exchange is not None and not self.done:
            self.exchange.pause()

    def resume(self) -> None:
        """The client caught up."""
        if self.exchange is not None and not self.done and self.money is None:
            self.exchange.resume()

    # -- bookkeeping ---------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Hang up on the upstream."""
        self.exchange.abort()
        self._over()

    def _let_go(self) -> None:
        """All is said that matters: the exchange may end by itself, so that its connection can be used again."""
        self.exchange.answer = HEARS_NOTHING
        self.exchange.resume()
        self._over()

    def _over(self) -> None:
        """The attempt's exchange is at its end."""
        self.exchange = None
        self.gateway.health.ended(self.health)

    def attempted(self, result: str, usage: Usage | None = None) -> None:
        ms = (self.gateway.clock.mono_us() - self.attempt_us) // 1000
        cost = self.route.cost
        cost_p = token_cost_p(cost, usage) if cost is not None and usage is not None else 0
        self.attempts.append(Attempt(self.route.channel.name, result, self.status, ms, cost_p))
