"""A cloned voice as a job: the provider is asked once, and the price is charged when the voice exists, else never.

What the end of a call means is said in making.py's table, but that an unclear one is always lost: the name of a voice
that there may be is not known to anybody, so nothing is charged.

    sending -> stored               the provider named the voice
    sending -> running -> stored    it checks the sample first: it is asked until it says how that ended
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

from smartoken.domain import job as states
from smartoken.domain.audio import AUDIO
from smartoken.domain.catalog import Route
from smartoken.domain.job import Fault, Job, cost_p
from smartoken.domain.usage import Attempt
from smartoken.engine import admission, closing, errand, generate, making, routing, voices
from smartoken.engine.errand import Reply, Unanswered
from smartoken.engine.health import meaning_of, rest_s
from smartoken.errors import MediaAway, Refusal, refuse
from smartoken.plugin.types import CALLER, RETRY, Failure, Sample

log = logging.getLogger("smartoken.voices")

CALL_S = 60
PACE_S, PACE_MOST_S = 0.5, 30.0    # between two looks at a voice that its provider still checks
LIVES_MS = 24 * 3600 * 1000        # past this the provider never said


class _Ended(NamedTuple):
    """How the calls of a clone ended: `voice` is the provider's, else a failure. `clear`: it surely made none."""

    voice: str = ""
    failure: Failure = Failure("", code="no_answer")
    meaning: str = RETRY
    clear: bool = True
    reply: Reply | None = None


async def submit(jobs: Any, job: Job) -> None:
    """new -> sending -> …: note the voice, keep its sample, try channels until one takes it or the end is unclear."""
    if not await generate.caught_up(jobs, job):
        return
    if why := generate.why_unsent(jobs, job):
        await _fail(jobs, job, generate.fault_of(why))
        return
    ask, gateway = generate.ask_of(jobs, job), jobs.gateway
    await gateway.voices.note(job)
    try:
        await gateway.media.put(voices.sample_key(job), _once(ask.files[0].data), ask.files[0].content_type)
    except MediaAway:
        away = refuse("upstream", "The media store is away; try again shortly.", code="store_away", retry_after_s=2)
        await _fail(jobs, job, generate.fault_of(away))
        return
    sample = _sample(jobs, job, ask.files[0])
    tried: list[Route] = []
    asked = full_us = 0
    while job.state == states.NEW:
        model = gateway.snapshots.current.models.get(job.model)
        routes, now_us = voices.routes_of(model) if model else (), gateway.clock.mono_us()
        found = routing.pick(gateway.health, job.model, routes, tried, now_us) if asked < routing.MAX_ATTEMPTS else None
        if found is None:
            wait_s = routing.soonest_s(gateway.health, job.model, routes, now_us) if routes else 30
            wait_s = min(wait_s, admission.wait_s(full_us)) if full_us else wait_s
            nobody = refuse("upstream", "The voice could not be made at the moment.", code="upstream_failed",
                            retry_after_s=wait_s)
            full = full_us and not asked
            await _fail(jobs, job, generate.fault_of(admission.channels_full(job.model, full_us) if full else nobody))
            return
        tried.append(found[0])
        if wait_us := admission.take_request(gateway.limiter, found[0].channel):
            full_us = min(full_us or wait_us, wait_us)
            continue
        asked += 1
        await _try(jobs, job, sample, *found)


