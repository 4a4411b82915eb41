"""Cloned voices of the caller's account: POST a sample (multipart), list them, read one, delete one. Both surfaces.

    POST /v1/audio/voices     name, audio_sample (or file), consent, model[, language] -> 201; `?quote=1`: what it
                              would cost, by its model alone; an Idempotency-Key makes it once
    GET /v1/audio/voices      GET /v1/audio/voices/{id}      DELETE /v1/audio/voices/{id}
"""

import asyncio
from typing import Any

import msgspec
from tornado.web import stream_request_body

from smartoken.domain.money import ceil_u
from smartoken.engine.admission import MAX_COST, limit_headers
from smartoken.engine.generate import Order
from smartoken.engine.repeat import same_of
from smartoken.engine.voices import CONSENT_MAX, PATH, SAMPLE_MAX, WIRE, Voice, checked
from smartoken.errors import MediaAway, Refusal, StoreAway, refuse
from smartoken.plugin.types import Ask, Part
from smartoken.web.app import ApiHandler
from smartoken.web.caller import caller_of
from smartoken.web.form import fields_of
from smartoken.web.schema import COUNT, STRING, TEXT, WORK_QUOTE, answer, list_of, ours

FORM_MAX = SAMPLE_MAX + (64 << 10)
NAME_MAX = 64

_FIELDS = {"id": TEXT, "object": {"const": "audio.voice"}, "name": TEXT, "model": TEXT, "consent": TEXT,
           "status": {"enum": ["processing", "ready", "failed"]}, "created_at": COUNT,
           "error": {"anyOf": [ours("", {"message": TEXT}), {"type": "null"}]}}
_VOICE = ours("Voice", _FIELDS)
_MADE = ours("VoiceMade", {**_FIELDS, "usage": ours("", {"cost_micro_usd": COUNT})}, "usage")
_FORM = {"type": "object", "required": ["name", "model", "consent", "audio_sample"], "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": NAME_MAX}, "model": {"type": "string", "minLength": 1},
    "consent": {"type": "string", "minLength": 1, "maxLength": CONSENT_MAX},
    "audio_sample": {"type": "string", "format": "binary"}, "language": STRING,
    MAX_COST: {"type": "integer", "minimum": 1}}, "title": "VoiceForm"}
