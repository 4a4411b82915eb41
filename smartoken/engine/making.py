"""The upstream's part of a job: create it there once, ask for it until it is made, ask it to stop.

A channel's setting `poll_s` goes before the maker's own pace.

What the end of a create call means (a call is never made again once it may have been accepted):

| the call ended with                                | then                                                          |
|----------------------------------------------------|---------------------------------------------------------------|
| no byte sent (name, connect, TLS)                  | next channel                                                  |
| none made: its maker cannot say this there         | next channel; told to the client when no other was asked      |
| none made: the channel is at its own limit         | next channel; channels_full when no other was asked           |
| 200 and an id, or results                          | running, made                                                 |
| a refusal that is the request's own fault          | failed, told to the client                                    |
| another refusal that says so itself (a code)       | next channel                                                  |
| anything else: reset, time-out, a bare 5xx, HTML   | unknown where the work lives on upstream, lost where it does  |
|                                                    | not (a picture that was to come in the answer)                |
"""

import asyncio
import base64
import logging
import random
from typing import Any

from smartoken.domain import job as states
from smartoken.domain.catalog import Channel, Route
from smartoken.domain.job import Fault, Job, Link
from smartoken.domain.usage import Attempt
from smartoken.engine import admission, errand, generate, keeping, routing
from smartoken.engine.errand import Reply, Unanswered
from smartoken.engine.health import meaning_of, rest_s
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import (
    CALLER,
    CANCELED,
    FAILED,
    GONE,
    MADE,
    RETRY,
    RUNNING,
    Ask,
    Failure,
    Maker,
    Outgoing,
    Said,
)

log = logging.getLogger("smartoken.jobs")

SUBMIT_S = 60            # for a create call that answers with an id
PICTURE_S = 300          # for one that answers with the picture, at least
POLL_S = 30
APPEARS_MS = 60_000      # an upstream may not know its own work for so long after the create call
SLOWER_MS = 300_000      # polls are half as frequent for work that takes longer
POLLS_PER_S = 10         # per channel and process: upstreams allow about 20 in all
THREAD_BYTES = 256 << 10


class Paces:
    """Keeps the polls of one channel apart."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    async def wait(self, channel: str) -> None:
        """Until the channel's turn."""
        now = asyncio.get_running_loop().time()
        turn = self._next[channel] = max(now, self._next.get(channel, 0) + 1 / POLLS_PER_S)
        await asyncio.sleep(turn - now)


def maker_of(gateway: Any, channel: Channel, wire: str) -> Maker:
    """How this channel's provider does the work of a wire."""
    maker = channel.provider.makers.get(wire) or gateway.registry.wires[wire].maker
    if maker is None:
        raise RuntimeError(f"the provider {channel.provider.slug} has no maker for {wire}")
    return maker


# -- the create call

async def submit(jobs: Any, job: Job) -> None:
    """new -> sending -> …: try channels until one accepts, or the end is unclear."""
    gateway = jobs.gateway
    if not await generate.caught_up(jobs, job):
        return
    if why := generate.why_unsent(jobs, job):
        await _fail(jobs, job, why)
        return
    model = gateway.snapshots.current.models.get(job.model)
    routes = model.routes.get(job.wire, ()) if model else ()
    if job.pin:
        routes = [route for route in routes if route.channel.name == job.pin]
    ask, tried, asked, full_us, unsaid = generate.ask_of(jobs, job), [], 0, 0, None
    gateway.retries.request()
    while job.state == states.NEW:
        now_us = gateway.clock.mono_us()
        spent = asked >= routing.MAX_ATTEMPTS or (asked and not gateway.retries.retry(now_us))
        found = None if spent else routing.pick(gateway.health, job.model, routes, tried, now_us)
        if found is None:
            if not asked and (full_us or unsaid is not None):
                await _fail(jobs, job, admission.channels_full(job.model, full_us) if full_us else unsaid)
                return
            wait_s = routing.soonest_s(gateway.health, job.model, routes, now_us) if routes else 30
            wait_s = min(wait_s, admission.wait_s(full_us)) if full_us else wait_s
            await _fail(jobs, job, refuse("upstream", f"Every channel failed for the model '{job.model}'.",
                                          code="upstream_failed", retry_after_s=wait_s))
            return
        route = found[0]
        tried.append(route)
        try:
            outgoing = maker_of(gateway, route.channel, job.wire).submit(ask, route.upstream_name, route.path,
                                                                         route.channel.settings)
        except Refusal as refusal:
            unsaid = unsaid or refusal
            continue
        if wait_us := admission.take_request(gateway.limiter, route.channel):
            full_us = min(full_us or wait_us, wait_us)
            continue
        asked += 1
        await _try(jobs, job, ask, outgoing, *found)


