"""From a finished call to its cost, its record and its freed hold: once per call, synchronously, with no await inside.

| status  | what happened                                    | charged                                          |
|---------|--------------------------------------------------|--------------------------------------------------|
| ok      | a complete answer                                | what was reported, else counted; nothing at all  |
|         |                                                  | when it is empty and the wire insures that       |
| broken  | the upstream died or erred after the first event,| the same, for the part delivered                 |
|         | or this process was told to stop                 |                                                  |
| cut     | the client left, or the money ended              | reported, else the prompt and what was delivered |
| refused | an upstream's 4xx about the request itself       | nothing                                          |
| failed  | every channel failed                             | nothing                                          |

A report that no answer of the model can have is none: what was counted is charged, and the record's note says so.
"""

import logging
from typing import Any

from smartoken.domain.account import MAIN
from smartoken.domain.price import token_cost_p, tools_cost_p
from smartoken.domain.usage import COUNTED, NONE, Usage, UsageRecord
from smartoken.engine.admission import give_back
from smartoken.engine.journal import OpenFrame

log = logging.getLogger(__name__)

FREE = frozenset({"refused", "failed"})
INSURED = frozenset({"ok", "broken"})
UNBELIEVED = "usage_not_believed"
OWN_ROUNDS = 16          # times that an upstream's own tools may make it read the context and write anew in one answer


def begin(call: Any) -> int:
    """The journal's open frame: all that is needed to bill the call should this process be killed. Returns its slot."""
    return call.gateway.journal.begin(_frame(call))


def extended(call: Any) -> None:
    """The hold has grown: where other pockets than main may pay, the journal is told which would."""
    if any(name != MAIN for name, _ in call.hold.parts):
        call.gateway.journal.begun_anew(call.slot, _frame(call))


def _frame(call: Any) -> OpenFrame:
    price = call.price
    return OpenFrame(
        rid=call.rid, acct=call.account.id, key=call.key.kid, model=call.model.slug, at_ms=call.at_ms,
        wire=call.wire.name, stream=call.ask.stream, price_rev=price.rev, input_u=price.input_u,
        output_u=price.output_u, input_tokens=call.gateway.estimate(call.model.slug).input(call.body_size),
        lease=call.hold.lease.id, parts=call.hold.parts, tools=call.tools,
        tools_p=tools_cost_p(price, call.tools))


def finish(call: Any, status: str, usage: Usage | None, counted: int, http_status: int = 200,
           note: str = "") -> int:
    """Settle a call and return its cost in pUSD. `usage` is the upstream's report, `counted` our own count of events;
    `note` says in the record why it ended early."""
    if call.done:
        raise RuntimeError(f"{call.rid} is settled already")
    call.done = True
    gateway = call.gateway
    estimate = gateway.estimate(call.model.slug)
    if usage is not None and not believable(call.model, call.ask, usage):
        log.warning("%s: channel %s reported a usage beyond what %s can do: %s", call.rid,
                    call.route.channel.name if call.route is not None else "", call.model.slug, usage)
        usage, note = None, note or UNBELIEVED
    if status in FREE or call.ask.free:
        usage = Usage(source=NONE)
    elif usage is None:
        # What was delivered of a stream is charged, though it be more than the upstream was told to write; the length of
        # a whole answer is a guess from its bytes, and no guess passes what the client allowed.
        if call.ask.stream:
            output = estimate.counted(counted)
        else:
            output = min(counted, call.ask.max_output or counted)
        usage = Usage(input=estimate.input(call.body_size), output=output, source=COUNTED)
    elif status == "broken" and usage.characters:
        usage = Usage(source=NONE)         # half a sentence spoken is of no use to anybody
    elif status == "ok":
        estimate.learn(call.body_size, usage, counted if call.ask.stream else 0)
    void = status in INSURED and call.wire.insured and not usage.output and not counted
    cost_p = 0 if void else token_cost_p(call.price, usage)
    if status not in FREE:
        cost_p += tools_cost_p(call.price, call.tools)
    call.usage, call.cost_p = usage, cost_p
    split = gateway.leases.settle(call.hold, cost_p)
    now_us = gateway.clock.mono_us()
    record = UsageRecord(
        rid=call.rid, acct=call.account.id, key=call.key.kid, model=call.model.slug, at_ms=call.at_ms,
        wire=call.wire.name, channel=call.route.channel.name if call.route is not None else "", status=status,
        http_status=http_status, usage=usage, price_rev=call.price.rev, cost_p=cost_p, lease=call.hold.lease.id,
        split=split, stream=call.ask.stream, first_ms=call.first_us // 1000,
        total_ms=(now_us - call.started_us) // 1000, attempts=call.attempts,
        tools=call.tools, note=note)
    if call.slot >= 0:
        gateway.journal.done(call.slot, record)
    if call.wants or call.channel_wants:
        used = 0 if void else usage.total
        give_back(gateway.limiter, call.wants, used)
        give_back(gateway.limiter, call.channel_wants, used)
    if call.money is not None:
        call.money.cancel()
        call.money = None
    if call.timer is not None:
        call.timer.cancel()
        call.timer = None
    gateway.calls.discard(call)
    gateway.access.call(record)
    gateway.metrics.call(record)
    return cost_p


def believable(model: Any, ask: Any, usage: Usage) -> bool:
    """Whether an answer of the model can have used so much: each choice reads and writes the context at most, and writes
    no more than the model's `max_output`. One that lists no context, or writes no text, is believed."""
    if not model.context_length or model.type != "llm":
        return True
    times = ask.choices * (OWN_ROUNDS if "tools" in ask.fields else 1)
    output = min(model.max_output or model.context_length, model.context_length)
    return (usage.output <= output * times
            and usage.input + usage.cache_read + usage.cache_write <= model.context_length * times)
