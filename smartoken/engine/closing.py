"""The end of a job: what was pending for it is charged or released, once, and its usage record is written, once.

Each step may be repeated by another process after a crash, and then changes nothing: the ledger knows the op, the store
knows the rid.
"""

from typing import Any

from smartoken.domain import hold
from smartoken.domain import job as states
from smartoken.domain.account import change
from smartoken.domain.job import Job
from smartoken.domain.usage import NONE, REPORTED, Usage, UsageRecord

# state: the outcome in the usage record
OUTCOME = {states.STORED: "ok", states.FAILED: "failed", states.CANCELED: "void", states.LOST: "void"}


async def close(jobs: Any, job: Job) -> None:
    """stored -> done, or an end without a result -> the money is back."""
    now_ms = jobs.clock.now_ms()
    split: dict[str, int] = {}
    if job.held_u:
        if job.state == states.STORED:
            entry = await jobs.ledger.commit(
                job.acct, f"post:{job.id}", "post",
                lambda state: hold.post(state, rid=job.id, cost_p=job.cost_p, at_ms=now_ms))
            split = dict(entry.delta["split"])
        else:
            await jobs.ledger.commit(job.acct, f"void:{job.id}", "void", change("void", rid=job.id, at_ms=now_ms))
    record = record_of(job, split, job.ended_ms or now_ms)
    await jobs.store.put_usage([record])
    jobs.gateway.journal.note(record)
    state = states.DONE if job.state == states.STORED else job.state
    await jobs.save(job, state=state, open=0, ended_ms=job.ended_ms or now_ms, owner="", until_ms=0)
    jobs.gateway.access.call(record)
    jobs.gateway.metrics.call(record)


def record_of(job: Job, split: dict[str, int], ended_ms: int) -> UsageRecord:
    """The row of a job that came to its end."""
    usage = _used(job) if job.state == states.STORED else Usage(source=NONE)
    fault = job.fault
    status = "refused" if fault is not None and 400 <= fault.status < 500 and job.state == states.FAILED else \
        OUTCOME[job.state]
    return UsageRecord(
        rid=job.id, acct=job.acct, key=job.key, model=job.model, at_ms=job.at_ms, wire=job.wire, channel=job.channel,
        status=status, http_status=200 if fault is None else fault.status, usage=usage, price_rev=job.price_rev,
        cost_p=job.cost_p if job.state == states.STORED else 0, split=split, total_ms=ended_ms - job.at_ms,
        attempts=job.attempts, note="" if fault is None else fault.code)


def _used(job: Job) -> Usage:
    """What a job delivered."""
    if job.kind == "image":
        return Usage(images=len(job.kept), source=REPORTED)
    if job.kind == "voice":
        return Usage(voices=1, source=REPORTED)
    asked_ms = job.seconds * 1000
    return Usage(video_ms=asked_ms if job.billed_ms < 0 else min(job.billed_ms, asked_ms), source=REPORTED)
