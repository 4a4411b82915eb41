"""Models and their prices: list, write, compare, roll back."""

from typing import Annotated, Any

from pydantic import Field

from smartoken.domain.documents import ModelDoc, from_store
from smartoken.domain.money import P_PER_U, ceil_u
from smartoken.domain.price import image_cost_p, token_cost_p, video_cost_p
from smartoken.domain.pricing import Pricing, jumps
from smartoken.domain.usage import Usage
from smartoken.engine.changes import every
from smartoken.errors import Refusal, refuse
from smartoken.strict import Strict, decode
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation


class ModelBody(Strict):
    """`rev` is the revision that is replaced (0: it is new). `confirm`: yes, I mean that price."""

    model: ModelDoc
    rev: Annotated[int, Field(ge=0)]
    confirm: bool = False


class PricingBody(Strict):
    """Prices to look at before they are saved; `slug` names the model whose prices they would replace."""

    pricing: Pricing
    slug: str = ""


class RestoreBody(Strict):
    rev: int
    confirm: bool = False


async def list_models(desk: Desk) -> dict[str, Any]:
    """Every model, with the channels that serve it by wire and what is wrong with it."""
    snapshot, problems = desk.gateway.snapshots.current, _problems(desk)
    rows = [_shown(stored, snapshot, problems) for stored in await desk.gateway.catalog.all("models")]
    return {"models": rows}


async def get_model(desk: Desk, slug: str) -> dict[str, Any]:
    return _shown(await _stored(desk, slug), desk.gateway.snapshots.current, _problems(desk))


async def put_model(desk: Desk, slug: str, body: ModelBody) -> dict[str, Any]:
    """Refusal 409 `price_jump` when a price changes by more than 50 times and `confirm` is not set."""
    if body.model.slug != slug:
        raise refuse("invalid_request", "The model's slug is not the one in the path.", param="slug")
    catalog = desk.gateway.catalog
    old = await catalog.get("models", slug)
    if old is not None and not body.confirm:
        _no_slip(from_store(ModelDoc, old).pricing, body.model.pricing)
    new = await catalog.put("models", body.model, body.rev)
    await desk.audit("models.put", f"models/{slug}", old, new)
    await desk.renew()
    return await get_model(desk, slug)


async def remove_model(desk: Desk, slug: str) -> None:
    old = await _stored(desk, slug)
    await desk.gateway.catalog.remove("models", slug)
    await desk.audit("models.remove", f"models/{slug}", old)
    await desk.renew()


async def prices(desk: Desk, slug: str) -> dict[str, Any]:
    """All price revisions, newest first, each with what changed: [(price, before, after)] in µUSD."""
    revisions = sorted(await every(desk.gateway.store, "prices", {"slug": slug}), key=lambda one: one["n"])
    if not revisions:
        raise missing("model", slug)
    current = await desk.gateway.catalog.get("models", slug)
    rows, before = [], {}
    for one in revisions:
        flat = flatten(one["pricing"])
        rows.append({"rev": one["_id"], "n": one["n"], "at_ms": one["at_ms"], "pricing": one["pricing"],
                     "current": bool(current) and current["price_rev"] == one["_id"],
                     "changes": [(name, before.get(name), flat.get(name)) for name in sorted({**before, **flat})
                                 if before.get(name) != flat.get(name)]})
        before = flat
    return {"slug": slug, "model_rev": current["rev"] if current else 0, "prices": rows[::-1]}


async def restore(desk: Desk, slug: str, n: str, body: RestoreBody) -> dict[str, Any]:
    """Put the prices of revision n in force again: as a new revision, so that history stays what it was."""
    stored = await _stored(desk, slug)
    price = await desk.gateway.store.get("prices", f"{slug}@{n}")
    if price is None:
        raise missing("price revision", f"{slug}@{n}")
    doc = from_store(ModelDoc, stored)
    back = doc.model_copy(update={"pricing": decode(Pricing, price["pricing"], "the stored prices")})
    return await put_model(desk, slug, ModelBody(model=back, rev=body.rev, confirm=body.confirm))


