"""Where an operator's own accounts sign in instead of showing a key: what a plugin hands over for that.

The pages, the admin API, roles, languages and the audit are the core's; tokens never leave the plugin.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

WAITING, DONE, REFUSED, EXPIRED = "waiting", "signed in", "refused", "expired"


class Window(msgspec.Struct, frozen=True):
    """A limit as the upstream told it last: of `minutes` (0: unknown), used to `used_permille`, whole again at
    `reset_ms` (0: unknown). `name` is the upstream's own where it keeps several."""

    minutes: int
    used_permille: int
    reset_ms: int
    name: str = ""


class SignedIn(msgspec.Struct, frozen=True):
    """An account and what may be shown of it. `why` is empty while it can be used, else the issuer's code for why it
    must sign in again. `account` is the end of its id there. `sealed` is its tokens as the store has them."""

    id: str
    plan: str
    account: str
    why: str
    until_ms: int                      # when its access token expires; it is renewed before
    renewed_ms: int
    sealed: str
    windows: tuple[Window, ...] = ()
    credits: str = ""                  # what it may use beyond its limits, in the upstream's words
    seen_ms: int = 0                   # when windows and credits were told; 0: never


class Pending(msgspec.Struct, frozen=True):
    """A sign-in by a code that the operator enters at `link`, until `until_ms`. `state` is WAITING, DONE, REFUSED or
    EXPIRED. `made` is the account, once: in the answer that finished it."""

    ref: str
    id: str
    code: str
    link: str
    until_ms: int
    state: str
    why: str = ""
    made: SignedIn | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """One issuer. A channel of `provider` uses its account `own` by the credential `<prefix>own`.

    accounts() -> all of them. begin(id) -> Pending; look(ref) -> Pending as it is, None when there is none (any more);
    follow(ref) -> the same, after asking the issuer if it is time to; cancel(ref). All of these may be asked in any
    process, so what they know of each other stands in the store. take(id, text) -> the account that a file of another
    program holds; `file` says which. remove(id) -> None when there is none, else whether the issuer revoked it.
    They raise ConfigError for what the operator can mend, Refusal, StoreAway. `terms` are sentences that somebody
    accepts before begin and take; `title` and they are translated where the console's languages know them.
    """

    name: str
    title: str
    provider: str
    prefix: str
    terms: Sequence[str]
    file: str
    accounts: Callable[[], Awaitable[Sequence[SignedIn]]]
    begin: Callable[[str], Awaitable[Pending]]
    look: Callable[[str], Awaitable[Pending | None]]
    follow: Callable[[str], Awaitable[Pending | None]]
    cancel: Callable[[str], Awaitable[None]]
    take: Callable[[str, str], Awaitable[SignedIn]]
    remove: Callable[[str], Awaitable[bool | None]]
