"""Documents and what the plugins gave -> a Snapshot. What is broken is left out and reported; the rest goes on."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from smartoken.domain.catalog import Channel, Model, Route, Snapshot
from smartoken.domain.documents import SEALED, ChannelDoc, ModelDoc, from_store
from smartoken.domain.pricing import Pricing
from smartoken.engine.endpoint import Endpoint, endpoint_of
from smartoken.engine.seal import Sealer
from smartoken.errors import ConfigError
from smartoken.plugin.types import Bridge, Provider
from smartoken.strict import nearest

ASKED_FOR = frozenset({"openai.responses"})
"""Wires that a channel serves only when its `wire_api` names them."""

TYPES_OF_WIRE = {"chat": "llm", "responses": "llm", "messages": "llm", "generate": "llm", "images": "text2image", "videos": "text2video",
                 "embeddings": "embedding", "speech": "speech"}
"""What a wire carries, by the last word of its name; a wire of another name carries every type of model."""


Endpoints = dict[tuple[str, str], Endpoint]    # by channel and path: one for all models


@dataclass(frozen=True, slots=True)
class Problem:
    """Something of the catalog that does not work: where ("channel 'deepseek'"), what, and how to mend it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Gifts:
    """What plugins gave, as far as a snapshot needs it; a Registry (plugin/registry.py) does as well."""

    providers: Mapping[str, Provider]
    bridges: Mapping[tuple[str, str], Bridge] = field(default_factory=dict)


def compile_snapshot(documents: Mapping[str, Iterable[dict[str, Any]]], gifts: Any, sealer: Sealer,
                     secret: Callable[[str], str], seq: int = 0) -> tuple[Snapshot, tuple[Problem, ...]]:
    """The snapshot of `documents` ({"models": [...], "channels": [...]}, as stored) and what had to be left out.

    `gifts` has `providers` and `bridges` (a Registry, or Gifts). `secret` resolves references (secrets.resolve).
    """
    problems: list[Problem] = []
    endpoints: Endpoints = {}
    channels = _each(documents["channels"], "channel", problems,
                     lambda stored: _channel(stored, gifts, sealer, secret, problems))
    for name, channel in list(channels.items()):
        try:
            endpoints |= {(name, path): endpoint_of(channel, path) for path in channel.wires.values()}
        except Exception as error:         # an odd URL or header (ValueError), or whatever a plugin's `auth` raises
            said = error if isinstance(error, ValueError) else type(error).__name__
            problems.append(Problem(f"channel '{name}'", f"no request can be made of its URL, headers and credential: "
                                                         f"{said}; correct them"))
            del channels[name]
    models = _each(documents["models"], "model", problems,
                   lambda stored: _model(stored, list(channels.values()), endpoints, gifts.bridges))
    for model in models.values():
        if not model.routes:
            problems.append(Problem(f"model '{model.slug}'", "no channel serves it; name it in the 'models' of a "
                                                             "channel whose provider has such a model"))
    listed = [dict(model.public) for _, model in sorted(models.items()) if model.public]
    models_json = msgspec.json.encode({"object": "list", "data": listed})
    etag = f'"{hashlib.sha256(models_json).hexdigest()[:32]}"'
    return Snapshot(MappingProxyType(models), MappingProxyType(channels), models_json, seq, etag), tuple(problems)


def _each(stored: Iterable[dict[str, Any]], what: str, problems: list[Problem], make: Callable) -> dict[str, Any]:
    made = {}
    for doc in stored:
        try:
            value = make(doc)
        except ConfigError as error:
            problems.append(Problem(f"{what} '{doc['_id']}'", str(error)))
            continue
        if value is not None:
            made[doc["_id"]] = value
    return made


def _channel(stored: dict[str, Any], gifts: Any, sealer: Sealer, secret: Callable[[str], str],
             problems: list[Problem]) -> Channel | None:
    doc = from_store(ChannelDoc, stored)
    if not doc.active:
        return None
    provider = gifts.providers.get(doc.provider)
    if provider is None:
        raise ConfigError(f"no enabled plugin brings the provider '{doc.provider}'"
                          f"{nearest(doc.provider, gifts.providers)}; name it in [plugins] enabled, or correct it")
    where = f"channel '{doc.name}'"
    sources = {source for source, _ in gifts.bridges}
    for source in doc.bridges:
        if source not in sources:
            problems.append(Problem(where, f"'bridges': no plugin brings a bridge for '{source}'"
                                           f"{nearest(source, sources)}"))
    return Channel(
        name=doc.name, provider=provider, base_url=doc.base_url or _base_url(provider),
        credential=_credential(doc, provider, sealer, secret), wires=_wires(doc, provider, where, problems),
        models=MappingProxyType(dict(doc.models)), bridges=frozenset(doc.bridges), priority=doc.priority,
        weight=doc.weight, rpm=doc.rpm, tpm=doc.tpm, max_inflight=doc.max_inflight,
        first_byte_s=doc.timeouts.first_byte_s, idle_s=doc.timeouts.idle_s, total_s=doc.timeouts.total_s,
        cancel_stops_billing=(provider.cancel_stops_billing if doc.cancel_stops_billing is None
                              else doc.cancel_stops_billing),
        proxy=doc.proxy, settings=MappingProxyType({**provider.quirks, **doc.settings}),
        rev=stored["rev"])