async def _try(jobs: Any, job: Job, ask: Ask, outgoing: Outgoing, route: Route, health: Any) -> None:
    """Ask one channel."""
    gateway, channel = jobs.gateway, route.channel
    maker = maker_of(gateway, channel, job.wire)
    begun_us = gateway.clock.mono_us()
    await jobs.save(job, state=states.SENDING, channel=channel.name, upstream_name=route.upstream_name,
                    sent_ms=gateway.clock.now_ms())
    first_byte_s = SUBMIT_S if outgoing.lasting else max(PICTURE_S, channel.first_byte_s)
    gateway.health.began(health)
    reply = said = None
    try:
        reply = await errand.send(gateway.pool, channel, maker, outgoing, first_byte_s)
        said = await _read(maker, reply, ask)
        failure, meaning = said.failure or Failure("", code="no_answer"), RETRY
        if said.failure is not None:
            meaning = meaning_of(channel.provider, reply.status, said.failure)
        clear = reply.status < 500 or bool(said.failure and (said.failure.code or said.failure.type))
    except Unanswered as error:
        failure, meaning, clear = Failure(error.detail, code=error.kind), RETRY, not error.sent
    finally:
        gateway.health.ended(health)
    now_us = gateway.clock.mono_us()
    good = said is not None and said.state in (RUNNING, MADE)
    attempt = Attempt(channel.name, "ok" if good else failure.code or failure.type or meaning,
                      reply.status if reply else 0, (now_us - begun_us) // 1000)
    attempts = [*job.attempts, attempt]
    if good:
        gateway.health.succeeded(route, health, now_us, now_us - begun_us)
        await _accepted(jobs, job, said, attempts)
        return
    gateway.health.failed(route, health, now_us, meaning, rest_s(reply.header(b"retry-after")) if reply else None,
                          failure.message)
    log.info("%s: channel %s: %s", job.id, channel.name, failure.code or failure.message)
    if not clear or (said is not None and said.state == GONE):
        await _unclear(jobs, job, outgoing.lasting, attempts)
    elif meaning == CALLER:
        await jobs.save(job, state=states.FAILED, attempts=attempts, fault=fault_of(failure, reply.status))
    else:
        await jobs.save(job, state=states.NEW, attempts=attempts)


async def _read(maker: Maker, reply: Reply, ask: Ask) -> Said:
    """The reply as the maker reads it; a refusal as FAILED, an answer that is none as GONE."""
    if reply.status != 200 and not 200 <= reply.status < 300:
        return Said(FAILED, failure=maker.failure(reply.body))
    try:
        if len(reply.body) > THREAD_BYTES:
            return await asyncio.to_thread(maker.read, reply.body, ask)
        return maker.read(reply.body, ask)
    except (ValueError, KeyError, TypeError, AttributeError) as error:   # msgspec's errors are ValueErrors
        return Said(GONE, failure=Failure(f"The upstream's answer cannot be read: {error}", code="not_readable"))


async def _accepted(jobs: Any, job: Job, said: Said, attempts: list[Attempt]) -> None:
    if said.state == RUNNING:
        await jobs.save(job, state=states.RUNNING, upstream_id=said.upstream_id, attempts=attempts)
        return
    await made(jobs, job, said, attempts=attempts)


async def made(jobs: Any, job: Job, said: Said, **more: Any) -> None:
    """The upstream is done: its links into the job, or what it sent in the answer straight into our store."""
    results = [result for result in said.results if result.url or result.data]
    if not results:
        why = next((result.failure for result in said.results if result.failure), "")
        await jobs.save(job, state=states.FAILED, **more,
                        fault=Fault("upstream_error", why or "The upstream delivered nothing.", "nothing_delivered",
                                    503))
        return
    more |= {"billed_ms": -1 if said.video_ms is None else said.video_ms, "tokens": dict(said.tokens or {})}
    if any(result.data for result in results):
        sent = [(lambda data=result.data: _decoded(data), result.note) for result in results[:job.images]]
        await keeping.keep_sent(jobs, job, sent, **more)
        return
    links = [Link(result.url, result.note) for result in results[:max(1, job.images)]]
    await jobs.save(job, state=states.MADE, links=links, **more)


async def _decoded(data: bytes):
    """Base64 in pieces, so that a large picture does not hold up the loop."""
    step = 512 << 10  # a multiple of four
    for at in range(0, len(data), step):
        yield base64.b64decode(data[at:at + step])
        await asyncio.sleep(0)


async def unclear(jobs: Any, job: Job) -> None:
    """sending, but its process is gone: whether the upstream accepted nobody knows."""
    gateway = jobs.gateway
    channel = gateway.snapshots.current.channels.get(job.channel)
    lasting = True
    if channel is not None:
        route_path = channel.wires.get(job.wire, "/")
        try:
            lasting = maker_of(gateway, channel, job.wire).submit(
                generate.ask_of(jobs, job), job.upstream_name, route_path, channel.settings).lasting
        except Refusal:
            lasting = True
    await _unclear(jobs, job, lasting, job.attempts)


async def _unclear(jobs: Any, job: Job, lasting: bool, attempts: list[Attempt]) -> None:
    fault = Fault("upstream_error", "The call to the upstream ended unclear; it is not made again, and nothing is "
                  "charged for it.", "upstream_unclear", 503)
    log.warning("%s: the create call to %s ended unclear", job.id, job.channel)
    await jobs.save(job, state=states.UNKNOWN if lasting else states.LOST, fault=fault, attempts=attempts,
                    ended_ms=jobs.clock.now_ms())


def _known_maker(jobs: Any, job: Job) -> Maker | None:
    """How the job's upstream is asked; None when its channel is not in the catalog, or its plugin not installed."""
    gateway = jobs.gateway
    channel = gateway.snapshots.current.channels.get(job.channel)
    if channel is None:
        return None
    wire = gateway.registry.wires.get(job.wire)
    return channel.provider.makers.get(job.wire) or (wire.maker if wire is not None else None)


def _lives_ms(maker: Maker | None) -> int:
    """How long after the create call an upstream knows its work at most; of one that cannot be asked a day."""
    return (maker.lives_h if maker is not None else 24) * 3_600_000


async def forget(jobs: Any, job: Job) -> None:
    """unknown: leave it alone until a person has looked into it, or the upstream cannot know it any more."""
    due_ms = job.sent_ms + _lives_ms(_known_maker(jobs, job))
    if jobs.clock.now_ms() < due_ms:
        await jobs.save(job, owner="", until_ms=due_ms)
    else:
        await jobs.save(job, state=states.LOST)


# -- polling

async def poll(jobs: Any, job: Job) -> None:
    """running -> …: ask at the maker's pace until the upstream says how it ended, or cannot know any more."""
    gateway, first, delay_s = jobs.gateway, True, 0.0
    while job.state == states.RUNNING:
        channel, maker = gateway.snapshots.current.channels.get(job.channel), _known_maker(jobs, job)
        age_ms = jobs.clock.now_ms() - job.sent_ms
        if age_ms > _lives_ms(maker):
            await jobs.save(job, state=states.LOST, fault=Fault("upstream_error", "The upstream never finished this.",
                                                                "upstream_lost", 503))
            return
        if maker is None:                       # its channel or plugin was taken away: perhaps it comes back
            await asyncio.sleep(POLL_S)
            continue
        pace_s = channel.settings.get("poll_s") or maker.pace_s[0 if first and age_ms < 1000 * maker.pace_s[0] else 1]
        pace_s *= 2 if age_ms > SLOWER_MS else 1
        await asyncio.sleep(max(delay_s, pace_s * random.uniform(0.8, 1.2)))
        first = False
        await jobs.paces.wait(channel.name)
        try:
            reply = await errand.send(gateway.pool, channel, maker, maker.poll(job.upstream_id), POLL_S)
            said = await _read(maker, reply, generate.ask_of(jobs, job))
        except Unanswered as error:
            log.info("%s: poll of %s: %s", job.id, job.channel, error)
            delay_s = min(60, max(pace_s, delay_s * 2))
            continue
        delay_s = await _hear(jobs, job, reply, said, max(pace_s, delay_s * 2))


async def _hear(jobs: Any, job: Job, reply: Reply, said: Said, again_s: float) -> float:
    """What a poll's answer changes; seconds to wait at least before the next, `again_s` if it was none."""
    if reply.status == 404:
        said = Said(GONE)
    elif reply.status >= 300 or (said.state == GONE and said.failure is not None):
        asked_s = rest_s(reply.header(b"retry-after"))
        return min(60, again_s if asked_s is None else asked_s)
    if said.state == RUNNING:
        if job.missing:
            await jobs.save(job, missing=False)
    elif said.state == MADE:
        await made(jobs, job, said)
    elif said.state == FAILED:
        await jobs.save(job, state=states.FAILED, fault=fault_of(said.failure or Failure("The upstream failed."), 200))
    elif said.state == CANCELED:
        await jobs.save(job, state=states.CANCELED, fault=Fault("invalid_request_error", "The job was canceled.",
                                                                "job_canceled", 409))
    elif job.missing and jobs.clock.now_ms() - job.sent_ms > APPEARS_MS:
        await jobs.save(job, state=states.LOST, fault=Fault("upstream_error", "The upstream does not know this any "
                                                            "more.", "upstream_lost", 503))
    elif not job.missing:
        await jobs.save(job, missing=True)
    return 0.0


async def cancel(jobs: Any, job: Job) -> None:
    """Ask the upstream to stop a job; the poll sees whether it did. Refusal 409 when it cannot be stopped."""
    gateway = jobs.gateway
    channel = gateway.snapshots.current.channels.get(job.channel)
    if channel is None:                         # not heard of yet, or taken out of the catalog
        raise refuse("upstream", f"The channel '{job.channel}' is not known here at the moment.", code="no_channel",
                     retry_after_s=3)
    maker = maker_of(gateway, channel, job.wire)
    if job.state != states.RUNNING or maker.cancel is None:
        raise Refusal(409, "invalid_request_error", f"A job in the state '{job.state}' cannot be canceled.",
                      code="not_cancelable")
    try:
        # A look first: an upstream may take the call for "forget it" when the work has begun.
        reply = await errand.send(gateway.pool, channel, maker, maker.poll(job.upstream_id), POLL_S)
        said = await _read(maker, reply, generate.ask_of(jobs, job))
        if not said.waiting:
            raise Refusal(409, "invalid_request_error", "The upstream has begun, so this cannot be canceled any more.",
                          code="not_cancelable")
        reply = await errand.send(gateway.pool, channel, maker, maker.cancel(job.upstream_id), POLL_S)
    except Unanswered:
        raise refuse("upstream", "The upstream did not answer; try again.", code="upstream_failed",
                     retry_after_s=5) from None
    if reply.status >= 300:
        message = maker.failure(reply.body).message or "The upstream does not stop it any more."
        raise Refusal(409, "invalid_request_error", message, code="not_cancelable")


# -- failures

def fault_of(failure: Failure, status: int) -> Fault:
    """An upstream's failure as the client is told: its own 4xx about the request, else 503; moderation is a 400."""
    status = failure.status or (status if 400 <= status < 500 else 0)
    text = f"{failure.code} {failure.type}".lower().replace("_", "")
    if any(sign in text for sign in ("inspection", "policy", "sensitive", "moderation", "infringement")):
        return Fault("invalid_request_error", failure.message or "The upstream's content policy refused this.",
                     "content_policy_violation", 400)
    if status in (400, 404, 413, 415, 422):
        return Fault("invalid_request_error", failure.message or "The upstream refused the request.", failure.code,
                     status)
    if "invalidparameter" in text or "invalidrequest" in text:
        return Fault("invalid_request_error", failure.message, failure.code, 400)
    return Fault("upstream_error", failure.message or "The upstream failed.", failure.code or "upstream_failed", 503)


async def _fail(jobs: Any, job: Job, refusal: Refusal) -> None:
    await jobs.save(job, state=states.FAILED, fault=generate.fault_of(refusal))
