"""POST /v1/vouchers/redeem `{"code": "stv-…"}`: a voucher's credit for the account of the key that asks.

Repeating it is harmless: the answer says `redeemed_before`. Guessing is not: ten attempts a minute and account.
"""

from typing import Any

import msgspec

from smartoken.engine.admission import limit_of
from smartoken.errors import StoreAway, refuse
from smartoken.ports import Want
from smartoken.web.app import ApiHandler
from smartoken.web.caller import caller_of
from smartoken.web.schema import COUNT, STRING, TEXT, answer, many, or_null, ours

ATTEMPTS = 10            # a minute


OPENAPI = {"/v1/vouchers/redeem": {"post": {
    "summary": "Redeem a voucher", "tags": ["Money"], "errors": ("key", "redeem"),
    "description": "Its credit goes to the account of the key. Repeating it is harmless.",
    "requestBody": {"required": True, "content": {"application/json": {
        "schema": ours("RedeemRequest", {"code": TEXT}), "example": {"code": "stv-XXXX-XXXX-XXXX"}}}},
    "responses": answer(ours("Redemption", {
        "object": {"const": "voucher.redemption"}, "voucher": TEXT, "amount_micro_usd": COUNT, "models": many(STRING),
        "expires_at": or_null("integer"), "redeemed_before": {"type": "boolean"},
        "balance_micro_usd": {"type": "integer"}}), "What it brought",
        {"object": "voucher.redemption", "voucher": "v-1", "amount_micro_usd": 5_000_000, "models": [],
         "expires_at": None, "redeemed_before": False, "balance_micro_usd": 5_000_000})}}}


class Body(msgspec.Struct, forbid_unknown_fields=True):
    code: str


class Redeem(ApiHandler):
    def initialize(self, gateway: Any) -> None:
        self.gateway = gateway

    async def post(self) -> None:
        gateway = self.gateway
        _, account = await caller_of(gateway, self.request)
        want = Want(f"acct:{account.id}:redeem", ATTEMPTS, 1)
        refused = gateway.limiter.take((want,))
        if refused is not None:
            raise limit_of(*refused)
        try:
            body = msgspec.json.decode(self.request.body, type=Body)
        except msgspec.DecodeError as error:
            raise refuse("invalid_request", f"The body must be {{\"code\": \"stv-…\"}}: {error}.", code="invalid_json",
                         param="code") from None
        try:
            done = await gateway.vouchers.redeem(body.code, account.id)
            balance = await gateway.ledger.balance(account.id)
        except StoreAway:
            raise refuse("upstream", "The store is away; try again shortly, nothing is redeemed twice.",
                         code="store_away", retry_after_s=2) from None
        exp_ms = done.entry.delta["exp_ms"]
        self.send({"object": "voucher.redemption", "voucher": done.voucher.id,
                   "amount_micro_usd": done.voucher.face_u, "models": done.voucher.models,
                   "expires_at": exp_ms // 1000 if exp_ms else None, "redeemed_before": done.again,
                   "balance_micro_usd": balance.balance_u})


def routes(gateway: Any) -> list:
    return [(r"/v1/vouchers/redeem", Redeem, {"gateway": gateway})]
