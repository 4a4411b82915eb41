"""Cloned voices: made from a sample with a consent, kept with their account, spoken with only by it.

    processing --the provider has it--> ready        processing --refused, or its process died--> failed

How one is made, and charged, is its job's part (cloning.py); here it is found, spoken with, listed, deleted. The sample
lies on the media store under a key that nobody can guess, until the voice is deleted. Our id stands for (channel, the
provider's voice): speech with it goes to that channel, whatever else serves the model.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from smartoken.domain.audio import audio_ms, sniff_audio
from smartoken.domain.catalog import Model, Route
from smartoken.domain.job import Job
from smartoken.domain.media import key_of
from smartoken.engine import errand, generate
from smartoken.engine.errand import Unanswered
from smartoken.engine.generate import Order
from smartoken.errors import Refusal, refuse

log = logging.getLogger("smartoken.voices")

COLLECTION, WIRE, PATH = "voices", "openai.speech", "/v1/audio/voices"
PROCESSING, READY, FAILED = "processing", "ready", "failed"
OURS = "voice_"
SAMPLE_MAX = 10 << 20
SAMPLE_TYPES = ("audio/wav", "audio/mpeg", "audio/mp4")    # what every provider takes, and whose length can be told
SAMPLE_MS = (5_000, 300_000)
CONSENT_MAX = 4000
MOST_VOICES = 100        # of one account
CALL_S = 60
WAIT_S = 60              # how long a call waits for its voice; a provider that checks samples may take longer
FRESH_US = 3_000_000     # how long a voice is spoken with before the store is asked again: deletion is heard by then
MAKING_US = 200_000      # and one that is not ready, which it may be at any moment
IN_MEMORY = 10_000


class Voice(NamedTuple):
    """As stored. `voice` is the provider's; `consent` what was agreed to, `agreed_ms` when."""

    id: str
    acct: str
    name: str
    model: str
    channel: str
    voice: str
    state: str
    consent: str
    agreed_ms: int
    sample: str
    created_ms: int
    fault: str = ""
    rev: int = 1


class Voices:
    """One per process. Refusal for what a client did or an upstream said, StoreAway and MediaAway as they come."""

    def __init__(self, gateway: Any):
        self._gateway = gateway
        self._known: OrderedDict[str, tuple[Voice | None, int]] = OrderedDict()

    # -- for speech

    def find(self, id: str) -> Voice | None:
        """A voice that was read from the store a moment ago."""
        voice, until_us = self._known.get(id, (None, 0))
        return voice if self._gateway.clock.mono_us() < until_us else None

    async def fetch(self, id: str) -> Voice | None:
        """The same, from the store."""
        doc = await self._gateway.store.get(COLLECTION, id)
        voice = _voice(doc) if doc is not None else None
        if voice is not None:
            fresh_us = FRESH_US if voice.state == READY else MAKING_US
            self._known[id] = voice, self._gateway.clock.mono_us() + fresh_us
            self._known.move_to_end(id)
            if len(self._known) > IN_MEMORY:
                self._known.popitem(last=False)
        return voice

    def speak(self, id: str, acct: str, model: str) -> Voice:
        """The voice for an ask that was fetched; Refusal 404 for any but the account's own."""
        voice = self.find(id)
        if voice is None or voice.acct != acct:
            raise refuse("not_found", f"There is no voice '{id[:64]}'.", code="voice_not_found", param="voice")
        if voice.state != READY:
            raise refuse("invalid_request", f"The voice '{id}' is {voice.state}.", code=f"voice_{voice.state}",
                         param="voice")
        if voice.model != model:
            raise refuse("invalid_request", f"The voice '{id}' was made for the model '{voice.model}'.",
                         code="voice_model_mismatch", param="voice")
        return voice

    # -- for their account

    async def list(self, acct: str) -> list[Voice]:
        """An account's voices, oldest first."""
        rows = await self._gateway.store.find(COLLECTION, {"acct": acct}, limit=MOST_VOICES)
        return [_voice(row) for row in rows]

    async def own(self, id: str, acct: str) -> Voice:
        """One of them; Refusal 404 for any other."""
        voice = await self.fetch(id) if id.startswith(OURS) and len(id) < 64 else None
        if voice is None or voice.acct != acct:
            raise refuse("not_found", f"There is no voice '{id[:64]}'.", code="voice_not_found", param="voice")
        return voice

    def quote_u(self, order: Order) -> int:
        """µUSD that the voice would cost. Nothing is made. Refusal for what cannot be had."""
        model, _, held_u = generate.offer(self._gateway, order)
        if not routes_of(model):
            raise refuse("invalid_request", f"No voice can be made for the model '{model.slug}'.",
                         code="voices_not_served", param="model")
        return held_u

    async def begin(self, order: Order) -> Job:
        """The job of a voice that is made from now on, or was by an earlier call of the same Idempotency-Key."""
        self.quote_u(order)
        return await generate.begin(self._gateway.jobs, order, self._has_room)

    async def made(self, job: Job) -> tuple[Voice, Job]:
        """A voice and its job as they are when it has ended, or after WAIT_S. Refusal: why there is none."""
        job = await self._gateway.jobs.ended(job, WAIT_S)
        if job.ended and not job.delivered:
            raise generate.refusal_of(job)
        voice = await self.fetch(id_of(job))
        if voice is None and job.ended:
            raise refuse("not_found", f"The voice '{id_of(job)}' was deleted.", code="voice_not_found")
        return voice or _voice_of(job), job

    async def _has_room(self, order: Order) -> None:
        if len(await self.list(order.account.id)) >= MOST_VOICES:
            raise refuse("invalid_request", f"An account may have {MOST_VOICES} voices; delete one.",
                         code="too_many_voices")

    async def delete(self, id: str, acct: str) -> None:
        """At the provider first, then the sample, then here; whoever sees it fail may simply ask again."""
        voice = await self.own(id, acct)
        if voice.state == PROCESSING and not voice.voice:
            raise Refusal(409, "invalid_request_error", f"The voice '{id}' is being made; delete it when it is there.",
                          code="voice_processing", retry_after_s=2)
        channel = self._gateway.snapshots.current.channels.get(voice.channel)
        if voice.voice and channel is not None and channel.provider.voices is not None:
            maker = channel.provider.voices
            try:
                reply = await errand.send(self._gateway.pool, channel, maker, maker.remove(voice.voice), CALL_S)
            except Unanswered as error:
                log.warning("channel %s: %s", channel.name, error)
                raise refuse("upstream", "The upstream did not answer; try again.", code="upstream_failed",
                             retry_after_s=10) from None
            if reply.status >= 500:
                raise refuse("upstream", "The upstream could not delete the voice; try again.", code="upstream_failed",
                             retry_after_s=5)
            if reply.status >= 400 or maker.failure(reply.body) is not None:
                log.warning("%s: the channel %s did not delete it: %s", id, voice.channel, reply.body[:300])
        await self._gateway.media.remove(voice.sample)
        await self._gateway.store.remove(COLLECTION, id, voice.rev)
        self._known.pop(id, None)

    # -- for their job (cloning.py)

    async def note(self, job: Job, **changes: Any) -> None:
        """Write its voice down; with changes, change it, unless its account deleted it meanwhile."""
        if not changes:
            await self._gateway.store.insert(COLLECTION, _doc(_voice_of(job)))
            return
        while doc := await self._gateway.store.get(COLLECTION, id_of(job)):
            voice = _voice(doc)
            if await self._gateway.store.replace(COLLECTION, _doc(voice._replace(**changes, rev=voice.rev + 1)),
                                                 voice.rev):
                return