async def check(desk: Desk, body: PricingBody) -> dict[str, Any]:
    """What typical calls would cost, in pUSD and µUSD, and which prices changed by more than 50 times."""
    old = await desk.gateway.catalog.get("models", body.slug) if body.slug else None
    return {"examples": examples(body.pricing), "jumps": jumps(from_store(ModelDoc, old).pricing, body.pricing) if old
            else []}


def examples(pricing: Pricing) -> list[dict[str, Any]]:
    """Costs that people can check by feeling: [{what, cost_p, cost_u}]."""
    price = pricing.price("")
    found = []
    if pricing.input_per_mtok is not None or pricing.output_per_mtok is not None:
        found.append(("1,000 in + 1,000 out", token_cost_p(price, Usage(input=1000, output=1000))))
    if pricing.cache_read_per_mtok is not None:
        found.append(("1,000 cached in + 1,000 out", token_cost_p(price, Usage(cache_read=1000, output=1000))))
    if pricing.per_image is not None:
        found.append(("1 image", image_cost_p(price, "", 1)))
    found += [(f"1 image of {size}", image_cost_p(price, size, 1)) for size in pricing.per_image_by_size]
    found += [(f"5 s of video at {resolution}", video_cost_p(price, resolution, 5000))
              for resolution in pricing.video_price_per_second_by_resolution]
    if pricing.per_mchar is not None:
        found.append(("1,000 characters", token_cost_p(price, Usage(characters=1000))))
    if pricing.per_voice is not None:
        found.append(("1 cloned voice", price.voice_u * P_PER_U))
    return [{"what": what, "cost_p": cost_p, "cost_u": ceil_u(cost_p)} for what, cost_p in found]


def flatten(pricing: dict[str, Any]) -> dict[str, int]:
    """{price: µUSD}, those by size or resolution as `name size`."""
    flat: dict[str, int] = {}
    for name, value in pricing.items():
        if isinstance(value, dict):
            flat.update({f"{name} {key}": amount_u for key, amount_u in value.items()})
        elif value is not None:
            flat[name] = value
    return flat


def _no_slip(old: Pricing, new: Pricing) -> None:
    steep = jumps(old, new)
    if steep:
        raise Refusal(409, "conflict_error",
                      f"More than 50 times another price: {'; '.join(steep)}. Say that you mean it.",
                      code="price_jump", param="pricing")


async def _stored(desk: Desk, slug: str) -> dict[str, Any]:
    stored = await desk.gateway.catalog.get("models", slug)
    if stored is None:
        raise missing("model", slug)
    return stored


def _problems(desk: Desk) -> dict[str, list[str]]:
    """{where: what is wrong}, as the snapshot found it."""
    found: dict[str, list[str]] = {}
    for problem in desk.gateway.snapshots.problems:
        found.setdefault(problem.where, []).append(problem.what)
    return found


def _shown(stored: dict[str, Any], snapshot: Any, problems: dict[str, list[str]]) -> dict[str, Any]:
    slug = stored["_id"]
    live = snapshot.models.get(slug)
    routes = {wire: [{"channel": route.channel.name, "upstream_name": route.upstream_name,
                      "bridged": route.bridge is not None} for route in found]
              for wire, found in (live.routes.items() if live else ())}
    return {**{name: value for name, value in stored.items() if name != "_id"}, "slug": slug, "routes": routes,
            "examples": examples(decode(Pricing, stored["pricing"], "the stored prices")),
            "problems": problems.get(f"model '{slug}'", [])}


OPERATIONS = [
    Operation("GET", "/models", "catalog.read", "All models", list_models),
    Operation("GET", "/models/{slug}", "catalog.read", "One model", get_model),
    Operation("PUT", "/models/{slug}", "catalog.write", "Create or change a model", put_model, ModelBody),
    Operation("DELETE", "/models/{slug}", "catalog.write", "Remove a model", remove_model),
    Operation("GET", "/models/{slug}/prices", "catalog.read", "Price revisions and their differences", prices),
    Operation("POST", "/models/{slug}/prices/{n}/restore", "catalog.write", "Roll back to a price revision", restore,
              RestoreBody),
    Operation("POST", "/prices/check", "catalog.read", "Example costs of prices, and steep changes", check,
              PricingBody),
]
