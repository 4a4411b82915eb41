"""A new job: checked, priced, written down, paid in advance, then on its way; or the one that is there already.

With an `Idempotency-Key` a claim is written first (a document of the collection `jobs` whose id begins with '~'): it
names the job, so that the same call, repeated on any node, finds it instead of making a second one.

Once a job is written down, its client is not told "no" because the store is away: the driver goes on where this call
could not, and the client is given the job. Where even that is unclear, whether it was written, the client is told "no",
and a job without an Idempotency-Key that turns up then is ended unsent by whoever finds it: nobody waits for it.
"""

import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from smartoken.domain import hold
from smartoken.domain import job as states
from smartoken.domain.account import Declined, empty
from smartoken.domain.catalog import Account, Key, Model
from smartoken.domain.job import Job, full_cost_p
from smartoken.domain.money import P_PER_U
from smartoken.domain.offer import fit, unit_u, units
from smartoken.engine import admission, routing
from smartoken.engine.funds import why_not
from smartoken.errors import Refusal, StoreAway, refuse
from smartoken.plugin.types import Ask
from smartoken.ports import Want

log = logging.getLogger("smartoken.jobs")

REPEAT_MS = 24 * 3600 * 1000     # how long an Idempotency-Key stands for its job


@dataclass(frozen=True, slots=True)
class Order:
    """A call for long work, as its door has read it. `kind` is image, video or voice; `door` is the client's path;
    `body` is what tells one call from another (repeat.same_of) under `repeat`, its Idempotency-Key ('' without one);
    `wants` are the limits it takes from, as soon as `begin` knows them."""

    rid: str
    key: Key
    account: Account
    kind: str
    wire: str
    door: str
    ask: Ask
    body: bytes = b""
    pin: str | None = None
    repeat: str = ""
    show_cost: bool = False
    wants: list[Want] = field(default_factory=list)


def offer(gateway: Any, order: Order) -> tuple[Model, Ask, int]:
    """(model, the Ask in the model's own words, µUSD to set aside); Refusal for what cannot be had, or costs more than
    the client's own limit. Moves nothing."""
    ask = order.ask
    model = admission.model_for(gateway.snapshots.current, order.key, ask.slug)
    routing.routes_of(model, ask.wire, order.pin)
    ask = fit(model, ask, order.kind)
    admission.run_gates(gateway.registry.gates, order.key, ask)
    admission.take_cost_limit(ask)
    held_u = unit_u(model, ask, order.kind) * units(ask, order.kind)
    if ask.max_cost_p and held_u * P_PER_U > ask.max_cost_p:
        raise admission.cost_too_low(ask, f"this costs {held_u}")
    return model, ask, held_u


async def begin(jobs: Any, order: Order, check: Callable[[Order], Awaitable[None]] | None = None) -> Job:
    """The job of a call, begun now or by an earlier call of the same Idempotency-Key; `check` may refuse a new one.
    Refusal; nothing is left then."""
    model, ask, held_u = offer(jobs.gateway, order)
    order.wants.extend(want for want in admission.wants_of(order.key, order.account, model, 0) if want.cost)
    try:
        if order.repeat:
            id, there = await _claimed(jobs, order)
            if there is not None:
                return there
        else:
            id = order.rid
        if check is not None:
            await check(order)
        admission.take(jobs.gateway.limiter, order.wants)
        job = _job(jobs, order, model, ask, id, held_u)
        if not await jobs.add(job):            # the same call, made twice at once
            there = await jobs.find(id)
            if there is None:
                raise StoreAway(f"{id} was taken back meanwhile")
            return there
        try:
            await pend(jobs, job)
        except Declined:
            await jobs.drop(job)
            raise await _unpaid(jobs, job, order.account) from None
        except StoreAway as error:
            log.warning("%s: begun though the store is away: %s", id, error)
    except StoreAway:
        raise refuse("upstream", "The store is away, so nothing can be set aside for this call; try again shortly.",
                     code="store_away", retry_after_s=2) from None
    jobs.begin(job, ask)
    return job


async def pend(jobs: Any, job: Job) -> None:
    """Set the job's whole price aside, once; Declined when the account cannot pay. StoreAway."""
    if not job.held_u:
        return
    at_ms = job.at_ms
    await jobs.ledger.commit(
        job.acct, f"pend:{job.id}", "pend",
        lambda state: hold.pend(state, rid=job.id, slug=job.model, amount_u=job.held_u, at_ms=at_ms,
                                floor_u=job.floor_u))


async def caught_up(jobs: Any, job: Job) -> bool:
    """Set aside what the call itself could not, or a process that died before it could; False when the account cannot
    pay: refused. StoreAway."""
    try:
        await pend(jobs, job)
    except Declined:
        await jobs.save(job, state=states.REFUSED, open=0, ended_ms=jobs.clock.now_ms(),
                        fault=states.Fault("insufficient_balance", "The account could not pay for this.", status=402))
        return False
    return True


