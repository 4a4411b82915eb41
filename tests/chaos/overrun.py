"""T3: an upstream that writes more than it was told to cannot take an account further below zero than the printed bound.

Accounts with soft holds (rich enough not to be capped) and poor ones, several streams each at once, all answered with
far more than was held for. Each stream is cut within 64 tokens of what its hold pays for; the bound of an account is the
number of its streams times the price of 64 tokens, and what its prompts were estimated too low.
"""

import asyncio
import json

import aiohttp

from smartoken.domain.money import P_PER_U
from smartoken.engine.stretch import WATCH_TOKENS
from smartoken.testing.process import UpstreamProcess
from tests.chaos.proof import Means, Proof
from tests.harness import PRICE, Client, Gateway, channel, model, until
from tests.journeys import load
from tests.journeys.conftest import SAY

STREAMS = 6
WRITES = 1500


def prove(means: Means) -> Proof:
    accounts = 30 if means.long else 3
    upstream = UpstreamProcess(means.folder / "sent.jsonl")
    means.ends.callback(upstream.stop)
    gateway = Gateway(means.folder, workers=2)
    means.ends.callback(gateway.close)
    gateway.apply(model("m"), channel("c", upstream.at("c", f"ok?tokens={WRITES}&gap_ms=1"), {"m": "m"}))
    gateway.start()
    # The most that a stream's hold may be below its cost: tokens between two looks, and the prompt's estimate.
    prompt_p = len(json.dumps({"model": "m", "messages": SAY, "stream": True})) * PRICE.input_u
    bound_p = STREAMS * (WATCH_TOKENS * PRICE.output_u + prompt_p)
    wrong = cut = streams = 0
    worst_p = 0
    clients = [gateway.client(f"a{number}", usd) for number in range(accounts)
               for usd in (("0.0006", "0.003", "0.02")[number % 3],)]
    for client in clients:
        calls = asyncio.run(together(gateway, client))
        streams += len(calls)
        wrong += sum(not call.whole for call in calls if call.status == 200)
        rows = until(lambda client=client, calls=calls: len(found := gateway.records(client)) == sum(
            call.status == 200 for call in calls) and found, "all records") if any(
            call.status == 200 for call in calls) else []
        cut += sum(row.note == "insufficient_balance" for row in rows)
        over_p = sum(row.cost_p for row in rows) - client.credit_u * P_PER_U
        worst_p = max(worst_p, over_p)
        wrong += over_p > bound_p
        got = {call.rid: call.got for call in calls}
        wrong += sum(not got[row.rid] <= row.usage.output <= got[row.rid] + WATCH_TOKENS for row in rows)
    until(lambda: gateway.metric("smartoken_calls_inflight") == 0, "the end of all calls")
    gateway.stop()
    code, said = gateway.reconcile()
    assert code == 0, said
    return Proof("streams", streams, wrong, {
        "accounts": accounts, "streams of an account at once": STREAMS, "cut": cut,
        "worst overdraft (pUSD)": max(0, worst_p), "bound (pUSD)": bound_p})


async def together(gateway: Gateway, client: Client) -> list[load.Call]:
    """All of an account's streams at once."""
    body = {"model": "m", "messages": SAY, "stream": True, "max_tokens": 1000}
    async with aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {client.key}"}) as http:
        return await asyncio.gather(*(load.call(http, body) for _ in range(STREAMS)))
