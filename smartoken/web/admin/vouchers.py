"""Vouchers: made in batches (their codes are in that answer only), listed, stopped."""

from typing import Annotated, Any

from pydantic import Field

from smartoken.domain.documents import Count, Slug
from smartoken.domain.pricing import Micro
from smartoken.strict import Strict
from smartoken.web.admin.accounts import Op
from smartoken.web.admin.desk import Desk
from smartoken.web.admin.operation import Operation

PAGE, BATCH_MOST = 50, 5000


class VoucherBody(Strict):
    """`count` vouchers of `face_u` each. Empty `models`: credit for all. Times in ms, 0: never; `days` counts from the
    redeeming. `uses`: how many accounts may redeem one, each once. `op` names the cause: with the same again the answer
    is the same."""

    op: Op
    face_u: Micro
    count: Annotated[int, Field(ge=1, le=BATCH_MOST)] = 1
    models: list[Slug] = Field(default_factory=list)
    prio: Count = 0
    exp_ms: Count = 0
    days: Count = 0
    uses: Annotated[int, Field(ge=1)] = 1
    until_ms: Count = 0
    note: Annotated[str, Field(max_length=500)] = ""


class VoucherQuery(Strict):
    """`batch`: of one batch. `after`: `next` of the page before."""

    batch: str = ""
    after: str = ""


async def create(desk: Desk, body: VoucherBody) -> dict[str, Any]:
    """The vouchers of this `op` with their codes, which are in no other answer. Refusal 409 when that op made others
    before, 401 `prove_again`: see POST /me/proof."""
    desk.proved()
    made = await desk.gateway.vouchers.create(**body.model_dump())
    batch = made[0][1].batch
    # Not the op: who has it can ask for the codes.
    await desk.audit("vouchers.create", f"vouchers/{batch}", None, body.model_dump(exclude={"op"}))
    return {"batch": batch, "codes": [{"code": code, "id": voucher.id} for code, voucher in made]}


async def list_vouchers(desk: Desk, query: VoucherQuery) -> dict[str, Any]:
    """A page of vouchers, without their codes, each with how often it was redeemed. `next` is a voucher's digest, of a
    code of 95 random bits and the pepper: as little use as a key's."""
    gateway = desk.gateway
    found = await gateway.store.find("vouchers", {"batch": query.batch} if query.batch else None, after=query.after,
                                     limit=PAGE + 1)
    rows = []
    for doc in found[:PAGE]:
        claims = await gateway.store.find("claims", {"voucher": doc["id"]}, limit=doc["uses"])
        rows.append({**{name: value for name, value in doc.items() if name not in ("_id", "rev")},
                     "redeemed": len(claims), "accounts": [claim["acct"] for claim in claims[:5]]})
    return {"vouchers": rows, "next": found[PAGE - 1]["_id"] if len(found) > PAGE else ""}


async def stop(desk: Desk, id: str) -> dict[str, Any]:
    """No more redeeming of it; what was redeemed stays."""
    voucher = await desk.gateway.vouchers.stop(id)
    await desk.audit("vouchers.stop", f"vouchers/{id}", {"active": True}, {"active": voucher.active})
    return {"id": id, "active": voucher.active}


OPERATIONS = [
    Operation("GET", "/vouchers", "money.read", "Vouchers, without their codes", list_vouchers, query=VoucherQuery),
    Operation("POST", "/vouchers", "money.write", "Make vouchers; their codes are in this answer only", create,
              VoucherBody, status=201),
    Operation("POST", "/vouchers/{id}/stop", "money.write", "Stop a voucher", stop),
]
