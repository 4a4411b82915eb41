"""GET /api/v1/models and /api/v1/storefront/…: what a shop needs to show the catalog, for anybody."""

from typing import Any

from smartoken.engine.storefront import ORDERS, etag_of
from smartoken.errors import Refusal, refuse
from smartoken.web.public import PublicHandler

MOST, USUAL = 100, 20    # listings of one page


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
