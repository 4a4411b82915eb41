"""People who sign in to the console: their document, and the one table of what each role may do."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from smartoken.domain.documents import Count, Document
from smartoken.strict import worded

Role = Literal["owner", "admin", "billing", "support", "user"]
ROLES = ("owner", "admin", "billing", "support", "user")

_ALL = frozenset(ROLES) - {"user"}

# permission: who has it. Everything that a page or an operation asks for stands here.
PERMISSIONS: dict[str, frozenset[str]] = {
    "catalog.read": _ALL,
    "catalog.write": frozenset({"owner", "admin"}),
    "accounts.read": _ALL,
    "accounts.write": frozenset({"owner", "admin", "billing"}),
    "keys.write": frozenset({"owner", "admin", "support"}),
    "money.read": frozenset({"owner", "admin", "billing"}),
    "money.write": frozenset({"owner", "billing"}),
    "usage.read": _ALL,
    "system.read": frozenset({"owner", "admin", "support"}),
    "audit.read": frozenset({"owner", "admin"}),
    "people.write": frozenset({"owner"}),
    "self": frozenset(ROLES),
}

LOGIN = worded(r"^[a-z0-9][a-z0-9._@+-]*$", "small letters, digits and . _ @ + -, a letter or digit first")
Login = Annotated[str, Field(min_length=1, max_length=64, pattern=LOGIN)]


class AdminDoc(Document):
    """Someone who may sign in. `password` is an argon2id hash, `totp` a sealed secret ('' is off) and `totp_step` the
    last 30-second step that was used, so that no code opens the door twice. `acct` is a user's own account."""

    ID: ClassVar[str] = "name"

    name: Login
    role: Role
    acct: str = ""
    active: bool = True
    password: str = Field(default="", repr=False)
    totp: str = Field(default="", repr=False)
    totp_step: Count = 0
    created_ms: Count = 0


def may(role: str, permission: str) -> bool:
    """Whether a role has a permission. KeyError for a permission that is not in the table: a slip of ours."""
    return role in PERMISSIONS[permission]
