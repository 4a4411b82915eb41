"""The catalog as it is written and stored: one document each for a model, a channel, an account and a key.

In the store a document is a dict: its id as `_id`, its revision as `rev`, every other field under its own name.
"""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, field_validator, model_validator

from smartoken.domain.pricing import Micro, Pricing
from smartoken.strict import Strict, Whole, decode

SECRET_REFS = ("env:", "file:")  # how a reference to a secret begins (smartoken/secrets.py)
SEALED = "v1."  # how a sealed secret begins (engine/seal.py)

WIRE_NAMES = {"chat": "openai.chat", "responses": "openai.responses", "images": "openai.images",
              "videos": "openai.videos", "embeddings": "openai.embeddings", "speech": "openai.speech",
              "messages": "anthropic.messages", "gemini": "gemini.generate"}
"""The short names an operator may write in `wire_api` and `bridges`."""

Count = Annotated[Whole, Field(ge=0)]
Seconds = Annotated[Whole, Field(ge=1, le=86_400)]
Slug = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+-]*$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Text = Annotated[str, Field(min_length=1, max_length=64)]

# type: (every one of these prices must be given, or one of these, remedy)
PRICED = {
    "llm": (("input_per_mtok", "output_per_mtok"), "input_per_mtok and output_per_mtok"),
    "text2image": ((), "per_image, or per_image_by_size for every one of available_sizes"),
    "text2video": (("video_price_per_second_by_resolution",), "video_price_per_second_by_resolution"),
    "embedding": (("input_per_mtok",), "input_per_mtok"),
    "speech": (("per_mchar",), "per_mchar"),
}


class Document(Strict):
    """Nothing is coerced ("5" is no number), and no error repeats what was given: it may be a secret."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)
    ID: ClassVar[str]


AnyDocument = TypeVar("AnyDocument", bound=Document)


class ModelDoc(Document):
    """What clients may ask for. `created` (seconds) and `price_rev` (`slug@n`) are set by the catalog's writer."""

    ID: ClassVar[str] = "slug"

    slug: Slug
    type: Literal["llm", "text2image", "text2video", "embedding", "speech"] = "llm"
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

    @model_validator(mode="after")
    def _sold_at_a_price(self) -> Self:
        """Nothing is given away by omission: whatever a model of this type delivers has a price, 0 if need be."""
        names, remedy = PRICED[self.type]
        given = all(getattr(self.pricing, name) not in (None, {}) for name in names)
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
    every model. `bridges`: wires of clients that it may serve by translation. `priority`: lower is tried first.
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


DOCUMENTS: dict[str, type[Document]] = {"models": ModelDoc, "channels": ChannelDoc, "accounts": AccountDoc,
                                        "keys": KeyDoc}


def is_clear(credential: str) -> bool:
    """True for a credential that is neither empty, nor a reference, nor sealed: the secret itself."""
    return bool(credential) and not credential.startswith((SEALED, *SECRET_REFS))


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
