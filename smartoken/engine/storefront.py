"""The shop window: categories and listings as ready JSON, made with each snapshot, so that a page is a join of bytes.

What is inactive is left out here, not at the door: what cannot be found cannot be shown.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from smartoken.domain.catalog import Model
from smartoken.domain.documents import CategoryDoc, ListingDoc, from_store
from smartoken.domain.price import Price
from smartoken.engine.problem import Problem
from smartoken.errors import ConfigError

KINDS = {"llm": "chat", "text2image": "image", "text2video": "video"}
"""What a shop calls a model's type; others keep their name."""
MODALITIES = {"llm": "text", "text2image": "image", "text2video": "video", "embedding": "text", "speech": "audio",
              "transcription": "audio"}
ORDERS = ("default", "title", "newest", "price", "-price")

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Shown:
    """One listing: `row` stands in lists, `whole` alone."""

    slug: str
    category: str
    tags: frozenset[str]
    kind: str
    row: bytes
    whole: bytes


@dataclass(frozen=True, slots=True)
class Shop:
    """`orders[name]` are all listings in that order; `by_slug` finds one. `models` is the ready list of models."""

    models: bytes
    models_etag: str
    model_rows: Mapping[str, bytes]
    categories: bytes
    known: frozenset[str]                     # slugs of active categories
    orders: Mapping[str, tuple[Shown, ...]]
    by_slug: Mapping[str, Shown]

    def page(self, order: str, category: str, tag: str, kind: str, offset: int, limit: int) -> bytes:
        """A page of listings as JSON; '' filters nothing. KeyError for an order that is none of ORDERS."""
        found = self.orders[order]
        if category or tag or kind:
            found = tuple(one for one in found if (not category or one.category == category)
                          and (not tag or tag in one.tags) and (not kind or one.kind == kind))
        rows = b",".join(one.row for one in found[offset:offset + limit])
        more = b"true" if offset + limit < len(found) else b"false"
        return b'{"object":"list","data":[%b],"total":%d,"offset":%d,"limit":%d,"has_more":%b}' % (
            rows, len(found), offset, limit, more)


def compile_storefront(categories: Iterable[dict[str, Any]], listings: Iterable[dict[str, Any]],
                       models: Mapping[str, Model], problems: list[Problem]) -> Shop:
    """The shop of stored documents; what is broken is reported and left out."""
    shelves = {doc.slug: doc for doc in _sound(CategoryDoc, categories, "category", problems) if doc.active}
    shown: list[tuple[ListingDoc, Model, Shown]] = []
    for doc in _sound(ListingDoc, listings, "listing", problems):
        model = models.get(doc.model)
        if not doc.active or doc.category not in shelves or model is None or not model.public:
            if doc.active and model is None:
                problems.append(Problem(f"listing '{doc.slug}'",
                                        f"it is hidden: there is no active model '{doc.model}'"))
            continue
        shown.append((doc, model, _shown(doc, model, shelves[doc.category])))
    shown.sort(key=lambda one: (shelves[one[0].category].order, one[0].category, one[0].order, one[0].slug))
    counts: dict[str, int] = {}
    for doc, _, _ in shown:
        counts[doc.category] = counts.get(doc.category, 0) + 1
    rows = [{"slug": doc.slug, "title": doc.title, "description": doc.description, "image": doc.image or None,
             "order": doc.order, "listings": counts.get(doc.slug, 0)}
            for doc in sorted(shelves.values(), key=lambda doc: (doc.order, doc.slug))]
    dear = lambda one: one[1].price.input_u + one[1].price.output_u
    sort = {"default": shown, "title": sorted(shown, key=lambda one: one[0].title.casefold()),
            "newest": sorted(shown, key=lambda one: -one[0].created), "price": sorted(shown, key=dear),
            "-price": sorted(shown, key=dear, reverse=True)}
    sold = {slug: _encode(model_row(model)) for slug, model in sorted(models.items()) if model.public}
    models_json = b'{"object":"list","data":[%b]}' % b",".join(sold.values())
    return Shop(models_json, etag_of(models_json), MappingProxyType(sold), _encode({"object": "list", "data": rows}), frozenset(shelves),
                MappingProxyType({name: tuple(one for _, _, one in sort[name]) for name in ORDERS}),
                MappingProxyType({one.slug: one for _, _, one in shown}))


def etag_of(body: bytes) -> str:
    """Quotes included."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def per_token(price_u: int) -> int | float:
    """µUSD per token of a price per million tokens: an int where it is whole, else the shortest decimal that is it.

    Exact: a price has at most six decimals then, and a float prints any such number below 2**53 as it was written.
    """
    return price_u // 1_000_000 if price_u % 1_000_000 == 0 else price_u / 1_000_000


def model_row(model: Model) -> dict[str, Any]:
    """A model as the reference document of the Solquir surface shows it."""
    return {"id": model.slug, "object": "model", "owned_by": model.about.get("owned_by", ""),
            "displayName": model.about.get("title") or model.slug, "description": model.about.get("description", ""),
            "kind": KINDS.get(model.type, model.type), "saleInputMicroUsdPerToken": per_token(model.price.input_u),
            "saleOutputMicroUsdPerToken": per_token(model.price.output_u), "currency": "USD",
            "modality": MODALITIES[model.type], "isActive": True, "created": model.created}


def _shown(doc: ListingDoc, model: Model, shelf: CategoryDoc) -> Shown:
    kind = KINDS.get(model.type, model.type)
    row = {"slug": doc.slug, "title": doc.title, "summary": doc.summary, "image": doc.image or None,
           "category": doc.category, "tags": doc.tags, "featured": doc.featured, "kind": kind, "model": model.slug,
           "pricing": _pricing(model.price), "currency": "USD", "created": doc.created}
    whole = {**row, "description": doc.description, "category": {"slug": shelf.slug, "title": shelf.title},
             "model": {**model_row(model), "context_length": model.context_length or None,
                       "max_output": model.max_output or None}}
    return Shown(doc.slug, doc.category, frozenset(doc.tags), kind, _encode(row), _encode(whole))


def _pricing(price: Price) -> dict[str, Any]:
    """What is charged for at all, in µUSD: per token, per image, per second, per character."""
    row: dict[str, Any] = {}
    for name, amount_u in (("inputMicroUsdPerToken", price.input_u), ("outputMicroUsdPerToken", price.output_u),
                           ("cacheReadMicroUsdPerToken", price.cache_read_u),
                           ("microUsdPerCharacter", price.characters_u)):
        if amount_u:
            row[name] = per_token(amount_u)
    for name, amount in (("microUsdPerImage", price.image_u), ("microUsdPerAudioSecond", price.audio_second_u),
                         ("microUsdPerVoice", price.voice_u),
                         ("microUsdPerImageBySize", dict(price.image_by_size_u)),
                         ("microUsdPerVideoSecond", dict(price.video_second_u)),
                         ("microUsdPerToolCall", dict(price.tool_u))):
        if amount:
            row[name] = amount
    return row


def _sound(cls: type, stored: Iterable[dict[str, Any]], what: str, problems: list[Problem]) -> list[Any]:
    docs = []
    for row in stored:
        try:
            docs.append(from_store(cls, row))
        except ConfigError as error:
            problems.append(Problem(f"{what} '{row['_id']}'", str(error)))
    return docs
