"""Reads the `usage` object of OpenAI-like upstreams into disjoint counts (field table: protocols, openai-chat §8)."""

from collections.abc import Mapping
from typing import Any

from smartoken.plugin import Usage

HUGE = 100_000_000  # no request uses this many tokens; such a figure is a fault, not a count


def usage_of(found: Mapping[str, Any]) -> Usage | None:
    """Usage from a decoded `usage` object; None when its figures can't be what was used (negative, huge, no integer).

    Cached and cache-written tokens are parts of the prompt here, so they are taken out of `input`. Whether written
    tokens are inside the prompt count is UNCONFIRMED; inside is what keeps a client from paying for them twice.
    """
    prompt = _first(found, "prompt_tokens", "input_tokens")
    output = _first(found, "completion_tokens", "output_tokens")
    if prompt is None and output is None:
        return None
    inside = _table(found, "prompt_tokens_details", "input_tokens_details")
    made = _table(found, "completion_tokens_details", "output_tokens_details")
    cached = _given(inside.get("cached_tokens"), found.get("prompt_cache_hit_tokens"), found.get("cached_tokens"))
    written = _given(inside.get("cache_write_tokens"), inside.get("cache_creation_input_tokens"))
    reasoning = _given(made.get("reasoning_tokens"))
    prompt, output = prompt or 0, output or 0
    if not all(type(n) is int and 0 <= n <= HUGE for n in (prompt, output, cached, written, reasoning)):
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


def _first(found: Mapping[str, Any], *names: str) -> Any:
    """The first of `names` that is there and not null. A reported 0 is a value."""
    return next((found[name] for name in names if found.get(name) is not None), None)


def _given(*values: Any) -> Any:
    return next((value for value in values if value is not None), 0)


def _table(found: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    value = _first(found, *names)
    return value if isinstance(value, dict) else {}
