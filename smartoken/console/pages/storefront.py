"""The storefront: shelves and what stands on them, and an editor for each."""

from typing import Any

from smartoken.console.form import Form
from smartoken.console.page import Page, link
from smartoken.domain.documents import ListingDoc
from smartoken.engine.catalogfile import WRITERS_OWN
from smartoken.strict import decode
from smartoken.web.admin import models, storefront

NEW_CATEGORY = {"slug": "", "title": "", "description": "", "image": "", "order": 0, "active": True, "rev": 0}
NEW_LISTING = {**NEW_CATEGORY, "category": "", "model": "", "summary": "", "tags": [], "featured": False}


class Shop(Page):
    """All of it."""

    key = "storefront"
    permission = "catalog.read"

    async def get(self) -> None:
        self.render("storefront.html", title=self.locale.translate("Storefront"),
                    found=await self.ask(storefront.storefront(self.desk)))


class Category(Page):
    """One category, or a new one."""

    key = "storefront"
    permission = "catalog.read"

    async def get(self, slug: str = "") -> None:
        row = await self.ask(storefront.get_category(self.desk, slug)) if slug else NEW_CATEGORY
        self._show(row, not slug)

    async def post(self, slug: str = "") -> None:
        self.demand("catalog.write")
        form = Form(self)
        if slug and self.get_body_argument("do", "") == "remove":
            await self.ask(storefront.remove_category(self.desk, slug))
            self.go("/console/storefront", "removed")
            return
        old = await self.ask(storefront.get_category(self.desk, slug)) if slug else NEW_CATEGORY
        fields = _fields(form, slug)
        _, refusal = await self.attempt(self._save(form, fields))
        if refusal is None:
            self.go("/console/storefront", "saved")
            return
        self.set_status(refusal.status)
        self._show({**old, **fields, "rev": form.number("rev")}, not slug, refusal)

    async def _save(self, form: Form, fields: dict[str, Any]) -> None:
        body = decode(storefront.CategoryBody, {"category": fields, "rev": form.number("rev")}, "the category")
        await storefront.put_category(self.desk, fields["slug"], body)

    def _show(self, row: dict[str, Any], new: bool, refusal: Any = None) -> None:
        self.render("storefront_edit.html", title=row["title"] or self.locale.translate("New category"), row=row,
                    new=new, refusal=refusal, categories=None, models=(), now_at=link("storefront", "categories", row["slug"]))


class Listing(Page):
    """One listing, or a new one."""

    key = "storefront"
    permission = "catalog.read"

    async def get(self, slug: str = "") -> None:
        row = await self.ask(storefront.get_listing(self.desk, slug)) if slug else NEW_LISTING
        await self._show(row, not slug)

    async def post(self, slug: str = "") -> None:
        self.demand("catalog.write")
        form = Form(self)
        if slug and self.get_body_argument("do", "") == "remove":
            await self.ask(storefront.remove_listing(self.desk, slug))
            self.go("/console/storefront", "removed")
            return
        old = await self.ask(storefront.get_listing(self.desk, slug)) if slug else NEW_LISTING
        kept = {name: old[name] for name in ListingDoc.model_fields
                if name in old and name not in (*NEW_LISTING, *WRITERS_OWN)}
        fields = {**kept, **_fields(form, slug), "category": form.text("category"), "model": form.text("model"),
                  "summary": form.text("summary"), "tags": form.words("tags"), "featured": form.flag("featured")}
        _, refusal = await self.attempt(self._save(form, fields))
        if refusal is None:
            self.go("/console/storefront", "saved")
            return
        self.set_status(refusal.status)
        await self._show({**old, **fields, "rev": form.number("rev")}, not slug, refusal)

    async def _save(self, form: Form, fields: dict[str, Any]) -> None:
        body = decode(storefront.ListingBody, {"listing": fields, "rev": form.number("rev")}, "the listing")
        await storefront.put_listing(self.desk, fields["slug"], body)

    async def _show(self, row: dict[str, Any], new: bool, refusal: Any = None) -> None:
        shelves = (await self.ask(storefront.storefront(self.desk)))["categories"]
        sold = (await self.ask(models.list_models(self.desk)))["models"]
        self.render("storefront_edit.html", title=row["title"] or self.locale.translate("New listing"), row=row,
                    new=new, refusal=refusal, categories=[("", "…"), *((one["slug"], one["title"]) for one in shelves)],
                    models=[one["slug"] for one in sold],
                    now_at=link("storefront", "listings", row["slug"]))


def _fields(form: Form, slug: str) -> dict[str, Any]:
    """What both have."""
    return {"slug": slug or form.text("slug"), "title": form.text("title"), "description": form.text("description"),
            "image": form.text("image"), "order": form.number("order"), "active": form.flag("active")}


def routes(gateway) -> list[tuple]:
    given = {"gateway": gateway}
    return [(r"/console/storefront", Shop, given),
            (r"/console/storefront/categories/new", Category, given),
            (r"/console/storefront/categories/([^/]+)", Category, given),
            (r"/console/storefront/listings/new", Listing, given),
            (r"/console/storefront/listings/([^/]+)", Listing, given)]