def why_unsent(jobs: Any, job: Job) -> Refusal | None:
    """Why a new job cannot be sent by us, though it is paid for: its files are gone, or nobody knows of it."""
    if job.id in jobs.begun:
        return None
    if job.files:
        return upload_lost()
    if job.lone and not job.sent_ms:
        return refuse("upstream", "The process that took this call is gone, or could not tell whether it had; call "
                      "again.", code="never_begun", retry_after_s=1)
    return None


def upload_lost() -> Refusal:
    """Files of a call are in no store: with their process they are gone."""
    return refuse("upstream", "The process that took this call is gone, and its files with it; call again.",
                  code="upload_lost", retry_after_s=1)


def ask_of(jobs: Any, job: Job) -> Ask:
    """The Ask that a job was made from; its files only in the process that took them."""
    kept = jobs.begun.get(job.id)
    if kept is not None:
        return kept
    fields = msgspec.json.decode(job.fields, type=dict[str, msgspec.Raw])
    return Ask(wire=job.wire, slug=job.model, stream=False, body=b"", fields=fields, images=job.images, size=job.size,
               quality=job.quality, seconds=job.seconds, resolution=job.resolution, ratio=job.ratio, inline=job.inline)


def _job(jobs: Any, order: Order, model: Model, ask: Ask, id: str, held_u: int) -> Job:
    job = Job(id=id, acct=order.account.id, key=order.key.kid, wire=order.wire, door=order.door, kind=order.kind,
              model=model.slug, at_ms=jobs.clock.now_ms(),
              fields=msgspec.json.encode(ask.fields).decode(), files=bool(ask.files), images=ask.images, size=ask.size,
              quality=ask.quality, seconds=ask.seconds, resolution=ask.resolution, ratio=ask.ratio, inline=ask.inline,
              show_cost=order.show_cost, pin=order.pin or "", price_rev=model.price.rev,
              unit_u=unit_u(model, ask, order.kind), held_u=held_u, floor_u=order.account.overdraft_u,
              lone=not order.repeat, word=secrets.token_hex(16))
    if full_cost_p(job) != held_u * P_PER_U:
        raise AssertionError(f"{id}: {held_u} µUSD are not its whole price")
    return job


async def _claimed(jobs: Any, order: Order) -> tuple[str, Job | None]:
    """(the job's id, the job if it is there): by this call's claim, or by the one that an earlier call left."""
    name = hashlib.sha256(f"{order.account.id}\0{order.repeat}".encode()).hexdigest()
    print_of_body = hashlib.sha256(order.door.encode() + b"\0" + order.body).hexdigest()
    claim = {"_id": f"~{name}", "rev": 1, "job": order.rid, "body": print_of_body, "at_ms": jobs.clock.now_ms()}
    for _ in range(3):
        if await jobs.store.insert("jobs", claim):
            return order.rid, None
        there = await jobs.store.get("jobs", claim["_id"])
        if there is None:
            continue
        if there["at_ms"] + REPEAT_MS >= claim["at_ms"]:
            if there["body"] != print_of_body:
                raise refuse("idempotency", "This Idempotency-Key was used before, with another body.",
                             code="idempotency_key_reused", should_retry=False)
            job = await jobs.find(there["job"])
            if job is None or not _frees_its_key(job):
                return there["job"], job
        # Never removed first: of two that find it so, one could remove what the other has claimed since.
        if await jobs.store.replace("jobs", claim | {"rev": there["rev"] + 1}, there["rev"]):
            return order.rid, None
    raise StoreAway("an Idempotency-Key could not be claimed")


def _frees_its_key(job: Job) -> bool:
    """Whether the client was told to try again, or could not pay: nothing was made and nothing is charged. What the
    upstream itself refused ends the same way as long as its key is known."""
    return job.state == states.REFUSED or (job.state == states.FAILED and job.fault is not None
                                           and job.fault.retry_after_s > 0)


async def _unpaid(jobs: Any, job: Job, account: Account) -> Refusal:
    """Why the account cannot pay for a job."""
    head = await jobs.ledger.head(job.acct)
    return why_not(head.state if head else empty(), job.model, full_cost_p(job), jobs.clock.now_ms(),
                   account.overdraft_u, {})


def fault_of(refusal: Refusal) -> states.Fault:
    """A Refusal as it stands in a job."""
    return states.Fault(kind=refusal.type, message=refusal.message, code=refusal.code or "", status=refusal.status,
                        retry_after_s=refusal.retry_after_s or 0)


def refusal_of(job: Job) -> Refusal:
    """Why a job delivered nothing. Its own failure is final, so an SDK must not repeat the call by itself."""
    fault = job.fault
    if fault is None:
        return refuse("upstream", f"The job is {job.state}.", code=f"job_{job.state}", should_retry=False)
    return Refusal(fault.status, fault.kind, fault.message, code=fault.code or None,
                   retry_after_s=fault.retry_after_s or None, should_retry=None if fault.retry_after_s else False)
