"""Vouchers to redeem, and what the account's credit is made of."""

from typing import Any

from smartoken.console.site import Mine
from smartoken.domain.account import MAIN
from smartoken.errors import Refusal, refuse
from smartoken.ports import Want

PER_MINUTE = 10                # the same count as over the API, so that a page is no way round it


class Vouchers(Mine):
    """Once per voucher and account; to send the form twice changes nothing."""

    key = "home"

    async def get(self) -> None:
        if not self.acct:
            self.go("/account")
            return
        await self._show()

    async def post(self) -> None:
        gateway = self.gateway
        if not self.acct:
            raise refuse("not_found", "You have no account yet.", code="no_account")
        refused = gateway.limiter.take([Want(f"acct:{self.acct}:redeem", PER_MINUTE, 1)])
        if refused is not None:
            await self._show(refuse("rate_limit", "Too many tries; wait a minute.", code="too_many_tries",
                                    retry_after_s=-(-refused[1] // 1_000_000)))
            return
        done, refusal = await self.attempt(gateway.vouchers.redeem(self.text("code")[:100], self.acct))
        if refusal is not None:
            await self._show(refusal)
            return
        self.go("/vouchers", "redeemed-before" if done.again else "redeemed")

    async def _show(self, refusal: Refusal | None = None) -> None:
        self.set_status(refusal.status if refusal else 200)
        balance = await self.ask(self.gateway.ledger.balance(self.acct))
        now_ms = self.gateway.clock.now_ms()
        pockets = [{"name": name, "u": pocket["u"], "models": pocket.get("models") or [],
                    "exp_ms": pocket.get("exp_ms", 0), "over": 0 < pocket.get("exp_ms", 0) <= now_ms}
                   for name, pocket in balance.pockets.items() if pocket["u"] or name == MAIN]
        self.render("my_vouchers.html", title=self.locale.translate("Vouchers"), refusal=refusal, balance=balance,
                    pockets=pockets, MAIN=MAIN, code=self.text("code")[:100] if refusal else "")


def routes(gateway: Any) -> list[tuple]:
    return [(r"/vouchers", Vouchers, {"gateway": gateway})]
