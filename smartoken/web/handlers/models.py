"""GET /v1/models and /v1/models/{slug}: public, from the snapshot, revalidated by ETag."""

import hashlib
from typing import Any

import msgspec

from smartoken.errors import refuse
from smartoken.web.app import ApiHandler

_AMOUNTS = {"type": "object", "additionalProperties": {"type": ["integer", "object"]}}
MODEL = {
    "type": "object", "required": ["id", "object", "created", "owned_by", "model_type", "pricing"], "properties": {
        "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"},
        "owned_by": {"type": "string"}, "model_type": {"type": "string"}, "pricing": _AMOUNTS,
        "video_price_per_second_by_resolution": _AMOUNTS, "available_sizes": {"type": "array"},
        "available_ratios": {"type": "array"}, "available_durations": {"type": "array"},
        "context_length": {"type": ["integer", "null"]}}}
LIST = {"type": "object", "required": ["object", "data"], "properties": {
    "object": {"const": "list"}, "data": {"type": "array", "items": MODEL}}}

OPENAPI = {
    "/v1/models": {"get": {"summary": "Models for sale", "tags": ["Models"], "security": [], "responses": {"200": {
        "description": "All listed models; prices in µUSD", "content": {"application/json": {"schema": LIST}}}}}},
    "/v1/models/{slug}": {"get": {"summary": "One model", "tags": ["Models"], "security": [], "responses": {"200": {
        "description": "The model", "content": {"application/json": {"schema": MODEL}}}}}},
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
