"""One's own password."""

from typing import Any

from smartoken.console.site import SIGN_IN, Mine
from smartoken.errors import Refusal, refuse


class Password(Mine):
    """The old one first; a new one ends every session."""

    async def get(self) -> None:
        self._show()

    async def post(self) -> None:
        people, name = self.gateway.people, self.who.name
        new = self.get_argument("password", "", strip=False)
        if new != self.get_argument("again", "", strip=False):
            self._show(refuse("invalid_request", "The two passwords differ."))
            return
        _, refusal = await self.attempt(people.proves(self.who, self.get_argument("old", "", strip=False)))
        changed = None
        if refusal is None:
            changed, refusal = await self.attempt(people.set_password(name, new))
        if refusal is not None:
            self._show(refusal)
            return
        await self.ask(self.gateway.audit.write(name, "people.password", f"people/{name}", *changed, self.ip))
        self.take_cookie()
        self.go(SIGN_IN, "password")

    def _show(self, refusal: Refusal | None = None) -> None:
        self.set_status(refusal.status if refusal else 200)
        self.render("my_password.html", title=self.locale.translate("Password"), refusal=refusal)


def routes(gateway: Any) -> list[tuple]:
    return [(r"/password", Password, {"gateway": gateway})]
