"""What an operator writes as a price, and its exact integers: µUSD as a number, or USD as text ("0.28")."""

from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from smartoken.domain.money import MAX_U, show_u, usd_to_u
from smartoken.domain.price import Price
from smartoken.strict import Strict

JUMP = 50  # a price that rises or falls by more than this factor is more often a slip than a decision


def _amount(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError('a float cannot hold money exactly; write USD in quotes ("0.28"), or µUSD as a whole number')
    amount_u = usd_to_u(value) if type(value) is str else value
    if type(amount_u) is not int:
        raise ValueError('write USD in quotes ("0.28") or µUSD as a whole number')
    return amount_u


Micro = Annotated[int, BeforeValidator(_amount), Field(ge=0, le=MAX_U)]
"""µUSD, >= 0: given as an int, or as text in USD with at most six decimals."""


class Pricing(Strict):
    """Prices of a model in µUSD. What is not given does not apply; free is an explicit 0.

    Tokens are per million, images each, videos per second by resolution, speech per million characters, audio per
    second, a cloned voice once when it exists. Cached input costs what input costs unless it has a price of its own. `per_tool_call`: the surcharge of a
    server-side tool of a composite model, by the tool's name.
    """

    input_per_mtok: Micro | None = None
    output_per_mtok: Micro | None = None
    cache_read_per_mtok: Micro | None = None
    cache_write_per_mtok: Micro | None = None
    per_image: Micro | None = None
    per_image_by_size: dict[str, Micro] = Field(default_factory=dict)
    video_price_per_second_by_resolution: dict[str, Micro] = Field(default_factory=dict)
    per_mchar: Micro | None = None
    per_audio_second: Micro | None = None
    per_voice: Micro | None = None
    per_tool_call: dict[str, Micro] = Field(default_factory=dict)

    def price(self, rev: str) -> Price:
        """The light value that requests are charged by."""
        input_u = self.input_per_mtok or 0
        return Price(
            rev=rev, input_u=input_u, output_u=self.output_per_mtok or 0,
            cache_read_u=input_u if self.cache_read_per_mtok is None else self.cache_read_per_mtok,
            cache_write_u=input_u if self.cache_write_per_mtok is None else self.cache_write_per_mtok,
            image_u=self.per_image or 0, image_by_size_u=MappingProxyType(dict(self.per_image_by_size)),
            video_second_u=MappingProxyType(dict(self.video_price_per_second_by_resolution)),
            characters_u=self.per_mchar or 0, audio_second_u=self.per_audio_second or 0,
            voice_u=self.per_voice or 0, tool_u=MappingProxyType(dict(self.per_tool_call)))


def jumps(old: Pricing, new: Pricing) -> list[str]:
    """Prices that rise above 50 times or fall below a 50th of what they were, one phrase each."""
    before, after = _flat(old), _flat(new)
    return [f"{name} {show_u(was)} -> {show_u(after[name])}" for name, was in before.items()
            if was and name in after and not was <= after[name] * JUMP <= was * JUMP * JUMP]


def _flat(pricing: Pricing) -> dict[str, int]:
    flat: dict[str, int] = {}
    for name, value in pricing.model_dump(exclude_none=True).items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": amount for key, amount in value.items()})
        else:
            flat[name] = value
    return flat
