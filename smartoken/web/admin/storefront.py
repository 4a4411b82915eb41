"""The storefront's categories and listings: list, write, remove."""

from typing import Annotated, Any

from pydantic import Field

from smartoken.domain.documents import CategoryDoc, Document, ListingDoc, from_store
from smartoken.errors import refuse
from smartoken.strict import Strict
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation


class CategoryBody(Strict):
    """`rev` is the revision that is replaced (0: it is new)."""

    category: CategoryDoc
    rev: Annotated[int, Field(ge=0)]


class ListingBody(Strict):
    """`rev` is the revision that is replaced (0: it is new)."""

    listing: ListingDoc
    rev: Annotated[int, Field(ge=0)]


async def storefront(desk: Desk) -> dict[str, Any]:
    """All categories and listings; `shown` says whether a shop sees it now, `problems` what is wrong."""
    shop, catalog = desk.gateway.snapshots.current.shop, desk.gateway.catalog
    categories = [{**_shown(CategoryDoc, stored), "shown": stored["_id"] in shop.known}
                  for stored in await catalog.all("categories")]
    listings = [{**_shown(ListingDoc, stored), "shown": stored["_id"] in shop.by_slug}
                for stored in await catalog.all("listings")]
    categories.sort(key=lambda row: (row["order"], row["slug"]))
    listings.sort(key=lambda row: (row["category"], row["order"], row["slug"]))
    problems = [str(problem) for problem in desk.gateway.snapshots.problems
                if problem.where.startswith(("category ", "listing "))]
    return {"categories": categories, "listings": listings, "problems": problems}


async def get_category(desk: Desk, slug: str) -> dict[str, Any]:
    return _shown(CategoryDoc, await _stored(desk, "categories", "category", slug))


async def get_listing(desk: Desk, slug: str) -> dict[str, Any]:
    return _shown(ListingDoc, await _stored(desk, "listings", "listing", slug))


async def put_category(desk: Desk, slug: str, body: CategoryBody) -> dict[str, Any]:
    await _put(desk, "categories", slug, body.category, body.rev)
    return await get_category(desk, slug)


async def put_listing(desk: Desk, slug: str, body: ListingBody) -> dict[str, Any]:
    await _put(desk, "listings", slug, body.listing, body.rev)
    return await get_listing(desk, slug)


async def remove_category(desk: Desk, slug: str) -> None:
    await _remove(desk, "categories", "category", slug)


async def remove_listing(desk: Desk, slug: str) -> None:
    await _remove(desk, "listings", "listing", slug)


async def _put(desk: Desk, collection: str, slug: str, doc: Any, rev: int) -> None:
    if doc.slug != slug:
        raise refuse("invalid_request", "The slug is not the one in the path.", param="slug")
    catalog = desk.gateway.catalog
    old = await catalog.get(collection, slug)
    new = await catalog.put(collection, doc, rev)
    await desk.audit(f"{collection}.put", f"{collection}/{slug}", old, new)
    await desk.renew()


async def _remove(desk: Desk, collection: str, what: str, slug: str) -> None:
    old = await _stored(desk, collection, what, slug)
    await desk.gateway.catalog.remove(collection, slug)
    await desk.audit(f"{collection}.remove", f"{collection}/{slug}", old)
    await desk.renew()


async def _stored(desk: Desk, collection: str, what: str, slug: str) -> dict[str, Any]:
    stored = await desk.gateway.catalog.get(collection, slug)
    if stored is None:
        raise missing(what, slug)
    return stored


def _shown(cls: type[Document], stored: dict[str, Any]) -> dict[str, Any]:
    return {**from_store(cls, stored).model_dump(mode="json"), "rev": stored["rev"]}


OPERATIONS = [
    Operation("GET", "/storefront", "catalog.read", "All categories and listings", storefront),
    Operation("GET", "/categories/{slug}", "catalog.read", "One category", get_category),
    Operation("PUT", "/categories/{slug}", "catalog.write", "Create or change a category", put_category, CategoryBody),
    Operation("DELETE", "/categories/{slug}", "catalog.write", "Remove a category", remove_category),
    Operation("GET", "/listings/{slug}", "catalog.read", "One listing", get_listing),
    Operation("PUT", "/listings/{slug}", "catalog.write", "Create or change a listing", put_listing, ListingBody),
    Operation("DELETE", "/listings/{slug}", "catalog.write", "Remove a listing", remove_listing),
]
