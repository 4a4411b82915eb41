"""Documents and what the plugins gave -> a Snapshot. What is broken is left out and reported; the rest goes on.

What stands behind references is looked up first (behind_of: it asks vaults of plugins, reads files and opens seals, so it
belongs on the loop). The rest is a function of values and may run in a thread.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import msgspec

from smartoken.domain.catalog import Channel, Composite, Model, Route, Rule, Snapshot
from smartoken.domain.documents import SEALED, ChannelDoc, CompositeDoc, ModelDoc, RuleDoc, from_store
from smartoken.domain.pricing import Pricing
from smartoken.engine.endpoint import Endpoint, endpoint_of
from smartoken.engine.problem import Problem
from smartoken.engine.seal import Sealer
from smartoken.engine.storefront import compile_storefront
from smartoken.errors import ConfigError
from smartoken.plugin.types import Bridge, Provider, Wire
from smartoken.strict import nearest

ASKED_FOR = frozenset({"openai.responses"})
"""Wires that a channel serves only when its `wire_api` names them."""

TYPES_OF_WIRE = {"chat": "llm", "responses": "llm", "messages": "llm", "generate": "llm", "images": "text2image",
                 "videos": "text2video", "embeddings": "embedding", "speech": "speech",
                 "transcriptions": "transcription"}
"""What a wire carries, by the last word of its name; a wire of another name carries every type of model."""


Endpoints = dict[tuple[str, str], Endpoint]    # by channel and wire: one for all models
Behind = dict[str, tuple[str, str] | str]      # {channel: (base URL, credential) as they are now, or why there are none}


@dataclass(frozen=True, slots=True)
class Gifts:
    """What plugins gave, as far as a snapshot needs it; a Registry (plugin/registry.py) does as well."""

    providers: Mapping[str, Provider]
    bridges: Mapping[tuple[str, str], Bridge] = field(default_factory=dict)
    wires: Mapping[str, Any] = field(default_factory=dict)
    routers: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, Any] = field(default_factory=dict)


def compile_snapshot(documents: Mapping[str, Iterable[dict[str, Any]]], gifts: Any, sealer: Sealer,
                     secret: Callable[[str], str], seq: int = 0) -> tuple[Snapshot, tuple[Problem, ...]]:
    """`compiled` of what the references of `documents` stand for now. `secret` resolves them (secrets.resolve)."""
    return compiled(documents, gifts, behind_of(documents["channels"], gifts, sealer, secret), seq)


def behind_of(channels: Iterable[dict[str, Any]], gifts: Any, sealer: Sealer, secret: Callable[[str], str]) -> Behind:
    """What stands behind the base URLs and credentials of active channels at this moment."""
    behind: Behind = {}
    for stored in channels:
        try:
            doc = from_store(ChannelDoc, stored)
            provider = gifts.providers.get(doc.provider)
            if doc.active and provider is not None:
                behind[stored["_id"]] = (doc.base_url or _base_url(provider), _credential(doc, provider, sealer, secret))
        except ConfigError as error:
            behind[stored["_id"]] = str(error)
    return behind


def compiled(documents: Mapping[str, Iterable[dict[str, Any]]], gifts: Any, behind: Behind,
             seq: int = 0) -> tuple[Snapshot, tuple[Problem, ...]]:
    """The snapshot of `documents` ({"models": [...], "channels": [...]}, as stored) and what had to be left out.

    `gifts` has `providers` and `bridges` (a Registry, or Gifts).
    """
    problems: list[Problem] = []
    endpoints: Endpoints = {}
    channels = _each(documents["channels"], "channel", problems,
                     lambda stored: _channel(stored, gifts, behind, problems))
    for name, channel in list(channels.items()):
        try:
            endpoints |= {(name, wire): endpoint_of(channel, wire, _type_of(gifts, wire))
                          for wire in channel.wires}
        except Exception as error:         # an odd URL or header (ValueError), or whatever a plugin's `auth` raises
            said = error if isinstance(error, ValueError) else type(error).__name__
            problems.append(Problem(f"channel '{name}'", f"no request can be made of its URL, headers and credential: "
                                                         f"{said}; correct them"))
            del channels[name]
    models = _each(documents["models"], "model", problems,
                   lambda stored: _model(stored, list(channels.values()), endpoints, gifts.bridges))
    for slug, model in list(models.items()):
        if model.composite is not None:
            models[slug] = _composed(model, models, gifts, problems)
    for model in models.values():
        if not model.routes and model.composite is None:
            problems.append(Problem(f"model '{model.slug}'", "no channel serves it; name it in the 'models' of a "
                                                             "channel whose provider has such a model"))
    shop = compile_storefront(documents.get("categories", ()), documents.get("listings", ()), models, problems)
    listed = [dict(model.public) for _, model in sorted(models.items()) if model.public]
    models_json = msgspec.json.encode({"object": "list", "data": listed})
    etag = f'"{hashlib.sha256(models_json).hexdigest()[:32]}"'
    return Snapshot(MappingProxyType(models), MappingProxyType(channels), models_json, seq, etag, shop), tuple(problems)


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


def _channel(stored: dict[str, Any], gifts: Any, behind: Behind, problems: list[Problem]) -> Channel | None:
    doc = from_store(ChannelDoc, stored)
    if not doc.active:
        return None
    provider = gifts.providers.get(doc.provider)
    if provider is None:
        raise ConfigError(f"no enabled plugin brings the provider '{doc.provider}'"
                          f"{nearest(doc.provider, gifts.providers)}; name it in [plugins] enabled, or correct it")
    found = behind[stored["_id"]]
    if isinstance(found, str):
        raise ConfigError(found)
    base_url, credential = found
    where = f"channel '{doc.name}'"
    sources = {source for source, _ in gifts.bridges}
    for source in doc.bridges:
        if source not in sources:
            problems.append(Problem(where, f"'bridges': no plugin brings a bridge for '{source}'"
                                           f"{nearest(source, sources)}"))
    return Channel(
        name=doc.name, provider=provider, base_url=base_url, credential=credential,
        wires=_wires(doc, provider, where, problems),
        models=MappingProxyType(dict(doc.models)), bridges=frozenset(doc.bridges), priority=doc.priority,
        weight=doc.weight, rpm=doc.rpm, tpm=doc.tpm, max_inflight=doc.max_inflight,
        first_byte_s=doc.timeouts.first_byte_s, idle_s=doc.timeouts.idle_s, total_s=doc.timeouts.total_s,
        cancel_stops_billing=(provider.cancel_stops_billing if doc.cancel_stops_billing is None
                              else doc.cancel_stops_billing),
        proxy=doc.proxy, settings=MappingProxyType({**provider.quirks, **doc.settings}),
        costs=MappingProxyType({slug: pricing.price("") for slug, pricing in doc.costs.items()}), rev=stored["rev"])


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
        about=MappingProxyType({"title": doc.title, "description": doc.description, "owned_by": doc.owned_by}),
        composite=_composite(doc.composite) if doc.composite is not None else None)


def _composite(doc: CompositeDoc) -> Composite:
    last = Rule("no rule held" if doc.rules else "the first member that is well" if doc.order == "listed" else "",
                order=doc.order)
    return Composite(tuple(dict.fromkeys(doc.members)), (*map(_rule, doc.rules), last), doc.router, tuple(doc.tools),
                     doc.max_rounds, doc.max_seconds, doc.max_cost)


def _rule(doc: RuleDoc) -> Rule:
    return Rule(doc.reason, tuple(doc.pick), doc.order, doc.tools, doc.images, doc.min_input_tokens,
                doc.max_input_tokens, frozenset(doc.languages), tuple(word.lower() for word in doc.keywords),
                doc.max_output_per_mtok, doc.max_first_ms)


def _composed(model: Model, models: Mapping[str, Model], gifts: Any, problems: list[Problem]) -> Model:
    """A composite model with those of its members that there are. It is reached by any way that reaches one of them."""
    where, composite = f"model '{model.slug}'", model.composite
    for what, names, known in (("router", (composite.router,) if composite.router else (), gifts.routers),
                               ("tools", composite.tools, gifts.tools)):
        problems += [Problem(where, f"'composite.{what}': no enabled plugin brings '{name}'{nearest(name, known)}")
                     for name in names if name not in known]
    members = []
    for slug in composite.members:
        member = models.get(slug)
        if member is None:
            problems.append(Problem(where, f"'composite.members': there is no active model '{slug}'"))
        elif member.composite is not None or member.type != "llm":
            problems.append(Problem(where, f"'composite.members': '{slug}' is itself a composite model, or no llm; name "
                                           "the models that shall answer"))
        else:
            members.append(member)
    routes: dict[str, tuple[Route, ...]] = {}
    for member in members:
        for wire, found in member.routes.items():
            routes[wire] = routes.get(wire, ()) + found
    if not routes:
        problems.append(Problem(where, "none of its members is served by a channel"))
    composite = replace(composite, members=tuple(member.slug for member in members),
                        router=composite.router if composite.router in gifts.routers else "",
                        tools=tuple(name for name in composite.tools if name in gifts.tools))
    return replace(model, routes=MappingProxyType(routes), composite=composite)


def _routes(doc: ModelDoc, channels: list[Channel], endpoints: Endpoints,
            bridges: Mapping[tuple[str, str], Bridge]) -> dict[str, tuple[Route, ...]]:
    """{wire of the client: routes}, native ones before bridged ones, then by priority, then by name."""
    found: dict[str, list[Route]] = {}
    if doc.composite is not None:
        return {}
    for channel in channels:
        if channel.models and doc.slug not in channel.models:
            continue
        upstream_name = channel.models.get(doc.slug, doc.slug)
        wires = {wire: path for wire, path in channel.wires.items() if _carries(wire, doc.type)}
        cost = channel.costs.get(doc.slug)
        for wire, path in wires.items():
            found.setdefault(wire, []).append(
                Route(channel, wire, path, upstream_name, endpoints[channel.name, wire], cost=cost))
        for source in channel.bridges - wires.keys():
            target = next((wire for wire in wires if (source, wire) in bridges), None)
            if target and _carries(source, doc.type):
                found.setdefault(source, []).append(
                    Route(channel, target, wires[target], upstream_name, endpoints[channel.name, target],
                          bridges[source, target], cost))
    return {wire: tuple(sorted(routes, key=_order)) for wire, routes in sorted(found.items())}


def _type_of(gifts: Any, wire: str) -> str:
    found = gifts.wires.get(wire)
    return found.content_type if isinstance(found, Wire) else "application/json"


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
    more = {"per_image_by_size": dict(price.image_by_size_u), "per_mchar": price.characters_u,
            "per_audio_second": price.audio_second_u, "per_voice": price.voice_u}
    return {"input_per_mtok": price.input_u, "output_per_mtok": price.output_u,
            "cache_read_per_mtok": price.cache_read_u, "per_image": price.image_u,
            **{name: amount for name, amount in more.items() if amount}}
