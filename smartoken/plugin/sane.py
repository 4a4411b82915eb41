"""What makes a declared value fit to be used: rules for each kind, as complaints that say what to write instead."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from smartoken.plugin.sign_in import SignIn
from smartoken.plugin.types import MEANINGS, Bridge, JobWire, Maker, Provider, Tool, Wire
from smartoken.strict import nearest

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def faults(value: Any) -> list[str]:
    """Everything wrong with a Provider, Wire, Bridge, Tool or SignIn; empty when it is fit."""
    return list(RULES[type(value)](value))


def unknown_wires(value: Provider | Bridge, wires: Iterable[str]) -> list[str]:
    """Wires named by a provider or bridge that nobody in `wires` serves."""
    provider = isinstance(value, Provider)
    named = value.speaks if provider else (value.source, value.target)
    who = f"provider '{value.slug}'" if provider else f"bridge '{value.source} -> {value.target}'"
    wires = tuple(wires)
    return [f"{who}: it names the wire '{wire}', which no plugin brings{nearest(wire, wires)}"
            for wire in named if wire not in wires]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to be awaited or iterated later, not its answer: an `async def`, also as a
    method, a functools.partial or the `__call__` of an object."""
    return any(check(one) for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
               for one in (function, type(function).__call__))


def _provider(provider: Provider) -> Iterator[str]:
    who = f"provider '{provider.slug}'"
    yield from _name(f"{who}: slug", provider.slug)
    if isinstance(provider.base_url, str):
        yield from _base_url(f"{who}: base_url", provider.base_url)
    elif not callable(provider.base_url):
        yield f"{who}: base_url must be a URL or a function that gives one"
    if not callable(provider.auth):
        yield f"{who}: auth must be a function, such as bearer or header('x-api-key')"
    for wire, auth in provider.wire_auth.items():
        if wire not in provider.speaks or not callable(auth):
            yield f"{who}: wire_auth must be {{wire that it speaks: function}}, not so for '{wire}'"
    if not isinstance(provider.speaks, Mapping) or not provider.speaks:
        yield f"{who}: speaks must be {{wire: path}} with at least one wire"
    else:
        for wire, path in provider.speaks.items():
            if not isinstance(path, str) or not path.startswith("/"):
                yield f"{who}: the path of wire '{wire}' must start with '/', not {path!r}"
    for code, meaning in provider.errors.items():
        if meaning not in MEANINGS:
            yield f"{who}: error '{code}' has the unknown meaning {meaning!r}{nearest(str(meaning), MEANINGS)}"
    for wire, maker in provider.makers.items():
        yield from _maker(f"{who}: wire '{wire}'", maker)
    if provider.session_header and not _NAME.fullmatch(provider.session_header.lower()):
        yield f"{who}: session_header must be the name of a header, not {provider.session_header!r}"
    if provider.heard is not None and not callable(provider.heard):
        yield f"{who}: heard must be a function"
    for name, value in provider.headers:
        if any(sign in name + value for sign in "\r\n\0"):
            yield f"{who}: header {name!r} holds a control character"


def _wire(wire: Wire) -> Iterator[str]:
    who = f"wire '{wire.name}'"
    yield from _name(f"{who}: name", wire.name)
    for path in wire.paths:
        if not path.startswith("/") or path.rstrip("/") != path:
            yield f"{who}: client path {path!r} must start with '/' and not end with one"
    for prefix in wire.prefixes:
        if not prefix.startswith("/") or not prefix.endswith("/"):
            yield f"{who}: the beginning {prefix!r} of client paths must start and end with '/'"
    if (wire.prefixes or wire.methods != ("POST",)) and wire.peek_at is None:
        yield f"{who}: prefixes and methods need peek_at"
    yield from _described(who, wire.openapi)
    if len(set(wire.paths)) != len(wire.paths):
        yield f"{who}: a client path stands twice"
    for part in ("peek", "body", "reader", "whole", "refuse", "refuse_in_stream", "failure"):
        if not callable(getattr(wire, part)):
            yield f"{who}: {part} must be a function"


def _described(who: str, openapi: Any) -> Iterator[str]:
    if not all(str(path).startswith("/") and isinstance(operations, Mapping) for path, operations in openapi.items()):
        yield f"{who}: openapi must be {{client path: {{method: operation}}}}"


def _bridge(bridge: Bridge) -> Iterator[str]:
    who = f"bridge '{bridge.source} -> {bridge.target}'"
    if bridge.source == bridge.target:
        yield f"{who}: source and target must differ"
    for part in ("request", "answer", "stream"):
        if not callable(getattr(bridge, part)):
            yield f"{who}: {part} must be a function"


def _sign_in(sign_in: SignIn) -> Iterator[str]:
    who = f"sign-in '{sign_in.name}'"
    yield from _name(f"{who}: name", sign_in.name)
    if isinstance(sign_in.terms, str) or not sign_in.terms:
        yield f"{who}: terms must be a list of sentences; say whose terms apply"
    if not sign_in.prefix.endswith(":"):
        yield f"{who}: prefix must be that of its credentials, such as 'oauth:'"
    for part in ("accounts", "begin", "look", "follow", "cancel", "take", "remove"):
        if not callable(getattr(sign_in, part)):
            yield f"{who}: {part} must be a function"


def _tool(tool: Tool) -> Iterator[str]:
    yield from _name(f"tool '{tool.name}': name", tool.name)
    if tool.parameters.get("type") != "object":
        yield f"tool '{tool.name}': parameters must be a JSON Schema of type object"
    if not callable(tool.call):
        yield f"tool '{tool.name}': call must be a function"
    elif not inspect.iscoroutinefunction(tool.call) and not inspect.iscoroutinefunction(type(tool.call).__call__):
        yield f"tool '{tool.name}': its call is awaited; write `async def`, not `def`"


def _job_wire(wire: JobWire) -> Iterator[str]:
    who = f"wire '{wire.name}'"
    yield from _name(f"{who}: name", wire.name)
    if wire.kind not in ("image", "video"):
        yield f"{who}: kind must be 'image' or 'video', not {wire.kind!r}"
    for door in wire.doors:
        if not door.path.startswith("/") or door.path.endswith("/"):
            yield f"{who}: client path {door.path!r} must start with '/' and not end with one"
        for part in ("peek", "whole", "show"):
            if not callable(getattr(door, part)):
                yield f"{who}: {door.path}: {part} must be a function"
    yield from _described(who, wire.openapi)
    if wire.maker is not None:
        yield from _maker(who, wire.maker)


def _maker(who: str, maker: Any) -> Iterator[str]:
    if not isinstance(maker, Maker):
        yield f"{who}: a maker must be a Maker, not {type(maker).__name__}"
        return
    for part in ("submit", "read", "failure", "root"):
        if not callable(getattr(maker, part)):
            yield f"{who}: the maker's {part} must be a function"


RULES: Mapping[type, Callable[[Any], Iterator[str]]] = {Provider: _provider, Wire: _wire, Bridge: _bridge, Tool: _tool,
                                                        JobWire: _job_wire, SignIn: _sign_in}


def _name(what: str, name: Any) -> Iterator[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"{what} must be 1-64 of a-z, 0-9, '_', '-' and '.', starting with a letter or digit, not {name!r}"


def _base_url(what: str, url: str) -> Iterator[str]:
    """'' is fit: then each channel says its own."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        yield f"{what} must look like https://api.example.com/v1, not {url!r}"
    elif parts.query or parts.fragment or parts.username or url.endswith("/"):
        yield f"{what} must have no query, no user and no slash at its end: {url!r}"
