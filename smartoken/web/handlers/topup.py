"""POST /hooks/topup: a payment provider's event puts money into an account, once per event however often it is sent.

    {"event": "evt_1", "account": "acc-…", "amount_micro_usd": 5000000, "note": "invoice 7"}
    X-Smartoken-Signature: t=<seconds since 1970>,v1=<hex HMAC-SHA-256(secret, "<t>.<body>")>

The secret is `[money] topup_secret`; without one there is no such path. A signature is good for five minutes.
"""

import hmac
from typing import Annotated, Any

import msgspec

from smartoken.domain.account import Declined
from smartoken.domain.money import MAX_U
from smartoken.engine.ledger import same
from smartoken.errors import StoreAway, refuse
from smartoken.secrets import resolve
from smartoken.web.app import ApiHandler

GOOD_FOR_S = 300


class Event(msgspec.Struct, forbid_unknown_fields=True):
    event: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
    account: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    amount_micro_usd: Annotated[int, msgspec.Meta(ge=1, le=MAX_U)]
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Topup(ApiHandler):
    def initialize(self, gateway: Any, secret: bytes) -> None:
        self.gateway, self.secret = gateway, secret

    async def post(self) -> None:
        self._check_signature()
        try:
            event = msgspec.json.decode(self.request.body, type=Event)
        except msgspec.DecodeError as error:
            raise refuse("invalid_request", f"The event is not sound: {error}.", code="invalid_json") from None
        gateway = self.gateway
        try:
            if await gateway.store.get("accounts", event.account) is None:
                raise refuse("not_found", f"There is no account '{event.account}'.", code="account_not_found",
                             param="account")
            entry = await gateway.ledger.topup(event.account, event.amount_micro_usd, event.event, event.note, "hook")
            same(entry, event.amount_micro_usd)
            balance = await gateway.ledger.balance(event.account)
        except Declined as declined:
            kind = "idempotency" if declined.code == "reused" else "invalid_request"
            raise refuse(kind, f"The books do not take it: {declined}.", code="topup_declined") from None
        except StoreAway:
            raise refuse("upstream", "The store is away; send the event again.", code="store_away",
                         retry_after_s=5) from None
        self.send({"object": "topup", "event": event.event, "account": event.account,
                   "amount_micro_usd": event.amount_micro_usd, "balance_micro_usd": balance.balance_u})

    def _check_signature(self) -> None:
        parts = dict(part.partition("=")[::2] for part in self.request.headers.get("X-Smartoken-Signature", "").split(","))
        at, given = parts.get("t", ""), parts.get("v1", "")
        good = hmac.new(self.secret, f"{at}.".encode("latin-1", "replace") + self.request.body, "sha256").hexdigest()
        fresh = at.isascii() and at.isdigit() and abs(self.gateway.clock.now_ms() // 1000 - int(at[:12])) <= GOOD_FOR_S
        if not hmac.compare_digest(good.encode(), given.encode("latin-1", "replace")) or not fresh:
            raise refuse("authentication", "The event is not signed with our secret, or the signature is old.",
                         code="invalid_signature")


def routes(gateway: Any) -> list:
    ref = gateway.conf.money.topup_secret
    return [(r"/hooks/topup", Topup, {"gateway": gateway, "secret": resolve(ref).encode()})] if ref else []
