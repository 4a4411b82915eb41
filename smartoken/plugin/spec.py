"""Every hook that a plugin may implement, each with its shape and when it is called. plugins/README.md is the manual.

All hooks are called outside the request; what they give is compiled into tuples and dicts when the gateway starts.
A plugin takes the arguments it wants, by these names. Hooks are plain functions, except where "may be async" stands.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pluggy

from smartoken.domain.usage import UsageRecord
from smartoken.plugin.sign_in import SignIn
from smartoken.plugin.types import Bridge, Provider, Tool, Wire

PROJECT = "smartoken"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

MAY_BE_ASYNC = frozenset({"smartoken_models", "smartoken_usage", "smartoken_open", "smartoken_close"})


@hookspec
def smartoken_providers() -> Iterable[Provider]:
    """The companies or servers it can buy from. At start; slugs are unique over all plugins."""


@hookspec
def smartoken_wires() -> Iterable[Wire]:
    """The byte dialects it serves to clients or speaks to providers. At start; names and paths are unique."""


@hookspec
def smartoken_bridges() -> Iterable[Bridge]:
    """Translations between two wires. At start; one per (source, target)."""


@hookspec
def smartoken_adapters() -> Mapping[str, Mapping[str, Callable[[str], Any]]]:
    """{port: {scheme: factory}}: port is store, media or limiter (see smartoken/ports.py), and the factory gets the
    URL from the configuration, returns an object of that port and connects only in its `open()`. At start.
    """


@hookspec
def smartoken_gates() -> Iterable[Callable[..., Any]]:
    """Policies `gate(key, ask) -> Refusal | None` of a Key and an Ask, asked before limits and money are taken. At start;
    the gates themselves run in every request, and again for each round of a composite model's tools: plain functions,
    no waiting, microseconds. What is neither None nor a Refusal (see `refuse`) refuses the request as a fault of ours.
    """


@hookspec
def smartoken_routers() -> Mapping[str, Callable[..., Any]]:
    """{name: pick}: `pick(ask, members) -> (slug, reason)` chooses a member of a composite model. At start."""


@hookspec
def smartoken_tools() -> Iterable[Tool]:
    """Tools that composite models may run on the server. At start; names are unique."""


@hookspec
def smartoken_models(provider: Provider) -> Iterable[Mapping[str, Any]] | None:
    """Models and list prices that `provider` offers, as [[models]] tables of a catalog file; None for another's
    provider. May be async. Called by `catalog sync`; never applied without the operator.
    """


@hookspec(firstresult=True)
def smartoken_secret(ref: str) -> str | None:
    """The secret behind a channel's credential `vault:…`, where all after the colon is its own to read; None when it
    is another vault's. The first answer counts, in the order of `enabled`; what it raises is shown as the channel's
    problem, and the others go on. For every active channel with such a credential at the start, at every change of the
    catalog, once a minute and at a test call, on the event loop: answer from memory, and fetch in `smartoken_open` or a
    task of your own.
    """


@hookspec
def smartoken_sign_ins() -> Iterable[SignIn]:
    """Issuers where an operator's own accounts sign in, shown in the console and the admin API. At start; names are
    unique.
    """


@hookspec
def smartoken_handlers() -> Iterable[Sequence[Any]]:
    """Pages: (pattern, tornado RequestHandler class[, its keyword arguments]), asked after ours. At start. A pattern
    that begins with /console or /admin is behind the sign-in, and on the admin port where there is one; every other is
    for anybody, on the public port.
    """


@hookspec
def smartoken_commands(cli: Any, books: Any) -> None:
    """Add subcommands to `cli`, the typer.Typer of the command `smartoken`. `books(work)` opens the store for one and
    returns `await work(open)`: `open` has conf, store, catalog and sealer. Before the command line is read.
    """


@hookspec
def smartoken_usage(records: Sequence[UsageRecord]) -> None:
    """Finished requests, just stored; each comes at least once, keyed by `rid`: after a crash those come again of which
    we cannot know. May be async; one batch after the other, beside the requests. What it raises, or has not done within
    30 seconds, is logged, and that batch does not come again.
    """


@hookspec
def smartoken_open(gateway: Any) -> None:
    """Start what it needs: connections, listeners, tasks. May be async. In each worker, after all plugins have given,
    before the first request; if it raises, the gateway does not start.
    """


@hookspec
def smartoken_close(gateway: Any) -> None:
    """Stop what `smartoken_open` started, also when that failed half-way. May be async. In each worker after the last
    request, in reverse order.
    """
