"""The catalog as the request path sees it: light immutable values, compiled from documents when a snapshot is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smartoken.domain.price import Price


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key. `models` empty means every model; `exp_ms` 0 means never; `rev` rises with each change."""

    digest: bytes
    kid: str
    acct: str
    name: str
    models: frozenset[str] = frozenset()
    exp_ms: int = 0
    active: bool = True
    rpm: int = 0
    tpm: int = 0
    show_cost: bool = False
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. No money here: that is the ledger's."""

    id: str
    name: str
    active: bool = True
    overdraft_u: int = 0
    rpm: int = 0
    tpm: int = 0
    rev: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One configured way to a provider. `credential` is the opened secret: never logged, never in an answer.

    `wires` says which wires it may serve ({wire: path at the provider}); `models` maps slugs to upstream names, and
    empty means that it serves every model under its own slug's name. `bridges` switches bridges on by source wire.
    """

    name: str
    provider: Any                      # smartoken.plugin.types.Provider
    base_url: str
    credential: str = field(default="", repr=False)
    wires: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    bridges: frozenset[str] = frozenset()
    priority: int = 0                  # lower is tried first
    weight: int = 100
    active: bool = True
    rpm: int = 0
    tpm: int = 0
    max_inflight: int = 0
    first_byte_s: int = 120
    idle_s: int = 60
    total_s: int = 1800
    cancel_stops_billing: bool = True
    proxy: str = ""                    # URL of the proxy on the way to the provider
    settings: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, Price] = field(default_factory=dict)   # what the operator pays for a model, where known
    rev: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One channel that can serve one model on one wire; `wire` is the upstream's (it differs when `bridge` is set)."""

    channel: Channel
    wire: str
    path: str
    upstream_name: str
    endpoint: Any = None               # smartoken.engine.endpoint.Endpoint
    bridge: Any = None                 # smartoken.plugin.types.Bridge
    cost: Price | None = None          # what the operator pays there, where known


@dataclass(frozen=True, slots=True)
class Rule:
    """When all that it says holds, a composite model picks among `pick` (all members when empty) by `order`."""

    reason: str
    pick: tuple[str, ...] = ()
    order: str = "listed"              # listed, cheapest or fastest
    tools: bool | None = None
    images: bool | None = None
    min_input: int = 0                 # tokens, estimated
    max_input: int = 0                 # 0: no limit
    languages: frozenset[str] = frozenset()
    keywords: tuple[str, ...] = ()     # in lower case; one is enough
    max_output_u: int | None = None    # only members whose output costs no more, per million tokens
    max_first_ms: int = 0              # only members seen to be as quick as that


@dataclass(frozen=True, slots=True)
class Composite:
    """A model that stands for one of its members each time; see engine/composite.py."""

    members: tuple[str, ...]
    rules: tuple[Rule, ...]            # the last one always holds
    router: str = ""
    tools: tuple[str, ...] = ()
    max_rounds: int = 4
    max_seconds: int = 60
    max_cost_u: int = 0                # past it no further tool is run; 0 is no limit


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What a client asks for. `routes[wire]` is ordered: native before bridged, then by priority, then by name.

    `public` is its /v1/models object, empty when it is sold but not listed.
    """

    slug: str
    type: str                          # llm, text2image, text2video, embedding, speech
    price: Price
    routes: Mapping[str, tuple[Route, ...]]
    public: Mapping[str, Any]
    context_length: int = 0
    max_output: int = 0                # 0: unknown; the hold then assumes admission.DEFAULT_OUTPUT
    rpm: int = 0
    tpm: int = 0
    sizes: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()
    durations: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    composite: Composite | None = None
    created: int = 0                   # seconds
    about: Mapping[str, str] = field(default_factory=dict)     # title, description, owned_by


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything routing reads, replaced whole. Keys and accounts are followed one by one (engine/auth.py)."""

    models: Mapping[str, Model]
    channels: Mapping[str, Channel]
    models_json: bytes                 # the ready answer of GET /v1/models
    seq: int = 0                       # the last entry of the CHANGES chain that it contains
    models_etag: str = ""              # of models_json, quotes included
    shop: Any = None                   # smartoken.engine.storefront.Shop
