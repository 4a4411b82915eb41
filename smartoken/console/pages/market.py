"""The model market: for anybody, from the snapshot only; what was measured is read once a minute."""

from typing import Any

from smartoken.console import shelf
from smartoken.console.measured import NOTHING, Measured
from smartoken.console.site import Site, url
from smartoken.console.snippets import PATHS, snippets
from smartoken.errors import refuse

PAGE = 48
FILTERS = ("q", "type", "owner", "price", "context", "sort", "view")


class Market(Site):
    """Cards or a table, with filters; the htmx form asks for the part `found` only."""

    key = "market"
    landing = False

    def initialize(self, gateway: Any, measured: Measured) -> None:
        super().initialize(gateway)
        self.measured = measured

    async def get(self) -> None:
        sold = shelf.offers(self.gateway.snapshots.current)
        chosen = {name: self.text(name)[:100] for name in FILTERS}
        found = shelf.find(sold, **{name: value for name, value in chosen.items() if name != "view"})
        page = int(self.text("page", "1")) if self.text("page", "1").isdecimal() else 1
        pages = max(1, -(-len(found) // PAGE))
        page = min(max(1, page), pages)
        part = self.request.headers.get("HX-Target") == "found"
        self.render(
            "market_found.html" if part else "market.html", title=self.locale.translate("Models"), landing=self.landing,
            found=found[(page - 1) * PAGE:page * PAGE], total=len(found), sold=len(sold), page=page, pages=pages,
            chosen=chosen, part=part, records=await self.measured.records(), nothing=NOTHING,
            kinds=sorted({one.type for one in sold.values()}), owners=sorted({one.owned_by for one in sold.values()}),
            prices=shelf.PRICES, contexts=shelf.CONTEXTS, sorts=shelf.SORTS, filters_url=filters_url,
            about=self.locale.translate("Every model behind one OpenAI-compatible API, with exact prices."))


class Landing(Market):
    """The first page: the market for visitors, one's dashboard once one is signed in."""

    landing = True

    async def get(self) -> None:
        if self.who is None:
            await super().get()
        else:
            self.go("/dashboard")


class One(Site):
    """One model: everything that it is sold with, and how to call it."""

    key = "market"

    def initialize(self, gateway: Any, measured: Measured) -> None:
        super().initialize(gateway)
        self.measured = measured

    async def get(self, slug: str) -> None:
        offer = shelf.offers(self.gateway.snapshots.current).get(slug)
        if offer is None:
            raise refuse("not_found", "There is no such model.", code="model_not_found")
        served = offer.type in PATHS and bool(offer.model.routes)
        self.render("market_model.html", title=offer.title, offer=offer, served=served, about=offer.description,
                    record=await self.measured.of(slug), snippets=snippets(offer, self.base_url),
                    thousand_p=1000 * (offer.model.price.input_u + offer.model.price.output_u))


def filters_url(chosen: dict[str, str], **changed: Any) -> str:
    """The market with these filters, some of them changed."""
    return url("/models", **{**chosen, **changed})


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway, "measured": Measured(gateway)}
    return [(r"/", Landing, given), (r"/models/?", Market, given), (r"/models/(.+)", One, given)]
