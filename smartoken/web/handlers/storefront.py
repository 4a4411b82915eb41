"""GET /api/v1/models and /api/v1/storefront/…: what a shop needs to show the catalog, for anybody."""

from typing import Any

from smartoken.engine.storefront import ORDERS, etag_of
from smartoken.errors import Refusal, refuse
from smartoken.web.public import PublicHandler

MOST, USUAL = 100, 20    # listings of one page


_TEXT, _NUMBER = {"type": "string"}, {"type": "number", "minimum": 0}
_ROW = {"type": "object", "required": [
    "id", "object", "owned_by", "displayName", "description", "kind", "saleInputMicroUsdPerToken",
    "saleOutputMicroUsdPerToken", "currency", "modality", "isActive", "created"], "properties": {
        "id": _TEXT, "object": {"const": "model"}, "owned_by": _TEXT, "displayName": _TEXT, "description": _TEXT,
        "kind": _TEXT, "saleInputMicroUsdPerToken": _NUMBER, "saleOutputMicroUsdPerToken": _NUMBER,
        "currency": {"const": "USD"}, "modality": _TEXT, "isActive": {"const": True}, "created": {"type": "integer"}}}
_CATEGORY = {"type": "object", "required": ["slug", "title", "listings"], "properties": {
    "slug": _TEXT, "title": _TEXT, "description": _TEXT, "image": {"type": ["string", "null"]},
    "order": {"type": "integer"}, "listings": {"type": "integer", "minimum": 0}}}
_LISTING = {"type": "object", "required": ["slug", "title", "category", "model", "pricing", "kind"], "properties": {
    "slug": _TEXT, "title": _TEXT, "summary": _TEXT, "image": {"type": ["string", "null"]}, "kind": _TEXT,
    "tags": {"type": "array", "items": _TEXT}, "featured": {"type": "boolean"}, "pricing": {"type": "object"}}}


def _shows(summary: str, schema: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    """A public GET with an ETag."""
    return {"get": {"summary": summary, "tags": ["Storefront"], "security": [], "parameters": list(parameters),
                    "responses": {"200": {"description": summary, "headers": {"ETag": {"schema": _TEXT}},
                                          "content": {"application/json": {"schema": schema}}},
                                  "304": {"description": "You have it already (If-None-Match)"}}}}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["object", "data"], "properties": {
        "object": {"const": "list"}, "data": {"type": "array", "items": item}}}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


OPENAPI = {
    "/api/v1/models": _shows("Models for sale", _list_of(_ROW)),
    "/api/v1/models/{slug}": _shows("One model", _ROW),
    "/api/v1/storefront/categories": _shows("Categories, in their order", _list_of(_CATEGORY)),
    "/api/v1/storefront/listings": _shows(
        "Listings", _list_of(_LISTING), _query("category", _TEXT), _query("tag", _TEXT), _query("kind", _TEXT),
        _query("order", {"enum": list(ORDERS)}), _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST}),
        _query("offset", {"type": "integer", "minimum": 0})),
    "/api/v1/storefront/listings/{slug}": _shows("One listing, with its model", _LISTING),
}

class Models(PublicHandler):
    """Every active model that is listed, as the reference document shows it."""

    def get(self) -> None:
        shop = self.gateway.snapshots.current.shop
        self.show(shop.models, shop.models_etag)


class OneModel(PublicHandler):
    """One of them."""

    def get(self, slug: str) -> None:
        row = self.gateway.snapshots.current.shop.model_rows.get(slug)
        if row is None:
            raise refuse("not_found", f"There is no model '{slug[:200]}'.", code="model_not_found", param="model")
        self.show(row, etag_of(row))


class Categories(PublicHandler):
    """All active categories, in their order."""

    def get(self) -> None:
        shop = self.gateway.snapshots.current.shop
        self.show(shop.categories, etag_of(shop.categories))


class Listings(PublicHandler):
    """?category=&tag=&kind=&order=&limit=&offset="""

    def get(self) -> None:
        shop = self.gateway.snapshots.current.shop
        category, order = self.get_query_argument("category", ""), self.get_query_argument("order", "default")
        if order not in ORDERS:
            raise _bad(f"'order' must be one of {', '.join(ORDERS)}.", "order")
        if category and category not in shop.known:
            raise refuse("not_found", f"There is no category '{category[:64]}'.", code="category_not_found",
                         param="category")
        body = shop.page(order, category, self.get_query_argument("tag", ""), self.get_query_argument("kind", ""),
                         self._number("offset", 0, 0, 1_000_000), self._number("limit", USUAL, 1, MOST))
        self.show(body, etag_of(body))

    def _number(self, name: str, usual: int, least: int, most: int) -> int:
        text = self.get_query_argument(name, "")
        if not text:
            return usual
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
            raise _bad(f"'{name}' must be a whole number from {least} to {most}.", name)
        return int(text)


class Listing(PublicHandler):
    """One listing, with its model."""

    def get(self, slug: str) -> None:
        found = self.gateway.snapshots.current.shop.by_slug.get(slug)
        if found is None:
            raise refuse("not_found", f"There is no listing '{slug[:64]}'.", code="listing_not_found", param="slug")
        self.show(found.whole, etag_of(found.whole))


def _bad(message: str, param: str) -> Refusal:
    return refuse("invalid_request", message, param=param)


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(r"/api/v1/models", Models, given), (r"/api/v1/models/(.+)", OneModel, given),
            (r"/api/v1/storefront/categories", Categories, given), (r"/api/v1/storefront/listings", Listings, given),
            (r"/api/v1/storefront/listings/([^/]+)", Listing, given)]
