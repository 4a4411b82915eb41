"""The members and rules of a composite model. Buttons that move rules send the form back; only Save stores anything."""

from typing import Any

from smartoken.console import rules
from smartoken.console.form import Form
from smartoken.console.page import Page, link
from smartoken.domain.documents import ModelDoc
from smartoken.engine.catalogfile import WRITERS_OWN
from smartoken.errors import refuse
from smartoken.strict import decode
from smartoken.web.admin import models


class Edit(Page):
    """One model's."""

    key = "models"
    permission = "catalog.read"

    async def get(self, slug: str) -> None:
        model = await self._model(slug)
        await self._show(model, rules.draft_of(model.get("composite")))

    async def post(self, slug: str) -> None:
        self.demand("catalog.write")
        form, model = Form(self), await self._model(slug)
        model["rev"] = form.number("rev")
        do, draft = form.text("do"), rules.typed(form)
        if do == "plain":
            await self._save(model, None, draft)
        elif do in ("", "save"):
            registry = self.gateway.registry
            doc, wrong = rules.checked(draft, await self._choices(slug), registry.routers, registry.tools)
            if doc is None:
                self.set_status(400)
                await self._show(model, draft, wrong)
            else:
                await self._save(model, doc.model_dump(mode="json", exclude_none=True), draft)
        else:
            draft, _ = rules.moved(draft, do)
            await self._show(model, draft, changed=True)

    async def _save(self, model: dict[str, Any], composite: Any, draft: dict[str, Any]) -> None:
        fields = {name: model[name] for name in ModelDoc.model_fields if name in model and name not in WRITERS_OWN}
        fields = {**fields, "composite": composite}
        body = decode(models.ModelBody, {"model": fields, "rev": model["rev"]}, "the model")
        _, refusal = await self.attempt(models.put_model(self.desk, model["slug"], body))
        if refusal is None:
            self.go(link("models", model["slug"]) + ("/composite" if composite else ""), "saved")
            return
        self.set_status(refusal.status)
        await self._show(model, draft, refusal=refusal)

    async def _model(self, slug: str) -> dict[str, Any]:
        model = await self.ask(models.get_model(self.desk, slug))
        if model["type"] != "llm":
            raise refuse("not_found", "Only a model of the type llm can stand for others.")
        return model

    async def _choices(self, slug: str) -> list[str]:
        """Models that may be members."""
        rows = (await self.ask(models.list_models(self.desk)))["models"]
        return [row["slug"] for row in rows if row["type"] == "llm" and not row.get("composite") and row["slug"] != slug]

    async def _show(self, model: dict[str, Any], draft: dict[str, Any], wrong: dict[str, str] | None = None,
                    refusal: Any = None, changed: bool = False) -> None:
        registry = self.gateway.registry
        known = {*registry.routers, draft["router"]} - {""}     # what is stored is shown, gone or not
        options = {"order": [(one, self.locale.translate(one)) for one in rules.ORDERS],
                   "router": [("", "–"), *((name, name) for name in sorted(known))],
                   "tools": [(name, name) for name in sorted({*registry.tools, *draft["tools"]})],
                   "languages": [(code, self.locale.translate(rules.NAMES[code])) for code in rules.LANGUAGES]}
        self.render("composite.html", title=model["slug"], model=model, draft=draft, wrong=wrong or {}, refusal=refusal,
                    changed=changed, choices=await self._choices(model["slug"]), options=options, RULE=rules.RULE,
                    WHOLE=rules.WHOLE_MODEL, now_at=link("models", model["slug"]) + "/composite")


def routes(gateway) -> list[tuple]:
    return [(r"/console/models/([^/]+)/composite", Edit, {"gateway": gateway})]
