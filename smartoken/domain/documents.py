"""The catalog as it is written and stored: one document each for a model, a channel, an account and a key.

In the store a document is a dict: its id as `_id`, its revision as `rev`, every other field under its own name.
"""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, field_validator, model_validator

from smartoken.domain.pricing import Micro, Pricing
from smartoken.strict import Strict, Whole, decode, worded

SECRET_REFS = ("env:", "file:")  # how a reference to a secret begins (smartoken/secrets.py)
PLUGIN_REFS = ("oauth:", "vault:")  # and those that a plugin opens (hook smartoken_secret)
SEALED = "v1."  # how a sealed secret begins (engine/seal.py)

WIRE_NAMES = {"chat": "openai.chat", "responses": "openai.responses", "images": "openai.images",
              "videos": "openai.videos", "embeddings": "openai.embeddings", "speech": "openai.speech", "transcriptions": "openai.transcriptions",
              "messages": "anthropic.messages", "gemini": "gemini.generate"}
"""The short names an operator may write in `wire_api` and `bridges`."""

Count = Annotated[Whole, Field(ge=0)]
Seconds = Annotated[Whole, Field(ge=1, le=86_400)]
Slug = Annotated[str, Field(min_length=1, max_length=128, pattern=worded(
    r"^[A-Za-z0-9][A-Za-z0-9._:/+-]*$", "letters, digits and . _ : / + -, a letter or digit first"))]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=worded(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "letters, digits and . _ -, a letter or digit first"))]
Text = Annotated[str, Field(min_length=1, max_length=64)]

# type: (every one of these prices must be given, or one of these, remedy)
PRICED = {
    "llm": (("input_per_mtok", "output_per_mtok"), "input_per_mtok and output_per_mtok"),
    "text2image": ((), "per_image, or per_image_by_size for every one of available_sizes"),
    "text2video": (("video_price_per_second_by_resolution",), "video_price_per_second_by_resolution"),
    "embedding": (("input_per_mtok",), "input_per_mtok"),
    "speech": ((), "per_mchar or per_audio_second"),
    "transcription": ((), "per_audio_second, or input_per_mtok and output_per_mtok"),
}


