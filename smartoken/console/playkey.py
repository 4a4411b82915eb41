"""The playground's key. A page of the playground is an ordinary client of /v1: the same door, the same limits, the same
books, so that there is no second relay to keep honest. For that it gets a key of its own that lives for an hour, stands
in the page's memory only, and ends with the next one or at the sign-out. All of an account's have one id, so that
usage shows them as one.
"""

from typing import Any

from smartoken.engine.issue import issue_key
from smartoken.errors import refuse
from smartoken.ports import Want

PLAY = "playground-"
LIVES_MS = 3600 * 1000
PER_MINUTE = 20


async def new(gateway: Any, acct: str) -> dict[str, Any]:
    """{key, exp_ms}: a fresh one; those before end. Refusal 429 for somebody who asks all the time."""
    refused = gateway.limiter.take([Want(f"playkey:{acct}", PER_MINUTE, 1)])
    if refused is not None:
        raise refuse("rate_limit", "Too many pages of the playground; wait a little.", code="too_many_tries",
                     retry_after_s=-(-refused[1] // 1_000_000))
    await end(gateway, acct)
    exp_ms = gateway.clock.now_ms() + LIVES_MS
    text, _ = await issue_key(gateway.catalog, gateway.pepper, acct, name="Playground", kid=f"{PLAY}{acct}",
                              exp_ms=exp_ms, show_cost=True)
    return {"key": text, "exp_ms": exp_ms}


async def end(gateway: Any, acct: str) -> None:
    """End an account's playground keys: on every node within 3 s."""
    for old in await gateway.catalog.all("keys", {"kid": f"{PLAY}{acct}"}):
        await gateway.catalog.remove("keys", old["_id"])
