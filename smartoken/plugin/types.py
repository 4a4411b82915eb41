"""The values that plugins hand over. A plugin declares these; the engine compiles them when it makes a snapshot.

Nothing here does I/O. A wire's functions are called on the request path: keep them plain, synchronous and quick.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from smartoken.domain.usage import Usage
from smartoken.errors import Refusal

Headers = tuple[tuple[str, str], ...]

# What an upstream's failure means for the request and for the channel (the table that reads them: engine/health.py).
RETRY = "retry"                # a fault of the upstream: try the next channel, count it against this one's health
COOL = "cool"                  # it asks for patience (429, overloaded): next channel, rest until Retry-After
BROKE = "broke"                # our account there can't pay: next channel, rest 10 minutes, alarm
CREDENTIAL = "credential"      # our credential was refused: next channel, channel off until it changes, alarm
MISSING = "missing"            # it does not know the model: next channel, alarm
CALLER = "caller"              # the request itself is wrong: passed on to the client, nobody else is tried
ELSEWHERE = "elsewhere"        # it holds what another channel made: next channel, nothing is held against this one
MEANINGS = (RETRY, COOL, BROKE, CREDENTIAL, MISSING, CALLER, ELSEWHERE)


def bearer(credential: str) -> Headers:
    """`Authorization: Bearer …`; no header at all for an empty credential (vLLM and the like)."""
    return (("Authorization", f"Bearer {credential}"),) if credential else ()


def header(name: str) -> Callable[[str], Headers]:
    """A credential in a header of its own, e.g. header("x-api-key")."""
    return lambda credential: ((name, credential),) if credential else ()


@dataclass(frozen=True, slots=True)
class Provider:
    """A company or server we buy from. Where two differ, the difference is a field.

    speaks: {wire: path below base_url}. errors: {upstream error code or type: meaning}, consulted before the HTTP
    status. `base_url` may be a function when it is known only after `smartoken_open`. Facts of `quirks` are read by
    the wire: see each wire's docstring for the names it knows.
    """

    slug: str
    base_url: str | Callable[[], str] = ""
    auth: Callable[[str], Headers] = bearer
    speaks: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    headers: Headers = ()
    quirks: Mapping[str, Any] = field(default_factory=dict)
    cancel_stops_billing: bool = True
    needs_credential: bool = True
    renew: Callable[[str], Awaitable[bool]] | None = None  # a refused credential -> True: the catalog has a newer one
    title: str = ""
    docs: str = ""


class Ask(msgspec.Struct, gc=False):
    """The little that we read of a body. `fields` are the top-level fields, undecoded, in the client's order."""

    wire: str
    slug: str
    stream: bool
    body: bytes
    fields: dict[str, msgspec.Raw]
    max_output: int | None = None      # what the client allows, in tokens, all choices together
    usage_wanted: bool = True          # False: the client did not ask for usage in its stream
    images: int = 0
    size: str = ""
    seconds: int = 0
    resolution: str = ""
    suffix: str = ""                   # what follows the wire's path at the provider, e.g. "/count_tokens"
    method: str = "POST"
    free: bool = False                 # counting, reading or deleting: held and charged nothing
    follows: str = ""                  # the stored response that it goes on from or is about
    affinity: str = ""                 # equal texts of one account go to the same channel while that is well


class Failure(msgspec.Struct, frozen=True):
    """An upstream's refusal, read from a body or an event: its own code or type, and its own message."""

    message: str
    code: str = ""
    type: str = ""
    status: int = 0                    # when the body names an HTTP status that the answer's own did not
    rest_s: int | None = None          # seconds that the body asks to be left alone for


class StreamReader(Protocol):
    """Reads one upstream's event stream; one object per attempt. Bytes in, bytes for the client out."""

    started: bool                      # a valid event has been seen: the answer may be committed
    failure: Failure | None            # an error event; before `started` it lets the next channel try
    ended: bool                        # the wire's terminal event has been seen
    finished: bool                     # the answer's content is complete (a finish reason), even without that event
    counted: int                       # output tokens delivered, by our own count

    def feed(self, data: bytes) -> bytes:
        """What of `data` (and of what was kept back) goes to the client now; may be empty."""

    def close(self) -> bytes:
        """The upstream ended: what was kept back and still belongs to the client."""

    def usage(self) -> Usage | None:
        """What the upstream reported, None if it did not (yet)."""

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """The event that tells usage and cost, kept back when the reader was made with `keep_usage`."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A named byte dialect and the client paths where it is served.

    peek(body) -> Ask, raises Refusal 400. body(ask, upstream_name, quirks) -> the upstream's body, equal to the
    client's but for what it says it changes. reader(ask, quirks, keep_usage) -> StreamReader. whole(data, ask, quirks)
    reads a complete answer: (usage or None, failure or None, tokens by our own count). refuse(refusal, rid) and
    refuse_in_stream(refusal, rid) render an error in the wire's shape: a body, or the last bytes of a stream.
    add_cost(data, cost_u) puts `cost_micro_usd` into an answer's usage. `insured`: an answer without any output costs
    nothing.

    A wire that takes more than a body's word: `prefixes` are beginnings of client paths that are its own as well,
    `methods` what it takes there, and `peek_at(method, path, query, body)` then stands in for peek (path and query as
    text). The upstream's path is the provider's for this wire, with the upstream name for `{model}`, then Ask.suffix.
    gather(stream) makes the whole answer (or error body) that a complete event stream tells, for upstreams that only
    stream (quirk `stream_only`). answer_id(data, ask) finds the id of an answer that the upstream stores
    in its first bytes. `pass_headers`:
    {the client's header, lower case, that goes upstream: what is sent when it is absent, b"" for nothing}; all others
    stay here. `rid_header`: one more header's name that carries the request's id.
    """

    name: str
    paths: Sequence[str]
    peek: Callable[[bytes], Ask]
    body: Callable[[Ask, str, Mapping[str, Any]], bytes]
    reader: Callable[[Ask, Mapping[str, Any], bool], StreamReader]
    whole: Callable[[bytes, Ask, Mapping[str, Any]], tuple[Usage | None, Failure | None, int]]
    refuse: Callable[[Refusal, str], bytes]
    refuse_in_stream: Callable[[Refusal, str], bytes]
    failure: Callable[[bytes], Failure]            # reads the body of a refused call, whatever it is
    add_cost: Callable[[bytes, int], bytes] | None = None
    insured: bool = True
    prefixes: Sequence[str] = ()
    methods: Sequence[str] = ("POST",)
    peek_at: Callable[[str, str, str, bytes], Ask] | None = None
    gather: Callable[[bytes], bytes] | None = None
    answer_id: Callable[[bytes, Ask], str] | None = None
    pass_headers: Mapping[bytes, bytes] = field(default_factory=dict)
    rid_header: str = ""


@dataclass(frozen=True, slots=True)
class Bridge:
    """Serves clients of the wire `source` on a channel that speaks `target`; bytes -> bytes, no chains."""

    source: str
    target: str
    request: Callable[[Ask, str, Mapping[str, Any]], bytes]
    answer: Callable[[bytes, Ask], bytes]
    stream: Callable[[Ask], Any]       # an object with feed(bytes) -> bytes and close() -> bytes


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that composite models may run on the server: JSON Schema of its parameters and an async call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any]], Any]