class Document(Strict):
    """Nothing is coerced ("5" is no number), and no error repeats what was given: it may be a secret."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)
    ID: ClassVar[str]


AnyDocument = TypeVar("AnyDocument", bound=Document)


Order = Literal["listed", "cheapest", "fastest"]


class RuleDoc(Document):
    """When all that it says of the request holds, one of `pick` (else of all members) answers: by `order`, and of those
    that keep below the ceilings. `reason` is what clients read in `thinking`; without one it is told from the rule.
    """

    ID: ClassVar[str] = "reason"

    reason: Annotated[str, Field(max_length=200)] = ""
    pick: list[Slug] = Field(default_factory=list)
    order: Order = "listed"
    tools: bool | None = None
    images: bool | None = None
    min_input_tokens: Count = 0
    max_input_tokens: Count = 0
    languages: list[Literal["ar", "el", "he", "hi", "ja", "ko", "latin", "ru", "th", "zh"]] = Field(default_factory=list)
    keywords: list[Text] = Field(default_factory=list)
    max_output_per_mtok: Micro | None = None
    max_first_ms: Count = 0


class CompositeDoc(Document):
    """Members in the order of the last resort, rules of which the first that holds counts, tools run on the server.

    `order` picks where no rule holds. `router` names a plugin's picker, asked before the rules. A request runs tools in
    at most `max_rounds` rounds, `max_seconds` in all, and none any more once it costs `max_cost` (0: no limit).
    """

    ID: ClassVar[str] = "members"

    members: Annotated[list[Slug], Field(min_length=1, max_length=32)]
    rules: list[RuleDoc] = Field(default_factory=list)
    order: Order = "listed"
    router: str = ""
    tools: list[Name] = Field(default_factory=list)
    max_rounds: Annotated[Whole, Field(ge=1, le=16)] = 4
    max_seconds: Annotated[Whole, Field(ge=1, le=600)] = 60
    max_cost: Micro = 0


class ModelDoc(Document):
    """What clients may ask for. `created` (seconds) and `price_rev` (`slug@n`) are set by the catalog's writer."""

    ID: ClassVar[str] = "slug"

    slug: Slug
    type: Literal["llm", "text2image", "text2video", "embedding", "speech", "transcription"] = "llm"
    owned_by: str = "smartoken"
    title: str = ""
    description: str = ""
    category: str = ""
    pricing: Pricing
    price_rev: str = ""
    available_sizes: list[Text] = Field(default_factory=list)
    available_ratios: list[Text] = Field(default_factory=list)
    available_durations: list[Seconds] = Field(default_factory=list)
    context_length: Count = 0
    max_output: Count = 0
    rpm: Count = 0
    tpm: Count = 0
    active: bool = True
    public: bool = True                # False: sold, but not listed
    created: Count = 0
    settings: dict[str, Any] = Field(default_factory=dict)
    composite: CompositeDoc | None = None

    @model_validator(mode="after")
    def _members_and_rules_agree(self) -> Self:
        if self.composite is not None:
            if self.type != "llm":
                raise ValueError("'composite': only an llm can stand for other models")
            if self.slug in self.composite.members:
                raise ValueError("'composite.members': a composite model cannot be its own member")
            for rule in self.composite.rules:
                if strangers := set(rule.pick) - set(self.composite.members):
                    raise ValueError(f"'composite.rules': {', '.join(sorted(strangers))} is not among the members")
        return self

    @model_validator(mode="after")
    def _sold_at_a_price(self) -> Self:
        """Nothing is given away by omission: whatever a model of this type delivers has a price, 0 if need be."""
        names, remedy = PRICED[self.type]
        given = all(getattr(self.pricing, name) not in (None, {}) for name in names)
        if self.type == "speech":
            given = self.pricing.per_mchar is not None or self.pricing.per_audio_second is not None
        if self.type == "transcription":
            given = self.pricing.per_audio_second is not None or None not in (self.pricing.input_per_mtok,
                                                                              self.pricing.output_per_mtok)
        if self.type == "text2image" and self.pricing.per_image is None:
            given = bool(self.available_sizes) and set(self.available_sizes) <= set(self.pricing.per_image_by_size)
        if not given:
            raise ValueError(f"'pricing': a {self.type} model needs {remedy} (0 is free)")
        if self.type == "text2video" and not self.available_durations:
            raise ValueError("'available_durations': a text2video model needs its lengths in seconds, such as [5]")
        return self


class Timeouts(Strict):
    """Seconds: until the first byte of an answer, between two events, and in all."""

    first_byte_s: Seconds = 120
    idle_s: Seconds = 60
    total_s: Seconds = 1800


