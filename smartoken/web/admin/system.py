"""The state of the machines: processes, journals, leases, stores, and whether the books agree."""

import asyncio
import logging
import time
from dataclasses import asdict
from typing import Any

from smartoken.engine import figures
from smartoken.engine.journal import journal_root
from smartoken.engine.reconcile import reconcile
from smartoken.errors import Refusal, StoreAway
from smartoken.web.admin.desk import Desk
from smartoken.web.admin.operation import Operation

log = logging.getLogger("smartoken.admin")

RESULT = "reconcile"           # the document of `figures` that holds the last result
PATIENCE_S = 6
_running: set[asyncio.Task] = set()


async def system(desk: Desk) -> dict[str, Any]:
    """Every process with its figures, the ports' health, and the last reconciliation."""
    gateway = desk.gateway
    nodes = await figures.nodes(gateway.store, gateway.clock.now_ms())
    return {"nodes": nodes, "ports": await _ports(gateway),
            "reconcile": _checked(desk, await gateway.store.get("figures", RESULT)),
            "reconciling": bool(_running), "seq": gateway.snapshots.current.seq,
            "problems": [{"where": one.where, "what": one.what} for one in gateway.snapshots.problems]}


def _checked(desk: Desk, page: dict[str, Any] | None) -> dict[str, Any] | None:
    """The last result. Who may not see money reads which rule does not hold and where, not the amounts."""
    if page is None or desk.sees_money:
        return page
    return {**{name: value for name, value in page.items() if name != "charged_p"},
            "findings": [{**finding, "text": ""} for finding in page["findings"]]}


async def start_reconcile(desk: Desk) -> dict[str, Any]:
    """Begin to check the books; the result stands in GET /system when it is there. 409 while one runs here."""
    if _running:
        raise Refusal(409, "conflict_error", "The books are being checked already.", code="running")
    task = asyncio.create_task(_reconcile(desk.gateway, desk.who.name))
    _running.add(task)
    task.add_done_callback(_running.discard)
    await desk.audit("system.reconcile", "system")
    return {"running": True}


async def stop_reconcile() -> None:
    """Cancel what still runs, at the end of the process."""
    tasks = list(_running)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _reconcile(gateway: Any, who: str) -> None:
    begun = time.monotonic()
    try:
        page = await reconcile(gateway.store, gateway.clock, patience_s=PATIENCE_S,
                               journals=journal_root(gateway.conf))
        await figures.put(gateway.store, {
            "_id": RESULT, "at_ms": gateway.clock.now_ms(), "who": who, "ms": int((time.monotonic() - begun) * 1000),
            "accounts": page.accounts, "entries": page.entries, "rows": page.rows, "charged_p": str(page.charged_p),
            "differences": len(page.differences), "seal": page.seal,
            "findings": [asdict(finding) for finding in page.findings[:100]]})
    except StoreAway as away:
        log.warning("the books could not be checked: %s", away)
    except Exception:
        log.exception("checking the books failed")


async def _ports(gateway: Any) -> list[dict[str, Any]]:
    """Store, limiter and media: which, and whether they answer."""
    conf = gateway.conf
    rows = []
    begun = time.perf_counter()
    try:
        await gateway.store.ping()
        store = {"up": True, "ms": round((time.perf_counter() - begun) * 1000, 1), "what": ""}
    except StoreAway as away:
        store = {"up": False, "ms": 0, "what": str(away)}
    rows.append({"port": "store", "scheme": conf.store.url.partition("://")[0], **store})
    for port, url in (("limiter", conf.limiter.url), ("media", conf.media.url)):
        part = getattr(gateway, port, None)
        well = getattr(part, "healthy", part is not None)
        rows.append({"port": port, "scheme": url.partition("://")[0], "up": bool(well), "ms": 0, "what": ""})
    return rows


OPERATIONS = [
    Operation("GET", "/system", "system.read", "Processes, ports, problems, the last reconciliation", system),
    Operation("POST", "/system/reconcile", "system.read", "Begin to check the books", start_reconcile, status=202),
]
