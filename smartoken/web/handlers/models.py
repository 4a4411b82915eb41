"""GET /v1/models and /v1/models/{slug}: public, from the snapshot, revalidated by ETag."""

import hashlib
from typing import Any

import msgspec

from smartoken.errors import refuse
from smartoken.web.app import ApiHandler
from smartoken.web.schema import COUNT, PUBLIC, STRING, TEXT, amounts, answer, list_of, many, or_null, ours

_PRICING = {"title": "Pricing", "type": "object", "additionalProperties": False,
            "description": "µUSD per million tokens, per image, per million characters, per second of audio, per voice.",
            "required": ["input_per_mtok", "output_per_mtok", "cache_read_per_mtok", "per_image"],
            "properties": {**dict.fromkeys(("input_per_mtok", "output_per_mtok", "cache_read_per_mtok", "per_image",
                                            "per_mchar", "per_audio_second", "per_voice"), COUNT),
                           "per_image_by_size": amounts()}}
MODEL = ours("Model", {
    "id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": STRING,
    "model_type": {"enum": ["llm", "text2image", "text2video", "embedding", "speech", "transcription"]},
    "pricing": _PRICING, "video_price_per_second_by_resolution": amounts(), "available_sizes": many(STRING),
    "available_ratios": many(STRING), "available_durations": many(COUNT), "context_length": or_null("integer")})
_EXAMPLE = {"id": "deepseek-chat", "object": "model", "created": 1_700_000_000, "owned_by": "deepseek",
            "model_type": "llm", "pricing": {"input_per_mtok": 280_000, "output_per_mtok": 420_000,
                                             "cache_read_per_mtok": 28_000, "per_image": 0},
            "video_price_per_second_by_resolution": {}, "available_sizes": [], "available_ratios": [],
            "available_durations": [], "context_length": 128_000}

OPENAPI = {
    "/v1/models": {"get": {"summary": "Models for sale", "tags": ["Models"], "security": PUBLIC, "responses": answer(
        list_of("Models", MODEL), "All listed models; prices in µUSD", {"object": "list", "data": [_EXAMPLE]})}},
    "/v1/models/{slug}": {"get": {"summary": "One model", "tags": ["Models"], "security": PUBLIC, "errors": ("listed",),
                                  "responses": answer(MODEL, "The model", _EXAMPLE)}},
}


def routes(gateway: Any) -> list[tuple]:
    """Tornado's rows; `gateway.snapshots.current` is the catalog. A slug's slash may come plain or as %2F."""
    return [(r"/v1/models", ModelList, {"gateway": gateway}), (r"/v1/models/(.+)", OneModel, {"gateway": gateway})]


class _Public(ApiHandler):
    """For anybody; a client may keep the answer but must ask about it again: a price change shows within 3 s."""

    etag = ""

    def initialize(self, gateway: Any) -> None:
        self.gateway = gateway

    def compute_etag(self) -> str:
        return self.etag

    def answer(self, body: bytes, etag: str) -> None:
        self.etag = etag
        self.set_header("Cache-Control", "no-cache")
        self.finish(body)


class ModelList(_Public):
    def get(self) -> None:
        snapshot = self.gateway.snapshots.current
        self.answer(snapshot.models_json, snapshot.models_etag)


class OneModel(_Public):
    def get(self, slug: str) -> None:
        model = self.gateway.snapshots.current.models.get(slug)
        if model is None or not model.public:
            raise refuse("not_found", f"There is no model '{slug}'; GET /v1/models lists those there are.",
                         code="model_not_found", param="model")
        body = msgspec.json.encode(dict(model.public))
        self.answer(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
