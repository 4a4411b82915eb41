"""A composite model that runs tools on the server: one request made of several rounds, each an ordinary Call.

    round --no tool of ours wanted--> end
    round --tools wanted--> tools run --> next round, which has their results

Every round holds, settles and records for itself (rid, then rid-2, rid-3, …), so money is as exact here as anywhere and
a crash in the midst loses nothing; the surcharge of tools is charged by the round that follows them. Towards its Calls
this is the client, towards the client the call. Rounds, time and money are bounded: past a bound one last round answers
without further tools. A client that leaves while tools run ends them; those that had run are charged all the same.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import Any

import msgspec

from smartoken.domain.money import P_PER_U, ceil_u
from smartoken.domain.price import tools_cost_p
from smartoken.domain.usage import Usage
from smartoken.engine.client import JSON, refusal_headers
from smartoken.engine.composite import Pick, look_at
from smartoken.engine.relay import Call
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import Told, ToolCall

log = logging.getLogger("smartoken.tools")

RESULT_MAX = 32_768      # characters of a tool's result that the model gets
ARGUMENTS_MAX = 65_536
CALLS_MAX = 8            # of one round; more are told to come one by one
LAST_WORD_S = 1          # what a tool gets at least, when the time is nearly up


def call_for(gateway: Any, client: Any, wire: Any, ask: Any, key: Any, account: Any, *more: Any) -> "Call | Rounds":
    """The call that serves an ask: in rounds if its model is a composite one that brings tools, else plainly."""
    model = gateway.snapshots.current.models.get(ask.slug)
    if model is not None and model.composite is not None and model.composite.tools and wire.turns is not None:
        offered = wire.turns.offer(ask, [gateway.registry.tools[name] for name in model.composite.tools])
        if offered is not None:
            return Rounds(gateway, client, wire, ask, key, account, *more, model.composite, offered)
    return Call(gateway, client, wire, ask, key, account, *more)


class Rounds:
    """See the module's docstring. The methods are those of a Call that a door uses, and those of its Client."""

    def __init__(self, gateway: Any, client: Any, wire: Any, ask: Any, key: Any, account: Any, rid: str,
                 pin: str | None, show_cost: bool, extra: bytes, passed: Any, composite: Any, offered: tuple):
        self._gateway, self._client, self._wire, self._ask = gateway, client, wire, ask
        self._who, self._rid, self._pin, self._show_cost = (key, account), rid, pin, show_cost
        self._extra, self._passed, self._composite = extra, passed, composite
        first, self._names = offered
        self._inner = replace(wire, tell=None, add_cost=None)
        self._turn = wire.turns.turn(self._names, None)
        self._until = time.monotonic() + composite.max_seconds
        self._stages: list[dict[str, Any]] = []
        self._usage, self._cost_p, self._round, self._last = Usage(), 0, 1, False
        self._started = self._left = self._over = False
        self._task: asyncio.Task | None = None
        self._tools: list[asyncio.Task] = []            # that run now
        self._call = self._round_of(first)
        self._call.look = look_at(wire, ask)    # as the client wrote it, without what was offered

    def _round_of(self, ask: Any, line: list | None = None, tools: dict[str, int] | None = None) -> Call:
        rid = self._rid if self._round == 1 else f"{self._rid}-{self._round}"
        call = Call(self._gateway, self, self._inner, ask, *self._who, rid, self._pin, False, self._extra, self._passed)
        call.line, call.tools, call.limited = line, tools or {}, self._round == 1
        return call

    # -- the door's side -----------------------------------------------------------------------------------------------

    @property
    def hold(self) -> Any:
        """As of a Call: None until money is set aside."""
        return self._call.hold

    @property
    def extra(self) -> bytes:
        """Header lines of the answer."""
        return self._call.extra

    @property
    def wants(self) -> Any:
        """As of a Call: the limits it took from."""
        return self._call.wants

    def admit(self) -> bool:
        """The first round's."""
        try:
            return self._call.admit()
        finally:
            self._extra = self._call.extra

    async def prepare(self) -> None:
        """The first round's."""
        await self._call.prepare()

    def begin(self) -> None:
        """Send the first round."""
        self._call.begin()

    def gone(self) -> None:
        """The client left: no further round, no further tool. The task goes on as far as to charge those that ran."""
        self._left = True
        for tool in self._tools:
            tool.cancel()
        self._call.gone()

    def stop(self) -> None:
        """The process ends between two rounds: say so, and charge the tools that ran."""
        if self._task is None:                          # the next round began this very turn, and is stopped as a call
            return
        self._refuse(refuse("upstream", "This node is going out of service.", code="not_ready", retry_after_s=1))
        self.gone()

    def pause(self) -> None:
        """The client reads slowly."""
        self._call.pause()

    def resume(self) -> None:
        """The client caught up."""
        self._call.resume()

    def fault(self) -> None:
        """A fault of ours in the midst."""
        self._call.fault()

    # -- the rounds' side: their Client --------------------------------------------------------------------------------

    def start(self, status: int, content_type: bytes, extra: bytes = b"") -> None:
        """A round's stream begins; the client sees one only."""
        if not self._started and not self._left:
            self._started = True
            self._client.start(status, content_type, extra)

    def write(self, data: bytes) -> None:
        """Some of a round's stream."""
        shown = self._turn.feed(data)
        if shown and not self._left:
            self._client.write(shown)

    def finish(self) -> None:
        """A round's stream is at its end."""
        if self._turn.broken:
            self._add_up()
            if not self._left:
                self._client.finish()
            return
        self._after()

    def answer(self, status: int, content_type: bytes, body: bytes, extra: bytes = b"") -> None:
        """A round's whole answer, or its refusal."""
        if status == 200:
            try:
                self._turn.whole(body)
            except (LookupError, TypeError, AttributeError, ValueError):
                log.exception("%s: an answer that is none", self._rid)
                self._add_up()
                self._refuse(refuse("upstream", "The upstream's answer cannot be read.", code="bad_answer"))
                return
            self._after()
        elif self._left:
            return
        elif self._started:
            self._client.write(b"data: " + body + b"\n\n")
            self._client.finish()
        else:
            self._client.answer(status, content_type, body, extra)

    def abort(self) -> None:
        """A round's stream cannot be ended in words."""
        if not self._left:
            self._client.abort()

    # -- between two rounds --------------------------------------------------------------------------------------------

    def _add_up(self) -> None:
        call = self._call
        picked = next((stage["picked"] for stage in reversed(self._stages) if stage["stage"] == "route"), "")
        self._stages += [stage for stage in call.stages if stage["picked"] != picked]
        self._cost_p += call.cost_p
        self._usage = _sum(self._usage, call.usage)

    def _after(self) -> None:
        """A round is over and settled: the end, or tools and the next round."""
        self._add_up()
        calls = self._turn.calls
        if not calls or self._last or self._left:
            self._end()
            return
        self._gateway.between.add(self)
        self._task = asyncio.get_running_loop().create_task(self._next(list(calls)))
        self._task.add_done_callback(lambda _: self._gateway.between.discard(self))

    async def _next(self, calls: list[ToolCall]) -> None:
        before, charged = self._call, {}
        try:
            run, results = self._afforded(calls)
            ran = len(self._stages)
            results |= await self._run_all(run)
            for stage in self._stages[ran:]:
                if "error" not in stage:
                    charged[stage["name"]] = charged.get(stage["name"], 0) + 1
            self._round += 1
            if self._left:
                await self._charge(charged)
                return
            self._last = self._is_last()
            ask = self._wire.turns.follow(self._call.ask, self._turn, results, self._last)
            left_p = self._left_p() - tools_cost_p(self._call.price, charged)
            ask.max_cost_p = max(left_p, 1) if self._call.ask.max_cost_p else 0
            self._call = self._round_of(ask, self._line(), charged)
            if not self._call.admit():
                await self._call.prepare()
                if self._left:          # money was waited for, and nobody waits any more
                    self._call.tools_alone()
                    return
            self._turn = self._wire.turns.turn(self._names, self._turn)
            self._task = None
            self._call.begin()
        except Refusal as refusal:
            self._call = before
            with contextlib.suppress(Refusal):      # then there is not even money for the tools
                await self._charge(charged)
            if refusal.code == "max_cost_too_low":
                self._end()             # the client's own limit: what there is, is the answer
            else:
                self._refuse(refusal)
        except Exception:
            if self._call.hold is not None and not self._call.done:
                self._call.fault()
                return
            log.exception("%s: internal error between two rounds", self._rid)
            self._refuse(refuse("internal", "An internal error occurred; the trace id finds it in our log.",
                                code="internal_error"))

    def _left_p(self) -> int:
        """pUSD that the client's own limit of the cost leaves after the round that is over."""
        return self._call.ask.max_cost_p - self._call.cost_p

    def _afforded(self, calls: list[ToolCall]) -> tuple[list[ToolCall], dict[str, str]]:
        """(those that are run, what the model is told of the others)."""
        run, told, left_p = [], {}, self._left_p()
        for call in calls:
            one_p = tools_cost_p(self._call.price, {call.name: 1})
            if len(run) == CALLS_MAX:
                told[call.id] = "Too many calls at once; make fewer."
            elif self._call.ask.max_cost_p and one_p > left_p:
                told[call.id] = "Not run: the limit of what this request may cost is reached."
            else:
                run.append(call)
                left_p -= one_p
        return run, told

    async def _run_all(self, calls: list[ToolCall]) -> dict[str, str]:
        """{id: text for the model} of tools that run at once; those that were ended are not in it."""
        loop, running = asyncio.get_running_loop(), self._gateway.tools
        self._tools = [loop.create_task(self._run(call)) for call in calls]
        for task in self._tools:
            running.add(task)
            task.add_done_callback(running.discard)
        found = await asyncio.gather(*self._tools, return_exceptions=True)
        self._tools = []
        return dict(one for one in found if not isinstance(one, BaseException))

    async def _charge(self, charged: dict[str, int]) -> None:
        """The surcharge of tools that ran and that no round follows: a round of its own that asks nobody."""
        if not any(self._call.price.tool_u.get(name) for name in charged):
            return
        self._call = self._round_of(msgspec.structs.replace(self._call.ask, free=True), self._line(), charged)
        if not self._call.admit():
            await self._call.prepare()
        self._call.tools_alone()
        self._cost_p += self._call.cost_p

    def _line(self) -> list:
        """The member that answered goes on; the others still stand behind it."""
        call = self._call
        mine = call.stages[0]
        return [Pick(mine["picked"], mine["reason"]), *call.behind]

    def _is_last(self) -> bool:
        cost_u = self._composite.max_cost_u
        return (self._round > self._composite.max_rounds or time.monotonic() >= self._until
                or (cost_u > 0 and self._cost_p >= cost_u * P_PER_U))

    async def _run(self, call: ToolCall) -> tuple[str, str]:
        """(id, text for the model) of one tool's call, and its stage."""
        began, stage = time.monotonic(), {"stage": "tool", "name": call.name, "ms": 0}
        self._stages.append(stage)
        try:
            if len(call.arguments) > ARGUMENTS_MAX:
                raise ValueError("its arguments are too long")
            arguments = msgspec.json.decode(call.arguments or "{}", type=dict)
            async with asyncio.timeout(max(self._until - began, LAST_WORD_S)):
                text = await self._gateway.registry.tools[call.name].call(arguments)
            if not isinstance(text, str):
                text = msgspec.json.encode(text).decode()
            result = text[:RESULT_MAX]
        except asyncio.CancelledError:
            stage["error"] = "left"
            raise
        except Exception as error:         # a plugin's own code and the world outside: the model is told, and goes on
            why = "took too long" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"[:200]
            log.info("%s: tool %s failed: %s", self._rid, call.name, why)
            stage["error"] = "timeout" if isinstance(error, TimeoutError) else "failed"
            result = f"The tool failed: {why}"
        stage["ms"] = int((time.monotonic() - began) * 1000)
        return call.id, result

    # -- the end -------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._left or self._over:
            return
        self._over = True
        turns = self._wire.turns
        if self._ask.stream:
            told = self._usage if self._show_cost or self._ask.usage_wanted else None
            self._client.write(turns.close(self._turn, told, self._tell))
            self._client.finish()
        else:
            data = self._tell(turns.answer(self._turn, self._usage))
            self._client.answer(200, JSON, data, self._extra)

    def _tell(self, data: bytes) -> bytes:
        """What the wire tells of cost and stages, in a complete answer or a stream's last chunk."""
        cost_u = ceil_u(self._cost_p)
        if self._wire.tell is not None:
            return self._wire.tell(data, Told(self._ask.slug, cost_u, self._usage, self._stages))
        return self._wire.add_cost(data, cost_u) if self._show_cost else data

    def _refuse(self, refusal: Refusal) -> None:
        """Between two rounds: what was answered so far is settled already."""
        if self._left:
            return
        body = self._wire.refuse(refusal, self._rid)
        if self._started:
            self._client.write(self._wire.refuse_in_stream(refusal, self._rid))
            self._client.finish()
        else:
            self._client.answer(refusal.status, JSON, body, self._extra + refusal_headers(refusal))


def _sum(one: Usage, other: Usage) -> Usage:
    """Counts of both; where one was not reported, neither is the sum."""
    fields = {name: getattr(one, name) + getattr(other, name) for name in Usage.__struct_fields__ if name != "source"}
    return Usage(**fields, source=other.source)
