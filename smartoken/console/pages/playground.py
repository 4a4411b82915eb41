"""The playground: try a model with one's own account. How its calls are made: smartoken/console/playkey.py."""

import json
from typing import Any
from urllib.parse import urlsplit

from smartoken.console import playkey, shelf
from smartoken.console.page import CSP
from smartoken.console.site import PLAYGROUND, SIGN_IN, Mine, Site, url
from smartoken.console.snippets import PATHS
from smartoken.errors import refuse

# mode: (type of its models, path that it calls, label, icon)
MODES = {"chat": ("llm", "Chat", "chat"), "images": ("text2image", "Images", "image"),
         "videos": ("text2video", "Video", "film"), "speech": ("speech", "Speech", "sound")}
LISTED = 100                   # models in the page; the others are found by searching


class Playground(Site):
    """One page for each mode that something is sold for. Visitors see it, with the way in instead of the button. htmx
    asks it for the models of a mode that fit a search."""

    key = "playground"

    async def get(self) -> None:
        sold = shelf.offers(self.gateway.snapshots.current)
        served = self.served()
        modes = {mode: [one for one in sold.values() if one.type == MODES[mode][0] and one.model.routes]
                 for mode in MODES if f"/v1{PATHS[MODES[mode][0]]}" in served}
        modes = {mode: offers for mode, offers in modes.items() if offers}
        wanted = sold.get(self.text("model"))
        mode = next((name for name in modes if wanted is not None and wanted in modes[name]), self.text("mode"))
        mode = mode if mode in modes else next(iter(modes), "")
        acct = self.who.acct if self.who else ""
        balance = await self.ask(self.gateway.ledger.balance(acct)) if acct else None
        wanted = wanted if wanted is not None and wanted in modes.get(mode, ()) else None
        listed = modes.get(mode, [])[:LISTED]
        if self.request.headers.get("HX-Target") == "f-model":
            found = shelf.find({one.slug: one for one in modes.get(mode, ())}, q=self.text("q"))
            self.render("playground_models.html", facts=facts, offers=found[:LISTED] or ([wanted] if wanted else listed),
                        chosen=None)
            return
        self.set_header("Content-Security-Policy", self.policy())
        self.render("playground.html", title=self.locale.translate("Playground"), modes=modes, mode=mode, MODES=MODES,
                    chosen=wanted, balance=balance, facts=facts, acct=acct,
                    offers=listed if wanted is None or wanted in listed else [wanted, *listed[1:]],
                    more=len(modes.get(mode, [])) - len(listed),
                    way_in=url(SIGN_IN, next=self.request.uri) if self.who is None else "/account",
                    scripts=("markdown.js", "stream.js", "chat.js" if mode == "chat" else "studio.js"))

    def served(self) -> set[str]:
        """Paths that this gateway answers, those of long work too."""
        return {*self.gateway.registry.paths, *self.gateway.registry.job_paths}

    def policy(self) -> str:
        """The CSP, with the place where results are kept."""
        addresses = (self.gateway.conf.server.public_url, self.gateway.media.url("x"))
        places = {f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, addresses) if parts.netloc}
        more = "".join(f" {place}" for place in sorted(places))
        return CSP.replace("img-src 'self'", f"img-src 'self'{more}").replace("media-src 'self'",
                                                                              f"media-src 'self'{more}")


class NewKey(Mine):
    """POST: a key for this page's memory."""

    async def post(self) -> None:
        if not self.acct:
            raise refuse("not_found", "You have no account yet.", code="no_account")
        self.set_header("Content-Type", "application/json")
        self.finish(await self.ask(playkey.new(self.gateway, self.acct)))


def facts(offer: shelf.Offer) -> str:
    """What the page's script must know of a model, as JSON."""
    model = offer.model
    prices = {line.of: line.amount_u for line in offer.lines if line.what in shelf.UNIT}
    return json.dumps({"sizes": model.sizes, "ratios": model.ratios, "durations": model.durations,
                       "resolutions": list(model.price.video_second_u), "input_u": model.price.input_u,
                       "output_u": model.price.output_u, "prices": prices})


def routes(gateway: Any) -> list[tuple]:
    given = {"gateway": gateway}
    return [(PLAYGROUND, Playground, given), (PLAYGROUND + "/key", NewKey, given)]
