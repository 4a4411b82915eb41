"""Strict decoding of what people write (configuration, plugin settings): every error names file, key and remedy."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from smartoken.errors import ConfigError


class Strict(BaseModel):
    """A table of settings: unknown keys are errors, defaults are checked too, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


Model = TypeVar("Model", bound=BaseModel)


def _whole(value: Any) -> Any:
    if type(value) is not int:
        raise ValueError(f"write a whole number, not {value!r}")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""An int that is really written as one: no true/false, no 1.0, no "1"."""


def _yes_or_no(value: Any) -> Any:
    if type(value) is not bool:
        raise ValueError(f"write true or false, not {value!r}")
    return value


Flag = Annotated[bool, BeforeValidator(_yes_or_no)]
"""A bool that is really written as one: no "yes", no 1."""


WORDS: dict[str, str] = {}      # what people are told to write where a pattern did not fit


def worded(pattern: str, words: str) -> str:
    """The same regular expression; whoever writes what does not fit is told to write `words` instead of shown it."""
    WORDS[pattern] = words
    return pattern


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' when something known is close, else '; known: a, b' (or nothing when nothing is known)."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def decode(model: type[Model], data: Mapping[str, Any], where: str, prefix: str = "") -> Model:
    """`data` as a `model`. ConfigError names `where` (a file), the full key (below `prefix`) and what to write."""
    try:
        return model.model_validate(data)
    except ValidationError as err:
        raise ConfigError("\n".join(f"{where}: {_sentence(model, fault, prefix)}" for fault in err.errors())) from err


def missing(model: type[BaseModel]) -> list[str]:
    """The names of the fields that have no default and so must be written."""
    return [name for name, field in model.model_fields.items() if field.is_required()]


def _sentence(model: type[BaseModel], fault: Mapping[str, Any], prefix: str) -> str:
    path = [str(part) for part in fault["loc"]]
    key = ".".join(([prefix] if prefix else []) + path) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}'{nearest(path[-1], _fields(model, path[:-1]))}"
    if fault["type"] == "missing":
        return f"'{key}' is missing; write it"
    if fault["type"] == "model_type":
        return f"'{key}' is a table; write it as [{key}]"
    said = WORDS.get(fault.get("ctx", {}).get("pattern"))
    text = f"write {said}" if said else fault["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    value = fault.get("input")
    # A validator of ours says itself what may be shown; a model that may hold secrets shows nothing.
    hide = model.model_config.get("hide_input_in_errors") or fault["type"] == "value_error"
    shown = "" if hide or isinstance(value, (dict, list)) else f" (it is {value!r})"
    return f"'{key}': {text[:1].lower()}{text[1:]}{shown}"


def _fields(model: type[BaseModel], path: list[str]) -> Iterable[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ()
        model = inner
    return model.model_fields
