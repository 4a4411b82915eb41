"""A hold that grows while tokens flow, and the honest end of a stream when there is no more money.

Every WATCH_TOKENS the counted cost is compared with the hold. At three quarters it is extended from the lease; when the
lease has no room, the upstream is paused while the ledger is asked; when the ledger has no more, or the client's own
limit is reached, the stream ends as one that reached its limit of output. So no stream costs more than its hold by
WATCH_TOKENS and what came with them in one read of the socket, whatever the upstream does.
"""

import asyncio
import logging
from typing import Any

from smartoken.domain.money import ceil_u
from smartoken.domain.price import tools_cost_p
from smartoken.engine import settle
from smartoken.errors import Refusal, refuse

WATCH_TOKENS = 64        # output tokens between two looks at the hold

log = logging.getLogger("smartoken.stretch")


def enough(call: Any, counted: int) -> bool:
    """False when the stream may not go on now: there is no room in the hold or the lease. Then `wait` or `cut`."""
    call.watch = counted + WATCH_TOKENS
    spent_p, step_p = _spent_p(call, counted), WATCH_TOKENS * call.price.output_u
    hold = call.hold
    if spent_p * 4 < hold.amount_p * 3:
        return True
    more_p = _within_limit_p(call, max(step_p * 4, spent_p // 2))
    if more_p > 0 and call.gateway.leases.extend(hold, more_p):
        settle.extended(call)
        return True
    return spent_p + step_p < hold.amount_p


def _spent_p(call: Any, counted: int) -> int:
    estimate, price = call.estimate, call.price
    return (estimate.input(call.body_size) * price.input_u + estimate.counted(counted) * price.output_u
            + tools_cost_p(price, call.tools))


def _within_limit_p(call: Any, more_p: int) -> int:
    """Of `more_p` what the client's own limit leaves. It was lowered by the tools that this call is charged with."""
    limit_p = call.ask.max_cost_p
    return min(more_p, limit_p + tools_cost_p(call.price, call.tools) - call.hold.amount_p) if limit_p else more_p


def wait(call: Any) -> None:
    """Pause the upstream and get more money; then go on, or cut."""
    call.exchange.pause()
    call.money = asyncio.get_running_loop().create_task(_more(call))


async def _more(call: Any) -> None:
    leases, hold, step_p = call.gateway.leases, call.hold, WATCH_TOKENS * call.price.output_u
    more_p = _within_limit_p(call, max(step_p * 4, _spent_p(call, call.counted) // 2))
    why = refuse("insufficient_balance", "The balance is used up; the answer ends here.", code="insufficient_balance")
    if call.ask.max_cost_p:
        why = refuse("insufficient_balance", "The answer has reached its 'max_cost_micro_usd'.", code="max_cost_reached")
    try:
        extended = False
        if more_p > 0:
            await leases.stretch(hold, call.account, more_p, min(step_p, more_p))
            extended = True
    except Refusal as refusal:
        extended = False
        if refusal.code == "store_away":
            why = refuse("upstream", "The balance cannot be read at the moment; the answer ends here.",
                         code="store_away")
    except Exception:
        call.money = None
        call.fault()
        return
    call.money = None
    if call.done:
        return
    if not extended:
        cut(call, why)
        return
    settle.extended(call)
    tail, call.tail = call.tail, b""
    if not call.left:
        call.client.write(tail)
    if call.exchange is not None:
        call.exchange.resume()


def cut(call: Any, why: Refusal) -> None:
    """End the stream here, in the wire's own way, and charge what was delivered."""
    call.drop()
    call.attempted(why.code)
    cost_p = settle.finish(call, "cut", call.reader.usage(), call.counted, note=why.code)
    if not call.left:
        add_cost = call.add_told if call.show_cost else None
        words = call.reader.cut(why, call.usage, add_cost, ceil_u(cost_p))
        call.last(lambda: (call.client.write(words), call.client.finish()))
    log.info("%s: cut: %s", call.rid, why.code)
