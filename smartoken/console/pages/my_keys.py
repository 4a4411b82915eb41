"""One's own keys: made (and shown once), limited to models, revoked."""

from typing import Any

from smartoken.console import shelf
from smartoken.console.playkey import PLAY
from smartoken.console.site import Mine
from smartoken.domain.documents import KeyDoc, from_store
from smartoken.engine.issue import issue_key
from smartoken.errors import Refusal, refuse

DAY_MS = 86_400_000
LIVES = (("", "never"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))
MOST = 100


class Keys(Mine):
    """The list, with a form for a new one."""

    key = "keys"

    async def get(self) -> None:
        if not self.acct:
            self.go("/account")
            return
        await self._show()

    async def post(self) -> None:
        if not self.acct:
            raise refuse("not_found", "You have no account yet.", code="no_account")
        gateway, live = self.gateway, self.text("live")
        rpm = self.text("rpm", "0") or "0"
        if not rpm.isdecimal() or live not in dict(LIVES):
            await self._show(refuse("invalid_request", "A limit is a whole number."))
            return
        if len([key for key in await self.ask(self._keys()) if key["active"]]) >= MOST:
            await self._show(refuse("invalid_request", "You have a hundred keys; revoke one first."))
            return
        # Ticked boxes, or words in one field. Without a refusal a slip of the pen would be a key for every model.
        slugs = [word.strip() for given in self.get_arguments("models") for word in given.split(",") if word.strip()]
        unknown = [slug for slug in slugs if slug not in gateway.snapshots.current.models]
        if unknown:
            await self._show(refuse("not_found", f"There is no model '{unknown[0]}'.", code="model_not_found"))
            return
        exp_ms = gateway.clock.now_ms() + int(live) * DAY_MS if live else 0
        made, refusal = await self.attempt(issue_key(
            gateway.catalog, gateway.pepper, self.acct, name=self.text("name")[:100], exp_ms=exp_ms, rpm=int(rpm),
            models=slugs))
        if refusal is not None:
            await self._show(refusal)
            return
        text, stored = made
        name, target = self.who.name, f"keys/{stored['kid']}"
        await self.ask(gateway.audit.write(name, "keys.create", target, None, stored, self.ip))
        await self._show(shown=text)

    async def _keys(self) -> list[dict[str, Any]]:
        found = await self.gateway.catalog.all("keys", {"acct": self.acct})
        return sorted((key for key in found if not key["kid"].startswith(PLAY)), key=lambda key: -key["created_ms"])

    async def _show(self, refusal: Refusal | None = None, shown: str = "") -> None:
        self.set_status(refusal.status if refusal else 200)
        now_ms = self.gateway.clock.now_ms()
        keys = await self.ask(self._keys())
        for key in keys:
            key["state"] = "revoked" if not key["active"] else "expired" if 0 < key["exp_ms"] <= now_ms else "active"
        self.render("my_keys.html", title=self.locale.translate("Keys"), refusal=refusal, shown=shown, keys=keys,
                    ticked=self.get_arguments("models") if refusal else (),
                    lives=[(value, self.locale.translate(label)) for value, label in LIVES],
                    offers=shelf.offers(self.gateway.snapshots.current))


class Revoke(Mine):
    """End one of one's own."""

    key = "keys"

    async def post(self, kid: str) -> None:
        found = [key for key in await self.ask(self.gateway.catalog.all("keys", {"kid": kid}))
                 if key["acct"] == self.acct]
        if not self.acct or not found:
            raise refuse("not_found", "There is no such key.", code="key_not_found")
        doc = from_store(KeyDoc, found[0]).model_copy(update={"active": False})
        after = await self.ask(self.gateway.catalog.put("keys", doc))
        await self.ask(self.gateway.audit.write(self.who.name, "keys.revoke", f"keys/{kid}", found[0], after, self.ip))
        self.go("/keys", "revoked")


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(r"/keys", Keys, given), (r"/keys/([^/]+)/revoke", Revoke, given)]
