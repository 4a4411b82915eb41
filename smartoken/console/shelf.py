"""What the market shows of the catalog: the listed models of a snapshot, with their prices as lines to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from smartoken.domain.catalog import Model, Snapshot

# type: (what buyers call it, in which unit its price is compared, the icon)
TYPES: Mapping[str, tuple[str, str, str]] = MappingProxyType({
    "llm": ("Chat", "per 1M input tokens", "chat"), "text2image": ("Images", "per image", "image"),
    "text2video": ("Video", "per second", "film"), "embedding": ("Embeddings", "per 1M tokens", "vector"),
    "speech": ("Speech", "per 1M characters", "sound"),
    "transcription": ("Transcription", "per second of audio", "sound")})
PRICES = (("0", "free"), ("500000", "up to $0.50"), ("2000000", "up to $2"), ("10000000", "up to $10"))
CONTEXTS = (("32000", "32k or more"), ("128000", "128k or more"), ("200000", "200k or more"), ("1000000", "1M or more"))
SORTS = ("name", "newest", "price", "context")


@dataclass(frozen=True, slots=True)
class Line:
    """One price: 'Input', for instance, at µUSD per 'per 1M tokens'. `of` is the size or resolution it is for."""

    what: str
    amount_u: int
    unit: str
    of: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """One model as the market shows it. `unit_u` is the price that models are compared by, in the unit of TYPES."""

    model: Model
    title: str
    owned_by: str
    description: str
    lines: tuple[Line, ...]
    unit_u: int

    @property
    def slug(self) -> str:
        return self.model.slug

    @property
    def type(self) -> str:
        return self.model.type

    @property
    def hue(self) -> int:
        """One of eight colours, the same for all models of an owner."""
        return sum(self.owned_by.encode()) % 8


@lru_cache(maxsize=2)
def offers(snapshot: Snapshot) -> Mapping[str, Offer]:
    """{slug: Offer} of what is listed, made once for each snapshot."""
    return MappingProxyType({slug: _offer(model) for slug, model in sorted(snapshot.models.items()) if model.public})


def find(all_offers: Mapping[str, Offer], *, q: str = "", type: str = "", owner: str = "", price: str = "",
         context: str = "", sort: str = "name") -> list[Offer]:
    """Those that have every word of `q` in their texts and keep to the other filters; '' filters nothing."""
    words = q.casefold().split()
    most_u = int(price) if price.isdecimal() else None
    least = int(context) if context.isdecimal() else 0
    found = [one for one in all_offers.values()
             if (not type or one.type == type) and (not owner or one.owned_by == owner)
             and (most_u is None or one.unit_u <= most_u) and one.model.context_length >= least
             and all(word in _text(one) for word in words)]
    orders: dict[str, Any] = {"newest": lambda one: (-one.model.created, one.slug),
                              "price": lambda one: (one.unit_u, one.slug),
                              "context": lambda one: (-one.model.context_length, one.slug)}
    return sorted(found, key=orders.get(sort, lambda one: one.title.casefold()))


def _text(one: Offer) -> str:
    return f"{one.title} {one.slug} {one.owned_by} {one.description}".casefold()


def _offer(model: Model) -> Offer:
    lines = tuple(_lines(model))
    return Offer(model, model.about.get("title") or model.slug, model.about.get("owned_by", ""),
                 model.about.get("description", ""), lines, min((line.amount_u for line in lines if line.what in UNIT),
                                                                default=lines[0].amount_u if lines else 0))


# What models are compared by: the lines whose price is that of the type's unit.
UNIT = frozenset({"Input", "Image", "Video", "Characters", "Audio"})


def _lines(model: Model) -> list[Line]:
    """The prices that apply to a type, in the order in which people ask for them."""
    price = model.price
    tokens = [Line("Input", price.input_u, "per 1M tokens")]
    if price.cache_read_u != price.input_u:
        tokens.append(Line("Cached input", price.cache_read_u, "per 1M tokens"))
    if price.cache_write_u != price.input_u:
        tokens.append(Line("Cache write", price.cache_write_u, "per 1M tokens"))
    match model.type:
        case "llm":
            tools = [Line("Tool", amount_u, "per call", name) for name, amount_u in price.tool_u.items()]
            return [*tokens, Line("Output", price.output_u, "per 1M tokens"), *tools]
        case "embedding":
            return tokens[:1]
        case "text2image":
            sizes = model.sizes or tuple(price.image_by_size_u) or ("",)
            return [Line("Image", price.image_by_size_u.get(size, price.image_u), "per image", size) for size in sizes]
        case "text2video":
            return [Line("Video", amount_u, "per second", resolution)
                    for resolution, amount_u in price.video_second_u.items()]
        case _:
            audio = [Line("Characters", price.characters_u, "per 1M characters"),
                     Line("Audio", price.audio_second_u, "per second of audio")]
            spoken = [line for line in audio if line.amount_u] or [*tokens,
                                                                   Line("Output", price.output_u, "per 1M tokens")]
            return [*spoken, Line("Voice clone", price.voice_u, "per voice")] if price.voice_u else spoken
