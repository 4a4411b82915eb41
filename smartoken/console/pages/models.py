"""Models: the list, the editor with its price check, the history of prices."""

from typing import Any

from smartoken.console import figures
from smartoken.console.form import Form, as_json, lines
from smartoken.console.page import Page, link
from smartoken.domain.documents import ModelDoc
from smartoken.engine.catalogfile import WRITERS_OWN
from smartoken.errors import ConfigError
from smartoken.strict import decode
from smartoken.web.admin import models

PAGE = 100
TYPES = ("llm", "text2image", "text2video", "embedding", "speech", "transcription")
PRICES = ("input_per_mtok", "output_per_mtok", "cache_read_per_mtok", "cache_write_per_mtok", "per_image", "per_mchar",
          "per_audio_second", "per_voice")
BY = ("per_image_by_size", "video_price_per_second_by_resolution", "per_tool_call")
NEW = {"slug": "", "type": "llm", "owned_by": "", "title": "", "description": "", "category": "", "pricing": {},
       "available_sizes": [], "available_ratios": [], "available_durations": [], "context_length": 0, "max_output": 0,
       "rpm": 0, "tpm": 0, "active": True, "public": True, "rev": 0, "settings": {}}


class List(Page):
    """All models, a page at a time."""

    key = "models"
    permission = "catalog.read"

    async def get(self) -> None:
        rows = (await self.ask(models.list_models(self.desk)))["models"]
        q, kind = self.text("q").casefold(), self.text("type")
        shown = [row for row in rows if q in f"{row['slug']} {row['title']} {row['owned_by']}".casefold()
                 and kind in ("", row["type"])]
        after = self.text("after")
        page = [row for row in shown if row["slug"] > after][:PAGE + 1]
        self.render("models.html", title=self.locale.translate("Models"), rows=page[:PAGE], total=len(rows),
                    more=page[PAGE - 1]["slug"] if len(page) > PAGE else "", q=self.text("q"), kind=kind, types=TYPES)


class Edit(Page):
    """One model, or a new one."""

    key = "models"
    permission = "catalog.read"

    async def get(self, slug: str = "") -> None:
        model = await self.ask(models.get_model(self.desk, slug)) if slug else NEW
        self._show(model, _prices(model["pricing"]), not slug)

    async def post(self, slug: str = "") -> None:
        self.demand("catalog.write")
        form = Form(self)
        if slug and self.get_body_argument("do", "") == "remove":
            await self.ask(models.remove_model(self.desk, slug))
            self.go("/console/models", "removed")
            return
        old = await self.ask(models.get_model(self.desk, slug)) if slug else NEW
        fields = _fields(form, slug, old)
        saved, refusal = await self.attempt(self._save(form, fields))
        if refusal is None:
            self.go(_url(saved["slug"]), "saved")
            return
        self.set_status(refusal.status)
        self._show({**old, **fields, "rev": form.number("rev")}, _typed(form), not slug, refusal)

    async def _save(self, form: Form, fields: dict[str, Any]) -> dict[str, Any]:
        body = decode(models.ModelBody, {"model": fields, "rev": form.number("rev"), "confirm": form.flag("confirm")},
                      "the model")
        return await models.put_model(self.desk, fields["slug"], body)

    def _show(self, model: dict[str, Any], prices: dict[str, Any], new: bool, refusal: Any = None) -> None:
        self.render("model.html", title=model["slug"] or self.locale.translate("New model"), model=model, prices=prices,
                    new=new, refusal=refusal, types=TYPES, examples=model.get("examples", []),
                    settings=as_json(model["settings"]), now_at=_url(model["slug"]))


class Check(Page):
    """The part of the editor that says what typical calls would cost."""

    permission = "catalog.read"

    async def post(self) -> None:
        form = Form(self)
        try:
            body = decode(models.PricingBody, {"pricing": _pricing(form), "slug": form.text("slug")}, "the prices")
            found = await self.ask(models.check(self.desk, body))
        except ConfigError as error:
            found = {"examples": [], "jumps": [], "wrong": str(error).split(": ", 1)[-1]}
        self.render("model_check.html", examples=found["examples"], jumps=found["jumps"], wrong=found.get("wrong", ""))


class Prices(Page):
    """The history of a model's prices, and the way back."""

    key = "models"
    permission = "catalog.read"

    async def get(self, slug: str) -> None:
        await self._show(slug)

    async def post(self, slug: str) -> None:
        self.demand("catalog.write")
        form = Form(self)
        body = models.RestoreBody(rev=form.number("rev"), confirm=form.flag("confirm"))
        _, refusal = await self.attempt(models.restore(self.desk, slug, form.text("n"), body))
        if refusal is None:
            self.go(_url(slug) + "/prices", "saved")
            return
        self.set_status(refusal.status)
        await self._show(slug, refusal, form.text("n"))

    async def _show(self, slug: str, refusal: Any = None, asked: str = "") -> None:
        found = await self.ask(models.prices(self.desk, slug))
        self.render("prices.html", title=self.locale.translate("Prices"), slug=slug, found=found, refusal=refusal,
                    asked=asked)


def _url(slug: str) -> str:
    return link("models", slug)


def _fields(form: Form, slug: str, old: dict[str, Any]) -> dict[str, Any]:
    """The model as the form says it; what has no field there stays as it is."""
    kept = {name: old[name] for name in ModelDoc.model_fields if name in old and name not in (*NEW, *WRITERS_OWN)}
    return {
        **kept, "slug": slug or form.text("slug"), "type": form.text("type") or "llm",
        "owned_by": form.text("owned_by") or "smartoken", "title": form.text("title"),
        "description": form.text("description"), "category": form.text("category"), "pricing": _pricing(form),
        "available_sizes": form.words("available_sizes"), "available_ratios": form.words("available_ratios"),
        "available_durations": form.numbers("available_durations"), "context_length": form.number("context_length"),
        "max_output": form.number("max_output"), "rpm": form.number("rpm"), "tpm": form.number("tpm"),
        "active": form.flag("active"), "public": form.flag("public"), "settings": form.table("settings")}


def _pricing(form: Form) -> dict[str, Any]:
    given: dict[str, Any] = {name: amount for name in PRICES if (amount := form.usd(name)) is not None}
    return given | {name: pairs for name in BY if (pairs := form.pairs(name))}


def _typed(form: Form) -> dict[str, str]:
    """Prices as they were written, for showing the form again."""
    return {name: form.text(name) for name in (*PRICES, *BY)}


def _prices(pricing: dict[str, Any]) -> dict[str, str]:
    """Stored prices as one writes them."""
    shown = {name: figures.exact_u(pricing.get(name)) for name in PRICES}
    return shown | {name: lines({key: figures.exact_u(amount) for key, amount in pricing.get(name, {}).items()})
                    for name in BY}


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/models", List, with_gateway), (r"/console/models/new", Edit, with_gateway),
            (r"/console/prices/check", Check, with_gateway),
            (r"/console/models/([^/]+)/prices", Prices, with_gateway), (r"/console/models/([^/]+)", Edit, with_gateway)]