async def _try(jobs: Any, job: Job, sample: Sample, route: Route, health: Any) -> None:
    gateway, channel = jobs.gateway, route.channel
    begun_us = gateway.clock.mono_us()
    await jobs.save(job, state=states.SENDING, channel=channel.name, upstream_name=route.upstream_name,
                    sent_ms=gateway.clock.now_ms())
    gateway.health.began(health)
    try:
        ended = await _clone(gateway, route, sample)
    except Refusal as refusal:                  # the provider's plugin cannot do it, or could not read the answer
        await _fail(jobs, job, generate.fault_of(refusal))
        return
    finally:
        gateway.health.ended(health)
    now_us, status = gateway.clock.mono_us(), ended.reply.status if ended.reply else 0
    failure = ended.failure
    result = "ok" if ended.voice else failure.code or failure.type or ended.meaning
    attempts = [*job.attempts, Attempt(channel.name, result, status, (now_us - begun_us) // 1000)]
    if ended.voice:
        gateway.health.succeeded(route, health, now_us, now_us - begun_us)
        if channel.provider.voices.state is None:
            await _made(jobs, job, upstream_id=ended.voice, attempts=attempts)
        else:
            await jobs.save(job, state=states.RUNNING, upstream_id=ended.voice, attempts=attempts)
        return
    waits_s = rest_s(ended.reply.header(b"retry-after")) if ended.reply else None
    gateway.health.failed(route, health, now_us, ended.meaning, waits_s, failure.message)
    log.info("%s: channel %s: %s", job.id, channel.name, result)
    if not ended.clear:
        await unclear(jobs, job, attempts=attempts)
    elif ended.meaning == CALLER:
        await _fail(jobs, job, making.fault_of(failure, status), attempts=attempts)
    else:
        await jobs.save(job, state=states.NEW, attempts=attempts)


async def _clone(gateway: Any, route: Route, sample: Sample) -> _Ended:
    """Every call that the provider's plugin asks for, in turn."""
    channel, maker = route.channel, route.channel.provider.voices
    steps = maker.clone(sample, route.upstream_name, channel.settings)
    body: bytes | None = None
    while True:
        try:
            outgoing = next(steps) if body is None else steps.send(body)
        except StopIteration as end:
            return _Ended(voice=end.value)
        try:
            reply = await errand.send(gateway.pool, channel, maker, outgoing, CALL_S)
        except Unanswered as error:
            return _Ended(failure=Failure(error.detail, code=error.kind), clear=not error.sent)
        failure = maker.failure(reply.body)
        if reply.status >= 400 or failure is not None:
            failure = failure or Failure("")
            return _Ended(failure=failure, meaning=meaning_of(channel.provider, reply.status, failure), reply=reply,
                          clear=reply.status < 500 or bool(failure.code or failure.type))
        body = reply.body


async def unclear(jobs: Any, job: Job, **more: Any) -> None:
    """sending, and nobody can tell whether there is a voice now: none for the client, and nothing to pay."""
    await _fail(jobs, job, Fault("upstream_error", "The call to the upstream ended unclear; nothing is charged for it.",
                                 "upstream_unclear", 503), states.LOST, **more)


async def look(jobs: Any, job: Job) -> None:
    """running -> …: ask until the provider says whether the voice may be used, or its account deleted it."""
    gateway, pause_s = jobs.gateway, PACE_S
    await gateway.voices.note(job, channel=job.channel, voice=job.upstream_id)
    while job.state == states.RUNNING:
        channel = gateway.snapshots.current.channels.get(job.channel)
        said = await _state(gateway, channel, job) if channel is not None else voices.PROCESSING
        if said == voices.READY:
            await _made(jobs, job)
        elif said == voices.FAILED:
            await _fail(jobs, job, Fault("invalid_request_error", "The provider refused the sample.", "voice_refused",
                                         400))
        elif await gateway.voices.fetch(voices.id_of(job)) is None:
            await jobs.save(job, state=states.CANCELED, fault=Fault("invalid_request_error", "The voice was deleted.",
                                                                    "voice_deleted", 409))
        elif jobs.clock.now_ms() - job.sent_ms > LIVES_MS:
            await _fail(jobs, job, Fault("upstream_error", "The upstream never finished this.", "upstream_lost", 503),
                        states.LOST)
        else:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, PACE_MOST_S)


async def _state(gateway: Any, channel: Any, job: Job) -> str:
    maker = channel.provider.voices
    if maker is None or maker.state is None:    # another provider's channel by now
        return voices.PROCESSING
    try:
        reply = await errand.send(gateway.pool, channel, maker, maker.state(job.upstream_id), CALL_S)
    except Unanswered as error:
        log.info("%s: channel %s: %s", job.id, channel.name, error)
        return voices.PROCESSING
    if reply.status != 200 or maker.failure(reply.body) is not None:
        return voices.PROCESSING
    return maker.read_state(reply.body)


async def deliver(jobs: Any, job: Job) -> None:
    """stored -> done: the account may speak with it, and pays."""
    await jobs.gateway.voices.note(job, channel=job.channel, voice=job.upstream_id, state=voices.READY)
    await closing.close(jobs, job)


async def _made(jobs: Any, job: Job, **changes: Any) -> None:
    await jobs.save(job, state=states.STORED, cost_p=cost_p(job, None), **changes)


async def _fail(jobs: Any, job: Job, fault: Fault, state: str = states.FAILED, **changes: Any) -> None:
    """The voice says so before the job does: whoever waits for the job sees both."""
    await jobs.gateway.voices.note(job, state=voices.FAILED, fault=fault.message)
    await jobs.save(job, state=state, fault=fault, **changes)


def _sample(jobs: Any, job: Job, part: Any) -> Sample:
    url = jobs.gateway.media.url(voices.sample_key(job))
    url = f"{jobs.gateway.conf.base_url}{url}" if url.startswith("/") else url
    fields = msgspec.json.decode(job.fields)
    return Sample(fields["name"], part.data, part.content_type, f"sample.{AUDIO[part.content_type]}", url,
                  fields["language"])


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


STEPS = {states.NEW: submit, states.SENDING: unclear, states.RUNNING: look, states.STORED: deliver}
