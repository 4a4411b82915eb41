"""Processes, journals, leases, ports, and whether the books agree; the plugins; the audit."""

import json
from typing import Any

from smartoken.console.differences import differences
from smartoken.console.form import Form
from smartoken.console.page import Page
from smartoken.web.admin import audit, plugins, system


class System(Page):
    """Renews itself."""

    key = "system"
    permission = "system.read"

    async def get(self) -> None:
        found = await self.ask(system.system(self.desk))
        template = "system_parts.html" if self.request.headers.get("HX-Request") else "system.html"
        self.render(template, title=self.locale.translate("System"), found=found, now_ms=self.gateway.clock.now_ms())

    async def post(self) -> None:
        await self.ask(system.start_reconcile(self.desk))
        self.go("/console/system")


class Plugins(Page):
    """What is loaded, and a form for each that has settings."""

    key = "plugins"
    permission = "system.read"

    async def get(self) -> None:
        rows = (await self.ask(plugins.list_plugins(self.desk)))["plugins"]
        self.render("plugins.html", title=self.locale.translate("Plugins"), rows=rows,
                    fields={row["name"]: _fields(row) for row in rows if row["schema"]})


class Settings(Page):
    """The settings of a plugin as a table for smartoken.toml; a part of the page."""

    permission = "system.read"

    async def post(self, name: str) -> None:
        form = Form(self)
        rows = (await self.ask(plugins.list_plugins(self.desk)))["plugins"]
        row = next((one for one in rows if one["name"] == name and one["schema"]), None)
        given = {field["name"]: value for field in (_fields(row) if row else [])
                 if (value := _given(form, field)) is not None}
        found, refusal = await self.attempt(plugins.check(self.desk, name, plugins.SettingsBody(settings=given)))
        self.render("plugin_settings.html", found=found, refusal=refusal)


class Audit(Page):
    """Who changed what."""

    key = "audit"
    permission = "audit.read"

    async def get(self) -> None:
        before = self.text("before")
        found = await self.ask(audit.page(self.desk, audit.AuditQuery(before=before if before.isdigit() else "")))
        self.render("audit.html", title=self.locale.translate("Audit log"),
                    entries=[(entry, differences(entry["before"], entry["after"])) for entry in found["entries"]],
                    more=found["next"])


def _fields(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of a plugin by its JSON schema: [{name, kind, value, hint, options}]."""
    schema, found = row["schema"], []
    for name, part in schema.get("properties", {}).items():
        kinds = {one.get("type") for one in part.get("anyOf", [part])}
        kind = next((one for one in ("boolean", "integer", "string") if one in kinds), "json")
        value = row["settings"].get(name, part.get("default", ""))
        found.append({"name": name, "kind": kind, "options": part.get("enum", []), "hint": part.get("description", ""),
                      "required": name in schema.get("required", []),
                      "value": value if kind != "json" else json.dumps(value, ensure_ascii=False)})
    return found


def _given(form: Form, field: dict[str, Any]) -> Any:
    """What was written into a field; None leaves it out, so that its default counts."""
    name, kind = field["name"], field["kind"]
    if kind == "boolean":
        return form.flag(name)
    if not form.text(name):
        return None
    if kind == "integer":
        return form.number(name)
    return form.table(name) if kind == "json" else form.text(name)


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/system", System, with_gateway), (r"/console/plugins", Plugins, with_gateway),
            (r"/console/plugins/([^/]+)/settings", Settings, with_gateway), (r"/console/audit", Audit, with_gateway)]