_QUERY = [{"name": "quote", "in": "query", "schema": {"enum": ["1", "true"]},
           "description": "What it would cost, by `model` alone; nothing is made."},
          {"name": "cost", "in": "query", "schema": {"enum": ["1", "true"]}, "description": "usage.cost_micro_usd."},
          {"name": "Idempotency-Key", "in": "header", "description": "The same key and sample are one voice, for a day.",
           "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}}]
_EXAMPLE = {"id": "voice_0196f0c2a3b47d0e8f1a2b3c4d5e6f7", "object": "audio.voice", "name": "Mine", "model": "tts",
            "status": "ready", "consent": "It is my own voice.", "created_at": 1_700_000_000, "error": None}
_TOLD = {"tags": ["Audio"], "errors": ("key",)}
_ALL = {
    "get": {**_TOLD, "summary": "Your voices", "responses": answer(
        list_of("Voices", _VOICE), "All of them", {"object": "list", "data": [_EXAMPLE]})},
    "post": {"summary": "Clone a voice from a sample", "tags": ["Audio"], "errors": ("key", "model", "money", "clone"),
             "description": "WAV, MP3 or M4A of 5 to 300 seconds, with the consent of whoever speaks. Costs the model's "
                            "`per_voice`, once, when the voice exists.", "parameters": _QUERY,
             "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
             "responses": answer(_MADE, "The voice", _EXAMPLE, status="201") | answer(
                 WORK_QUOTE, "With ?quote=1: its price", {"object": "quote", "model": "tts", "cost_micro_usd": 1_500_000})}}
_EACH = {
    "get": {**_TOLD, "summary": "One voice", "errors": ("key", "voice"),
            "responses": answer(_VOICE, "The voice", _EXAMPLE)},
    "delete": {**_TOLD, "summary": "Delete a voice", "errors": ("key", "unmade"), "responses": answer(
        ours("VoiceDeleted", {"id": TEXT, "object": {"const": "audio.voice"}, "deleted": {"const": True}}), "It is gone",
        {"id": _EXAMPLE["id"], "object": "audio.voice", "deleted": True})}}
OPENAPI = {f"{base}/audio/voices{end}": operations for base in ("/v1", "/api/v1")
           for end, operations in (("", _ALL), ("/{id}", _EACH))}


class VoicesHandler(ApiHandler):
    """Who asks is known before a body is read."""

    def initialize(self, gateway: Any) -> None:
        self.gateway = gateway
        self.caller: Any = None
        self._parts: list[bytes] = []
        self._waiter: asyncio.Task | None = None

    async def prepare(self) -> None:
        if self.request.method == "POST":
            self.request.connection.set_max_body_size(FORM_MAX)
        gateway = self.gateway
        if not gateway.ready:
            raise refuse("upstream", "This node is going out of service.", code="not_ready", retry_after_s=1)
        self.caller = await caller_of(gateway, self.request)

    def data_received(self, chunk: bytes) -> None:
        self._parts.append(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(cause, StoreAway | MediaAway):
            away = refuse("upstream", "A store is away; try again shortly.", code="store_away", retry_after_s=2)
            kwargs["exc_info"] = (Refusal, away, None)
        super().write_error(status_code, **kwargs)


@stream_request_body
class Collection(VoicesHandler):
    """All of the account's."""

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        voices = await self.gateway.voices.list(self.caller[1].id)
        self.send({"object": "list", "data": [shown(voice) for voice in voices]})

    async def post(self) -> None:
        fields = fields_of(b"".join(self._parts), self.request.headers.get("Content-Type", ""))
        if self.get_query_argument("quote", "") in ("1", "true"):
            order = self._order(Ask(WIRE, _text(fields, "model", 128), False, b"", _cost_limit(fields)))
            self.send({"object": "quote", "model": order.ask.slug,
                       "cost_micro_usd": self.gateway.voices.quote_u(order)})
            return
        voices, order = self.gateway.voices, self._order(_ask(fields))
        try:
            job = await voices.begin(order)
        finally:
            self.tell(limit_headers(self.gateway.limiter, order.wants))
        self._waiter = asyncio.create_task(voices.made(job))
        try:
            voice, job = await self._waiter
        except asyncio.CancelledError:
            if not self._waiter.cancelled():
                raise
            return
        self.send(shown(voice) | ({"usage": {"cost_micro_usd": ceil_u(job.cost_p)}} if job.show_cost else {}), 201)

    def on_connection_close(self) -> None:
        """The client left: once it has begun, only the waiting ends, and the voice is among the account's."""
        if self._waiter is not None:
            self._waiter.cancel()

    def _order(self, ask: Ask) -> Order:
        key, account = self.caller
        same = same_of(ask, b"", self.request.headers.get("Content-Type", ""))
        return Order(self.rid, key, account, "voice", "openai.voices", PATH, ask, same,
                     repeat=self.request.headers.get("Idempotency-Key", ""),
                     show_cost=key.show_cost or self.get_query_argument("cost", "") in ("1", "true"))


@stream_request_body
class One(VoicesHandler):
    """One of them; another account's is not there."""

    async def get(self, id: str) -> None:
        self.set_header("Cache-Control", "no-store")
        self.send(shown(await self.gateway.voices.own(id, self.caller[1].id)))

    async def delete(self, id: str) -> None:
        await self.gateway.voices.delete(id, self.caller[1].id)
        self.send({"id": id, "object": "audio.voice", "deleted": True})


def shown(voice: Voice) -> dict[str, Any]:
    """A voice as its account sees it: neither its sample's address nor the channel."""
    return {"id": voice.id, "object": "audio.voice", "name": voice.name, "model": voice.model, "status": voice.state,
            "consent": voice.consent, "created_at": voice.created_ms // 1000,
            "error": {"message": voice.fault} if voice.fault else None}


def _ask(fields: dict[str, bytes]) -> Ask:
    """What a form says, checked; its recording as the only file."""
    sample = fields.get("audio_sample") or fields.get("file")
    if not sample:
        raise refuse("invalid_request", "'audio_sample' is required: a recording.", param="audio_sample")
    given = {"name": _text(fields, "name", NAME_MAX), "consent": _text(fields, "consent", CONSENT_MAX),
             "language": _text(fields, "language", 16) if fields.get("language") else ""}
    slug, content_type = _text(fields, "model", 128), checked(sample)
    given["sample_type"] = content_type
    raw = {name: msgspec.Raw(msgspec.json.encode(text)) for name, text in given.items()} | _cost_limit(fields)
    return Ask(WIRE, slug, False, b"", raw, files=(Part("audio_sample", "", content_type, sample),))


def _cost_limit(fields: dict[str, bytes]) -> dict[str, msgspec.Raw]:
    """The client's own limit of the cost as a field of JSON; whether it is a number, admission says."""
    return {MAX_COST: msgspec.Raw(fields[MAX_COST])} if fields.get(MAX_COST) else {}


def _text(fields: dict[str, bytes], name: str, most: int) -> str:
    try:
        text = fields.get(name, b"").decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > most:
        raise refuse("invalid_request", f"'{name}' is required: a text of at most {most} characters.", param=name)
    return text


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(rf"{base}/audio/voices{end}", handler, given) for base in ("/v1", "/api/v1")
            for end, handler in (("", Collection), (r"/([^/]+)", One))]
