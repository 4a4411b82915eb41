"""The price of a model at one revision, and the one function that turns usage into cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from smartoken.domain.money import P_PER_U
from smartoken.domain.usage import Usage

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Price:
    """All amounts in µUSD: tokens per million, an image each, a video per second, speech per million characters, or per
    second of audio, a cloned voice each; `tool_u` is the surcharge of one call of a server-side tool.

    `rev` is `slug@n` and never changes its meaning: a running request keeps the revision it began with.
    """

    rev: str = ""
    input_u: int = 0
    output_u: int = 0
    cache_read_u: int = 0
    cache_write_u: int = 0
    image_u: int = 0
    image_by_size_u: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    video_second_u: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    characters_u: int = 0
    audio_second_u: int = 0
    voice_u: int = 0
    tool_u: Mapping[str, int] = field(default_factory=lambda: NOTHING)


def token_cost_p(price: Price, usage: Usage) -> int:
    """pUSD of the tokens (and characters, and audio) of a usage, exactly."""
    return (usage.input * price.input_u + usage.output * price.output_u + usage.cache_read * price.cache_read_u
            + usage.cache_write * price.cache_write_u + usage.characters * price.characters_u
            + usage.audio_ms * price.audio_second_u * (P_PER_U // 1000))


def tools_cost_p(price: Price, calls: Mapping[str, int]) -> int:
    """pUSD of so many calls of each server-side tool."""
    return sum(price.tool_u.get(name, 0) * count for name, count in calls.items()) * P_PER_U


def image_u(price: Price, size: str, quality: str = "") -> int:
    """µUSD of one image: the price of its size and quality ("1024x1024/hd"), of its size, or of any image."""
    by_size = price.image_by_size_u
    return by_size.get(f"{size}/{quality}", by_size.get(size, price.image_u))


def image_cost_p(price: Price, size: str, count: int, quality: str = "") -> int:
    """pUSD of `count` delivered images of a size (and quality, where the price tells them apart)."""
    return image_u(price, size, quality) * count * P_PER_U


def video_cost_p(price: Price, resolution: str, video_ms: int) -> int:
    """pUSD of a video of a resolution on the model's list, by its billed length in milliseconds."""
    return price.video_second_u[resolution] * video_ms * (P_PER_U // 1000)