class ChannelDoc(Document):
    """One configured way to a provider.

    `credential`: `env:NAME`, `file:path`, or sealed; clear text exists only on its way to the writer, which seals it.
    `wire_api`: the wires it may serve; empty is all that the provider speaks but those that must be switched on
    (compile.ASKED_FOR). `models`: {slug: the provider's name}, or a list of slugs whose name is the same; empty is
    every model. `costs`: what the operator pays there for a model, for the margin. `bridges`: wires of clients that it may serve by translation. `priority`: lower is tried first.
    """

    ID: ClassVar[str] = "name"

    name: Name
    provider: Text
    base_url: str = ""
    credential: str = Field(default="", repr=False)
    wire_api: list[Text] = Field(default_factory=list)
    models: dict[Slug, Annotated[str, Field(min_length=1, max_length=256)]] = Field(default_factory=dict)
    bridges: list[Text] = Field(default_factory=list)
    priority: Whole = 0
    weight: Annotated[Whole, Field(ge=1, le=1_000_000)] = 100
    active: bool = True
    rpm: Count = 0
    tpm: Count = 0
    max_inflight: Count = 0
    timeouts: Timeouts = Timeouts()
    cancel_stops_billing: bool | None = None       # None: as the provider declares
    proxy: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    costs: dict[Slug, Pricing] = Field(default_factory=dict)

    @field_validator("credential", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if type(value) is not str or len(value) > 65_536:
            raise ValueError("is env:NAME or file:path, as text in quotes")
        return value

    @field_validator("wire_api", "bridges", mode="after")
    @classmethod
    def _full_names(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(WIRE_NAMES.get(name, name) for name in value))

    @field_validator("models", mode="before")
    @classmethod
    def _list_or_map(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(slug, str) for slug in value):
            return {slug: slug for slug in value}
        return value

    @field_validator("base_url", "proxy", mode="after")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("begins with https:// (or http:// inside your own network)")
        return value.rstrip("/")


class AccountDoc(Document):
    """Who pays. `overdraft_u` is how far below zero the ledger may let it go."""

    ID: ClassVar[str] = "id"

    id: Name
    name: str = ""
    active: bool = True
    overdraft_u: Micro = 0
    rpm: Count = 0
    tpm: Count = 0
    created_ms: Count = 0


class KeyDoc(Document):
    """A client's key without its text. `digest` is HMAC-SHA-256(pepper, text) in hex; `pepper` is a fingerprint of the
    pepper, so that a node with another one is found out at start instead of refusing every key."""

    ID: ClassVar[str] = "digest"

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    kid: str
    last4: str = ""
    acct: Name
    name: str = ""
    models: list[Slug] = Field(default_factory=list)
    exp_ms: Count = 0
    active: bool = True
    rpm: Count = 0
    tpm: Count = 0
    show_cost: bool = False
    pepper: str = ""
    created_ms: Count = 0


class CategoryDoc(Document):
    """A shelf of the storefront. `order`: lower comes first. Inactive ones are hidden with all that they hold."""

    ID: ClassVar[str] = "slug"

    slug: Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    description: str = ""
    image: str = ""
    order: Whole = 0
    active: bool = True


class ListingDoc(Document):
    """A thing on a shelf: a model as a shop shows it. Hidden while it, its category or its model is inactive, or
    its model is not public."""

    ID: ClassVar[str] = "slug"

    slug: Name
    category: Name
    model: Slug
    title: Annotated[str, Field(min_length=1, max_length=120)]
    summary: Annotated[str, Field(max_length=500)] = ""
    description: str = ""
    image: str = ""
    tags: list[Text] = Field(default_factory=list)
    featured: bool = False
    order: Whole = 0
    active: bool = True
    created: Count = 0


DOCUMENTS: dict[str, type[Document]] = {"models": ModelDoc, "channels": ChannelDoc, "categories": CategoryDoc,
                                        "listings": ListingDoc, "accounts": AccountDoc, "keys": KeyDoc}


def is_clear(credential: str) -> bool:
    """True for a credential that is neither empty, nor a reference, nor sealed: the secret itself."""
    return bool(credential) and not credential.startswith((SEALED, *SECRET_REFS, *PLUGIN_REFS))


def id_of(doc: Document) -> str:
    return getattr(doc, doc.ID)


def to_store(doc: Document) -> dict[str, Any]:
    """The dict that a store keeps; its `rev` is the writer's to set."""
    fields = doc.model_dump(mode="json", exclude_none=True)
    return {"_id": fields.pop(doc.ID), "rev": 0, **fields}


def from_store(cls: type[AnyDocument], stored: dict[str, Any]) -> AnyDocument:
    """The document behind a stored dict. Fields that a newer version wrote are passed over, so that nodes of two
    versions can share a store; ConfigError when what remains is not sound."""
    fields = {name: value for name, value in stored.items() if name in cls.model_fields}
    return decode(cls, {**fields, cls.ID: stored["_id"]}, f"the store's {cls.__name__} '{stored['_id']}'")
