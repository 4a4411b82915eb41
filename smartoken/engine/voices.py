"""Cloned voices: made from a sample with a consent, kept with their account, spoken with only by it.

    processing --the provider has it--> ready        processing --refused, or its process died--> failed

The sample lies on the media store under a key that nobody can guess, until the voice is deleted. Our id stands for
(channel, the provider's voice): speech with it goes to that channel, whatever else serves the model.
"""

import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from smartoken.domain.audio import AUDIO, audio_ms, sniff_audio
from smartoken.domain.catalog import Route
from smartoken.domain.media import key_of
from smartoken.domain.trace import new_rid
from smartoken.engine import admission, errand, routing
from smartoken.engine.errand import Unanswered
from smartoken.engine.health import meaning_of, rest_s
from smartoken.errors import Refusal, refuse
from smartoken.plugin.types import CALLER, RETRY, Failure, Outgoing, Sample

log = logging.getLogger("smartoken.voices")

COLLECTION, WIRE = "voices", "openai.speech"
PROCESSING, READY, FAILED = "processing", "ready", "failed"
OURS = "voice_"
SAMPLE_MAX = 10 << 20
SAMPLE_TYPES = ("audio/wav", "audio/mpeg", "audio/mp4")    # what every provider takes, and whose length can be told
SAMPLE_MS = (5_000, 300_000)
CONSENT_MAX = 4000
MOST_VOICES = 100        # of one account
CALL_S = 60
DIED_MS = 600_000        # a voice without the provider's name after so long was begun by a process that died
FRESH_US = 3_000_000     # how long a voice is spoken with before the store is asked again: deletion is heard by then
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
        if voice is not None and voice.state == PROCESSING:
            voice = await self._look(voice)
        if voice is not None:
            self._known[id] = voice, self._gateway.clock.mono_us() + FRESH_US
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

    async def create(self, key: Any, acct: str, model: str, name: str, sample: bytes, consent: str,
                     language: str) -> Voice:
        """Check and keep the sample, note the consent, clone the voice."""
        route = self._route(key, model)
        content_type = _checked(sample)
        if len(await self.list(acct)) >= MOST_VOICES:
            raise refuse("invalid_request", f"An account may have {MOST_VOICES} voices; delete one.",
                         code="too_many_voices")
        gateway, now_ms = self._gateway, self._gateway.clock.now_ms()
        media_key = key_of(now_ms, secrets.token_hex(16), 0, content_type)
        await gateway.media.put(media_key, _once(sample), content_type)
        voice = Voice(f"{OURS}{new_rid()}", acct, name, model, route.channel.name, "", PROCESSING, consent, now_ms,
                      media_key, now_ms)
        await gateway.store.insert(COLLECTION, _doc(voice))
        url = gateway.media.url(media_key)
        url = f"{gateway.conf.base_url}{url}" if url.startswith("/") else url
        given = Sample(name, sample, content_type, f"sample.{AUDIO[content_type]}", url, language)
        try:
            theirs = await self._clone(route, given)
        except Refusal as refusal:
            await self._save(voice._replace(state=FAILED, fault=refusal.message))
            raise
        slow = route.channel.provider.voices.state is not None
        return await self._save(voice._replace(voice=theirs, state=PROCESSING if slow else READY))

    async def delete(self, id: str, acct: str) -> None:
        """At the provider first, then the sample, then here; whoever sees it fail may simply ask again."""
        voice = await self.own(id, acct)
        channel = self._gateway.snapshots.current.channels.get(voice.channel)
        if voice.voice and channel is not None and channel.provider.voices is not None:
            maker = channel.provider.voices
            reply = await self._send(channel, maker, maker.remove(voice.voice))
            if reply.status >= 500:
                raise refuse("upstream", "The upstream could not delete the voice; try again.", code="upstream_failed",
                             retry_after_s=5)
            if reply.status >= 400 or maker.failure(reply.body) is not None:
                log.warning("%s: the channel %s did not delete it: %s", id, voice.channel, reply.body[:300])
        await self._gateway.media.remove(voice.sample)
        await self._gateway.store.remove(COLLECTION, id, voice.rev)
        self._known.pop(id, None)

    # -- the provider

    def _route(self, key: Any, slug: str) -> Route:
        gateway = self._gateway
        model = admission.model_for(gateway.snapshots.current, key, slug)
        routes = [route for route in model.routes.get(WIRE, ()) if route.channel.provider.voices is not None]
        if not routes:
            raise refuse("invalid_request", f"No voice can be made for the model '{slug}'.", code="voices_not_served",
                         param="model")
        found = routing.pick(gateway.health, slug, routes, (), gateway.clock.mono_us())
        if found is None:
            raise refuse("upstream", f"No channel for the model '{slug}' can be asked at the moment.",
                         code="upstream_failed", retry_after_s=5)
        return found[0]

    async def _clone(self, route: Route, sample: Sample) -> str:
        channel, maker = route.channel, route.channel.provider.voices
        steps = maker.clone(sample, route.upstream_name, channel.settings)
        body: bytes | None = None
        while True:
            try:
                outgoing = next(steps) if body is None else steps.send(body)
            except StopIteration as end:
                return end.value
            reply = await self._send(channel, maker, outgoing)
            failure = maker.failure(reply.body)
            if reply.status >= 400 or failure is not None:
                self._failed(route, reply, failure or Failure(""))
            body = reply.body

    def _failed(self, route: Route, reply: Any, failure: Failure) -> None:
        """Always a Refusal; what is the channel's own trouble counts against it as anywhere."""
        gateway, channel = self._gateway, route.channel
        meaning = meaning_of(channel.provider, reply.status, failure)
        health = gateway.health.of(route, route.upstream_name)
        gateway.health.failed(route, health, gateway.clock.mono_us(), meaning, rest_s(reply.header(b"retry-after")),
                              failure.message)
        if meaning == CALLER:
            status = reply.status if reply.status >= 400 else 400
            raise Refusal(status, "invalid_request_error", failure.message or "The upstream refused the sample.",
                          code=failure.code or None)
        raise refuse("upstream", "The voice could not be made at the moment.", code="upstream_failed", retry_after_s=10)

    async def _look(self, voice: Voice) -> Voice:
        """Has the provider finished meanwhile? A voice that its process lost has failed."""
        gateway = self._gateway
        channel = gateway.snapshots.current.channels.get(voice.channel)
        if not voice.voice:
            if gateway.clock.now_ms() - voice.created_ms < DIED_MS:
                return voice
            return await self._save(voice._replace(state=FAILED, fault="It was never finished; delete it."))
        maker = channel.provider.voices if channel is not None else None
        if maker is None or maker.state is None:
            return voice
        try:
            reply = await self._send(channel, maker, maker.state(voice.voice))
        except Refusal:
            return voice
        if reply.status != 200 or maker.failure(reply.body) is not None:
            return voice
        state = maker.read_state(reply.body)
        if state == PROCESSING:
            return voice
        return await self._save(voice._replace(state=state, fault="" if state == READY else "The provider refused it."))

    async def _send(self, channel: Any, maker: Any, outgoing: Outgoing) -> Any:
        try:
            return await errand.send(self._gateway.pool, channel, maker, outgoing, CALL_S)
        except Unanswered as error:
            log.warning("channel %s: %s", channel.name, error)
            raise refuse("upstream", "The upstream did not answer.", code=RETRY, retry_after_s=10) from None

    async def _save(self, voice: Voice) -> Voice:
        """Write it over its revision; whoever was quicker stands."""
        new = voice._replace(rev=voice.rev + 1)
        if await self._gateway.store.replace(COLLECTION, _doc(new), voice.rev):
            return new
        doc = await self._gateway.store.get(COLLECTION, voice.id)
        if doc is None:
            raise refuse("not_found", f"There is no voice '{voice.id}'.", code="voice_not_found", param="voice")
        return _voice(doc)


def _checked(sample: bytes) -> str:
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


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _doc(voice: Voice) -> dict[str, Any]:
    fields = voice._asdict()
    return {"_id": fields.pop("id"), **fields}


def _voice(doc: dict[str, Any]) -> Voice:
    return Voice(doc["_id"], **{name: doc[name] for name in Voice._fields if name != "id" and name in doc})
