"""What an operation works with: the gateway, who asks, and the pen for the audit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartoken.engine.people import Who
from smartoken.errors import ConfigError, Refusal, refuse


@dataclass(frozen=True, slots=True)
class Desk:
    """One person's request. `ip` is where it came from."""

    gateway: Any
    who: Who
    ip: str = ""

    def may(self, permission: str) -> bool:
        return self.who.may(permission)

    @property
    def sees_money(self) -> bool:
        return self.who.may("money.read")

    def demand(self, permission: str) -> None:
        """Refusal 403 for a part of an operation that takes more than the operation itself."""
        self.who.demand(permission)

    async def audit(self, action: str, target: str, before: Mapping[str, Any] | None = None,
                    after: Mapping[str, Any] | None = None, note: str = "") -> None:
        """Write down a change that was just made."""
        await self.gateway.audit.write(self.who.name, action, target, before, after, self.ip, note)

    async def renew(self) -> None:
        """Let this process's snapshot show a change at once; the others follow within 3 s."""
        await self.gateway.snapshots.refresh()

    async def proves(self, password: str) -> None:
        """The password again, for what moves money or secrets. Refusal 401."""
        await self.gateway.people.proves(self.who, password)

    def proved(self) -> None:
        """Refusal 401 unless the password was typed lately: for what puts money or secrets in."""
        if not self.who.proved(self.gateway.clock.now_ms()):
            raise refuse("authentication", "Enter your password again; you did so a while ago.", code="prove_again",
                         param="password")


def unsound(error: ConfigError) -> Refusal:
    """What somebody wrote is not sound: told in the sentence that the CLI would print."""
    text = "\n".join(line.split(": ", 1)[-1] for line in str(error).split("\n"))    # without where it stood
    return refuse("invalid_request", text[:1].upper() + text[1:], code="unsound")


def conflict(error: Exception) -> Refusal:
    """Somebody else was quicker, or the name is taken."""
    return Refusal(409, "conflict_error", f"{error}.", code="conflict")


def missing(what: str, id: str) -> Refusal:
    return refuse("not_found", f"There is no {what} '{id}'.", code=f"{what.replace(' ', '_')}_not_found")