def id_of(job: Job) -> str:
    """The voice that a job makes."""
    return f"{OURS}{job.id}"


def routes_of(model: Model) -> Sequence[Route]:
    """The ways to a model's speech whose providers clone voices."""
    return [route for route in model.routes.get(WIRE, ()) if route.channel.provider.voices is not None]


def sample_key(job: Job) -> str:
    """Where a voice's sample lies on the media store."""
    return key_of(job.at_ms, job.word, 0, msgspec.json.decode(job.fields)["sample_type"])


def _voice_of(job: Job) -> Voice:
    fields = msgspec.json.decode(job.fields)
    return Voice(id_of(job), job.acct, fields["name"], job.model, "", "", PROCESSING, fields["consent"], job.at_ms,
                 sample_key(job), job.at_ms)


def checked(sample: bytes) -> str:
    """The sample's type; Refusal 400 or 413 that names what is allowed."""
    if len(sample) > SAMPLE_MAX:
        raise refuse("too_large", f"'audio_sample' must be at most {SAMPLE_MAX >> 20} MB.", param="audio_sample")
    content_type = sniff_audio(sample[:32])
    if content_type not in SAMPLE_TYPES:
        raise refuse("invalid_request", "'audio_sample' must be a WAV, MP3 or M4A recording.", param="audio_sample",
                     code="sample_type")
    length = audio_ms(sample)
    if length is None or not SAMPLE_MS[0] <= length <= SAMPLE_MS[1]:
        told = "its length cannot be told" if length is None else f"it lasts {length / 1000:g}"
        raise refuse("invalid_request", f"'audio_sample' must last from {SAMPLE_MS[0] // 1000} to "
                     f"{SAMPLE_MS[1] // 1000} seconds; {told}.", param="audio_sample", code="sample_length")
    return content_type


def _doc(voice: Voice) -> dict[str, Any]:
    fields = voice._asdict()
    return {"_id": fields.pop("id"), **fields}


def _voice(doc: dict[str, Any]) -> Voice:
    return Voice(doc["_id"], **{name: doc[name] for name in Voice._fields if name != "id" and name in doc})
