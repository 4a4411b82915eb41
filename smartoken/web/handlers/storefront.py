"""GET /api/v1/models and /api/v1/storefront/…: what a shop needs to show the catalog, for anybody."""

from typing import Any

from smartoken.engine.storefront import ORDERS, etag_of
from smartoken.errors import Refusal, refuse
from smartoken.web.public import PublicHandler
from smartoken.web.schema import AMOUNT, COUNT, PUBLIC, STRING, TEXT, amounts, answer, list_of, many, or_null, ours

MOST, USUAL = 100, 20    # listings of one page
FURTHEST = 1_000_000

_SOLD = {
    "id": TEXT, "object": {"const": "model"}, "owned_by": STRING, "displayName": STRING, "description": STRING,
    "kind": STRING, "saleInputMicroUsdPerToken": AMOUNT, "saleOutputMicroUsdPerToken": AMOUNT,
    "currency": {"const": "USD"}, "modality": STRING, "isActive": {"const": True}, "created": COUNT}
_ROW = ours("SolquirModel", _SOLD)
_CATEGORY = ours("Category", {"slug": TEXT, "title": TEXT, "description": STRING, "image": or_null("string"),
                              "order": {"type": "integer"}, "listings": COUNT})
_PER = {**dict.fromkeys(("inputMicroUsdPerToken", "outputMicroUsdPerToken", "cacheReadMicroUsdPerToken",
                         "microUsdPerCharacter"), AMOUNT),
        **dict.fromkeys(("microUsdPerImage", "microUsdPerAudioSecond", "microUsdPerVoice"), COUNT),
        **dict.fromkeys(("microUsdPerImageBySize", "microUsdPerVideoSecond", "microUsdPerToolCall"), amounts())}
_LISTED = {"slug": TEXT, "title": TEXT, "summary": STRING, "image": or_null("string"), "category": TEXT,
           "tags": many(STRING), "featured": {"type": "boolean"}, "kind": STRING, "model": TEXT,
           "pricing": ours("ListingPricing", _PER, *_PER), "currency": {"const": "USD"}, "created": COUNT}
_LISTING = ours("Listing", _LISTED)
_WHOLE = ours("WholeListing", {
    **_LISTED, "description": STRING, "category": ours("", {"slug": TEXT, "title": TEXT}),
    "model": ours("ListedModel", {**_SOLD, "context_length": or_null("integer"), "max_output": or_null("integer")})})

_MODEL = {"id": "solquir-v1", "object": "model", "owned_by": "solquir", "displayName": "Solquir V1",
          "description": "通用对话旗舰模型", "kind": "chat", "saleInputMicroUsdPerToken": 2,
          "saleOutputMicroUsdPerToken": 8, "currency": "USD", "modality": "text", "isActive": True,
          "created": 1_700_000_000}
_CHAT = {"slug": "chat", "title": "Chat", "description": "", "image": None, "order": 1, "listings": 2}
_V1 = {"slug": "v1", "title": "Solquir V1", "summary": "", "image": None, "category": "chat", "tags": ["flagship"],
       "featured": True, "kind": "chat", "model": "solquir-v1", "currency": "USD", "created": 1_700_000_000,
       "pricing": {"inputMicroUsdPerToken": 2, "outputMicroUsdPerToken": 8}}


def _shows(summary: str, schema: dict[str, Any], example: Any, *parameters: dict[str, Any],
           errors: tuple[str, ...] = ()) -> dict[str, Any]:
    """A public GET with an ETag."""
    found = answer(schema, summary, example)
    found["200"]["headers"] = {"ETag": {"schema": STRING}}
    found["304"] = {"description": "You have it already (If-None-Match)"}
    return {"get": {"summary": summary, "tags": ["Storefront"], "security": PUBLIC, "errors": errors,
                    "parameters": list(parameters), "responses": found}}


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


OPENAPI = {
    "/api/v1/models": _shows("Models for sale", list_of("SolquirModels", _ROW), {"object": "list", "data": [_MODEL]}),
    "/api/v1/models/{slug}": _shows("One model", _ROW, _MODEL, errors=("listed",)),
    "/api/v1/storefront/categories": _shows("Categories, in their order", list_of("Categories", _CATEGORY),
                                            {"object": "list", "data": [_CHAT]}),
    "/api/v1/storefront/listings": _shows(
        "Listings", list_of("Listings", _LISTING, total=COUNT, offset=COUNT, limit=COUNT, has_more={"type": "boolean"}),
        {"object": "list", "data": [_V1], "total": 1, "offset": 0, "limit": USUAL, "has_more": False},
        _query("category", STRING), _query("tag", STRING), _query("kind", STRING), _query("order", {"enum": list(ORDERS)}),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST}),
        _query("offset", {"type": "integer", "minimum": 0, "maximum": FURTHEST}), errors=("category",)),
    "/api/v1/storefront/listings/{slug}": _shows(
        "One listing, with its model", _WHOLE,
        {**_V1, "description": "", "category": {"slug": "chat", "title": "Chat"},
         "model": {**_MODEL, "context_length": 128_000, "max_output": None}}, errors=("listing",)),
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
                         self._number("offset", 0, 0, FURTHEST), self._number("limit", USUAL, 1, MOST))
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
