"""Is what was asked for on the model's lists? Asked before any money moves; every refusal names what is allowed."""

from collections.abc import Sequence

import msgspec

from smartoken.domain.catalog import Model
from smartoken.domain.price import image_u
from smartoken.errors import Refusal, refuse

MOST_IMAGES = 10  # in one call, unless the model's setting `max_images` says otherwise


def fit(model: Model, ask, kind: str):
    """The Ask with sizes and the like as the model's lists spell them; Refusal 400 naming the allowed values."""
    return _FITS[kind](model, ask)


def unit_u(model: Model, ask, kind: str) -> int:
    """µUSD of one image, of one second, or of one voice, as it was asked for."""
    if kind == "image":
        return image_u(model.price, ask.size, ask.quality)
    if kind == "voice":
        return model.price.voice_u
    return model.price.video_second_u[ask.resolution]


def units(ask, kind: str) -> int:
    """How many of them were asked for; `ask` may be the Job as well."""
    return {"image": ask.images, "video": ask.seconds, "voice": 1}[kind]


def _image(model: Model, ask):
    most = model.settings.get("max_images", MOST_IMAGES)
    if not 1 <= ask.images <= most:
        raise _bad(f"'n' must be from 1 to {most} for the model '{model.slug}'.", "n")
    size = ask.size
    if not size:
        size = model.sizes[0] if model.sizes else ""
    elif model.sizes:
        size = _listed(model, "size", size, model.sizes, ("*", "x"), ("x", "*"))
    return msgspec.structs.replace(ask, size=size)


def _video(model: Model, ask):
    resolutions = tuple(model.price.video_second_u)
    if not ask.resolution:
        raise _bad(f"'resolution' is required, one of: {', '.join(resolutions)}.", "resolution")
    if not ask.seconds:
        raise _bad(f"'duration' is required, in seconds, one of: {_words(model.durations)}.", "duration")
    resolution = _listed(model, "resolution", ask.resolution, resolutions)
    if ask.seconds not in model.durations:
        raise _bad(f"'duration' must be one of {_words(model.durations)} seconds for the model '{model.slug}', "
                   f"not {ask.seconds}.", "duration")
    ratio = _listed(model, "ratio", ask.ratio, model.ratios) if ask.ratio and model.ratios else ask.ratio
    return msgspec.structs.replace(ask, resolution=resolution, ratio=ratio)


def _listed(model: Model, name: str, value: str, allowed: Sequence[str], *spelt: tuple[str, str]) -> str:
    """The list's own spelling of a value: case does not matter, nor does a separator of `spelt`."""
    for one in allowed:
        if value.lower() == one.lower() or any(value.replace(a, b) == one for a, b in spelt):
            return one
    raise _bad(f"'{name}' must be one of {', '.join(allowed)} for the model '{model.slug}', not '{value[:40]}'.", name)


def _words(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _bad(message: str, param: str) -> Refusal:
    return refuse("invalid_request", message, param=param, code="value_not_offered")


_FITS = {"image": _image, "video": _video, "voice": lambda model, ask: ask}