def _base_url(provider: Provider) -> str:
    url = provider.base_url
    if callable(url):
        try:
            url = url()
        except Exception as error:         # a plugin's own code: whatever it raises, only its channels are left out
            raise ConfigError(f"the provider '{provider.slug}' cannot tell its base URL: {error}; set 'base_url' on "
                              "the channel") from error
    if not url:
        raise ConfigError(f"the provider '{provider.slug}' has no base URL of its own; set 'base_url' on the channel")
    return url.rstrip("/")


def _credential(doc: ChannelDoc, provider: Provider, sealer: Sealer, secret: Callable[[str], str]) -> str:
    if not doc.credential:
        if provider.needs_credential:
            raise ConfigError(f"the provider '{provider.slug}' needs a credential; set 'credential' to env:NAME or "
                              "file:path, or enter it in the console")
        return ""
    if doc.credential.startswith(SEALED):
        return sealer.open("channels", doc.name, "credential", doc.credential)
    return secret(doc.credential)


def _wires(doc: ChannelDoc, provider: Provider, where: str, problems: list[Problem]) -> Mapping[str, str]:
    """{wire: path} that the provider speaks and the operator lets this channel serve, in the operator's order."""
    if not doc.wire_api:
        return MappingProxyType({wire: path for wire, path in provider.speaks.items() if wire not in ASKED_FOR})
    for wire in doc.wire_api:
        if wire not in provider.speaks:
            problems.append(Problem(where, f"'wire_api': the provider '{provider.slug}' does not speak '{wire}'"
                                           f"{nearest(wire, provider.speaks)}"))
    served = {wire: provider.speaks[wire] for wire in doc.wire_api if wire in provider.speaks}
    if not served:
        raise ConfigError(f"'wire_api' names no wire that the provider '{provider.slug}' speaks"
                          f"{nearest(doc.wire_api[0], provider.speaks)}")
    return MappingProxyType(served)


def _model(stored: dict[str, Any], channels: list[Channel], endpoints: Endpoints,
           bridges: Mapping[tuple[str, str], Bridge]) -> Model | None:
    doc = from_store(ModelDoc, stored)
    if not doc.active:
        return None
    price = doc.pricing.price(doc.price_rev)
    return Model(
        slug=doc.slug, type=doc.type, price=price, routes=MappingProxyType(_routes(doc, channels, endpoints, bridges)),
        public=MappingProxyType(_public(doc) if doc.public else {}), context_length=doc.context_length,
        max_output=doc.max_output, rpm=doc.rpm, tpm=doc.tpm, sizes=tuple(doc.available_sizes),
        ratios=tuple(doc.available_ratios), durations=tuple(doc.available_durations),
        settings=MappingProxyType(dict(doc.settings)), created=doc.created,
        about=MappingProxyType({"title": doc.title, "description": doc.description, "owned_by": doc.owned_by}))


def _routes(doc: ModelDoc, channels: list[Channel], endpoints: Endpoints,
            bridges: Mapping[tuple[str, str], Bridge]) -> dict[str, tuple[Route, ...]]:
    """{wire of the client: routes}, native ones before bridged ones, then by priority, then by name."""
    found: dict[str, list[Route]] = {}
    for channel in channels:
        if channel.models and doc.slug not in channel.models:
            continue
        upstream_name = channel.models.get(doc.slug, doc.slug)
        wires = {wire: path for wire, path in channel.wires.items() if _carries(wire, doc.type)}
        for wire, path in wires.items():
            found.setdefault(wire, []).append(Route(channel, wire, path, upstream_name, endpoints[channel.name, path]))
        for source in channel.bridges - wires.keys():
            target = next((wire for wire in wires if (source, wire) in bridges), None)
            if target and _carries(source, doc.type):
                found.setdefault(source, []).append(
                    Route(channel, target, wires[target], upstream_name, endpoints[channel.name, wires[target]],
                          bridges[source, target]))
    return {wire: tuple(sorted(routes, key=_order)) for wire, routes in sorted(found.items())}


def _order(route: Route) -> tuple[bool, int, str]:
    return route.bridge is not None, route.channel.priority, route.channel.name


def _carries(wire: str, type_: str) -> bool:
    return TYPES_OF_WIRE.get(wire.rpartition(".")[2], type_) == type_


def _public(doc: ModelDoc) -> dict[str, Any]:
    """The object of GET /v1/models; prices in µUSD, 0 where a model is not sold by that measure."""
    return {"id": doc.slug, "object": "model", "created": doc.created, "owned_by": doc.owned_by,
            "model_type": doc.type, "pricing": _public_pricing(doc.pricing),
            "video_price_per_second_by_resolution": dict(doc.pricing.video_price_per_second_by_resolution),
            "available_sizes": list(doc.available_sizes), "available_ratios": list(doc.available_ratios),
            "available_durations": list(doc.available_durations), "context_length": doc.context_length or None}


def _public_pricing(pricing: Pricing) -> dict[str, Any]:
    price = pricing.price("")
    by_size = {"per_image_by_size": dict(price.image_by_size_u)} if price.image_by_size_u else {}
    return {"input_per_mtok": price.input_u, "output_per_mtok": price.output_u,
            "cache_read_per_mtok": price.cache_read_u, "per_image": price.image_u, **by_size}
