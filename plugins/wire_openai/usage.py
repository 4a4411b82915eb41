"""Reads the `usage` object of OpenAI-like upstreams into disjoint counts (field table: protocols, openai-chat §8)."""

from collections.abc import Mapping
from typing import Any

from smartoken.plugin import Usage

_NONE: Mapping[str, Any] = {}
HUGE = 100_000_000  # no request uses this many tokens; such a figure is a fault, not a count


def usage_of(found: Mapping[str, Any]) -> Usage | None:
    """Usage from a decoded `usage` object; None when its figures can't be what was used (negative, huge, no integer).

    Cached and cache-written tokens are parts of the prompt here, so they are taken out of `input`. Whether written
    tokens are inside the prompt count is UNCONFIRMED; inside is what keeps a client from paying for them twice.
    """
    get = found.get
    prompt = get("prompt_tokens")
    prompt = get("input_tokens") if prompt is None else prompt
    output = get("completion_tokens")
    output = get("output_tokens") if output is None else output
    if prompt is None and output is None:
        return None
    inside = get("prompt_tokens_details") or get("input_tokens_details")
    made = get("completion_tokens_details") or get("output_tokens_details")
    inside = inside if type(inside) is dict else _NONE
    made = made if type(made) is dict else _NONE
    cached = _given(inside.get("cached_tokens"), get("prompt_cache_hit_tokens"), get("cached_tokens"))
    written = _given(inside.get("cache_write_tokens"), inside.get("cache_creation_input_tokens"))
    reasoning = made.get("reasoning_tokens") or 0
    prompt = 0 if prompt is None else prompt
    output = 0 if output is None else output
    for count in (prompt, output, cached, written, reasoning):
        if type(count) is not int or not 0 <= count <= HUGE:
            return None
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    return Usage(input=prompt - cached - written, output=output, cache_read=cached, cache_write=written,
                 reasoning=min(reasoning, output))


def usage_object(usage: Usage) -> dict[str, Any]:
    """The chat wire's `usage` object that says what a Usage says."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {"prompt_tokens": prompt, "completion_tokens": usage.output, "total_tokens": prompt + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning}}


def _given(*values: Any) -> Any:
    """The first that is there. A reported 0 is a value."""
    for value in values:
        if value is not None:
            return value
    return 0
