"""Whoever is signed in: who they are, and the token that changes must bring."""

from typing import Any

from smartoken.domain.people import PERMISSIONS
from smartoken.web.admin.desk import Desk
from smartoken.web.admin.operation import Operation


async def me(desk: Desk) -> dict[str, Any]:
    """Name, role, what the role may, and `csrf` for the header X-CSRF-Token."""
    who = desk.who
    return {"name": who.name, "role": who.role, "acct": who.acct, "csrf": who.csrf,
            "permissions": sorted(name for name in PERMISSIONS if who.may(name))}


OPERATIONS = [Operation("GET", "/me", "self", "Who is signed in, and the CSRF token", me)]
