"""The audit: who changed what, newest first."""

from typing import Annotated, Any

from pydantic import Field

from smartoken.strict import Strict
from smartoken.web.admin.desk import Desk
from smartoken.web.admin.operation import Operation

PAGE = 50


class AuditQuery(Strict):
    """`before`: the seq above the page wanted, as text."""

    before: Annotated[str, Field(pattern=r"^[0-9]{0,15}$")] = ""


async def page(desk: Desk, query: AuditQuery) -> dict[str, Any]:
    """A page of entries; `hash` of each covers the one before it."""
    found = await desk.gateway.audit.page(int(query.before or 0), PAGE)
    rows = [{"seq": entry.seq, "at_ms": entry.at_ms, "node": entry.node, "hash": entry.hash, **entry.delta}
            for entry in found]
    return {"entries": rows, "next": rows[-1]["seq"] if rows and rows[-1]["seq"] > 1 else 0}


OPERATIONS = [Operation("GET", "/audit", "audit.read", "Who changed what", page, query=AuditQuery)]
