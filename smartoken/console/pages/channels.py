"""Channels: the list with live figures, the editor, the test call."""

from typing import Any

from smartoken.console import figures
from smartoken.console.form import Form, as_json, lines
from smartoken.console.page import Page, link
from smartoken.domain.documents import WIRE_NAMES, ChannelDoc
from smartoken.engine.catalogfile import WRITERS_OWN
from smartoken.strict import decode
from smartoken.web.admin import channels

NEW = {"name": "", "provider": "", "base_url": "", "credential": "", "wire_api": [], "models": {}, "bridges": [],
       "costs": {}, "priority": 0, "weight": 100, "active": True, "rpm": 0, "tpm": 0, "max_inflight": 0, "proxy": "",
       "settings": {},
       "timeouts": {"first_byte_s": 120, "idle_s": 60, "total_s": 1800}, "cancel_stops_billing": None, "rev": 0,
       "problems": [], "wires": []}
CANCEL = {"": None, "yes": True, "no": False}


class List(Page):
    """All channels; the table renews itself."""

    key = "channels"
    permission = "catalog.read"

    async def get(self) -> None:
        rows = (await self.ask(channels.list_channels(self.desk)))["channels"]
        rows.sort(key=lambda row: (row["priority"], row["name"]))
        template = "channels_table.html" if self.request.headers.get("HX-Request") else "channels.html"
        self.render(template, title=self.locale.translate("Channels"), rows=rows)


class Edit(Page):
    """One channel, or a new one."""

    key = "channels"
    permission = "catalog.read"

    async def get(self, name: str = "") -> None:
        channel = await self.ask(channels.get_channel(self.desk, name)) if name else self._for_account()
        await self._show(channel, not name)

    def _for_account(self) -> dict[str, Any]:
        """A new channel, begun for a signed-in account when its page led here."""
        registry = self.gateway.registry
        provider = registry.providers.get(self.text("provider"))
        if provider is None or provider.slug not in {one.provider for one in registry.sign_ins.values()}:
            return NEW
        return {**NEW, "provider": provider.slug, "wire_api": sorted(provider.speaks)}

    def _reference(self) -> str:
        """The credential that its address names: a signed-in account's, never a secret."""
        named = self.get_query_argument("credential", "")
        return named if named.startswith(tuple(one.prefix for one in self.gateway.registry.sign_ins.values())) else ""

    async def post(self, name: str = "") -> None:
        self.demand("catalog.write")
        form = Form(self)
        if name and self.get_body_argument("do", "") == "remove":
            await self.ask(channels.remove_channel(self.desk, name))
            self.go("/console/channels", "removed")
            return
        old = await self.ask(channels.get_channel(self.desk, name)) if name else NEW
        fields = _fields(form, name, old)
        saved, refusal = await self.attempt(self._save(form, fields))
        if refusal is None:
            self.go(link("channels", saved["name"]), "saved")
            return
        self.set_status(refusal.status)
        await self._show({**old, **fields, "rev": form.number("rev")}, not name, refusal)

    async def _save(self, form: Form, fields: dict[str, Any]) -> dict[str, Any]:
        credential = form.secret("credential").strip()
        await self.prove(form.secret("password"))
        body = decode(channels.ChannelBody, {
            "channel": {field: value for field, value in fields.items() if field != "name"}, "rev": form.number("rev"),
            "credential": "" if form.flag("no_credential") else credential or None}, "the channel")
        return await channels.put_channel(self.desk, fields["name"], body)

    async def _show(self, channel: dict[str, Any], new: bool, refusal: Any = None) -> None:
        known = await self.ask(channels.providers(self.desk))
        wires = sorted({wire for one in known["providers"] for wire in one["speaks"]})
        models = channel["models"]
        self.render("channel.html", title=channel["name"] or self.locale.translate("New channel"), channel=channel,
                    new=new, given=self._reference() if new else "",
                    refusal=refusal, providers=known["providers"], bridges=known["bridges"], wires=wires,
                    models=lines(models) if isinstance(models, dict) else models, settings=as_json(channel["settings"]),
                    costs=_cost_lines(channel["costs"]),
                    short={full: name for name, full in WIRE_NAMES.items()}, now_at=link("channels", channel["name"]))


class Test(Page):
    """One real call; answers a part of the page."""

    permission = "catalog.write"

    async def post(self, name: str) -> None:
        form = Form(self)
        found, refusal = await self.attempt(channels.test_channel(
            self.desk, name, channels.TestBody(model=form.text("test_model"), wire=form.text("test_wire"))))
        self.render("channel_test.html", found=found, refusal=refusal)


class Live(Page):
    """The live figures of one channel, for renewing them."""

    permission = "catalog.read"

    async def get(self, name: str) -> None:
        self.render("channel_live.html", channel=await self.ask(channels.get_channel(self.desk, name)))


def _fields(form: Form, name: str, old: dict[str, Any]) -> dict[str, Any]:
    """The channel as the form says it; what has no field there stays as it is."""
    kept = {field: old[field] for field in ChannelDoc.model_fields if field in old
            and field not in (*NEW, *WRITERS_OWN)}
    return {
        **kept, "costs": _costs(form.pairs("costs"), old["costs"]), "name": name or form.text("name"),
        "provider": form.text("provider"), "base_url": form.text("base_url"),
        "wire_api": form.many("wire_api"), "models": form.pairs("models"), "bridges": form.many("bridges"),
        "priority": form.number("priority"), "weight": form.number("weight", 100), "active": form.flag("active"),
        "rpm": form.number("rpm"), "tpm": form.number("tpm"), "max_inflight": form.number("max_inflight"),
        "timeouts": {field: form.number(field, default) for field, default in NEW["timeouts"].items()},
        "cancel_stops_billing": CANCEL.get(form.text("cancel_stops_billing")), "proxy": form.text("proxy"),
        "settings": form.table("settings")}


BY_TOKEN = ("input_per_mtok", "output_per_mtok", "cache_read_per_mtok")


def _costs(pairs: dict[str, str], old: dict[str, Any]) -> dict[str, Any]:
    """Lines such as `slug = input output [cached]`, in USD per million tokens. Costs of other kinds (by image, by
    second), which `catalog apply` writes, stay."""
    others = {slug: {name: amount for name, amount in pricing.items() if name not in BY_TOKEN and amount}
              for slug, pricing in old.items()}
    given = {slug: dict(zip(BY_TOKEN, amounts.split(), strict=False)) for slug, amounts in pairs.items()}
    return {slug: found for slug in {**others, **given} if (found := {**others.get(slug, {}), **given.get(slug, {})})}


def _cost_lines(costs: dict[str, Any]) -> str:
    """The same lines from a stored channel."""
    shown = {slug: " ".join(amount if isinstance(amount, str) else figures.exact_u(amount)
                            for name in BY_TOKEN if (amount := pricing.get(name)) is not None)
             for slug, pricing in costs.items()}
    return "\n".join(f"{slug} = {amounts}" for slug, amounts in shown.items() if amounts)


def routes(gateway) -> list[tuple]:
    with_gateway = {"gateway": gateway}
    return [(r"/console/channels", List, with_gateway), (r"/console/channels/new", Edit, with_gateway),
            (r"/console/channels/([^/]+)/test", Test, with_gateway),
            (r"/console/channels/([^/]+)/live", Live, with_gateway),
            (r"/console/channels/([^/]+)", Edit, with_gateway)]
