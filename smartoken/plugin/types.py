"""The values that plugins hand over. A plugin declares these; the engine compiles them when it makes a snapshot.

Nothing here does I/O. A wire's functions are called on the request path: keep them plain, synchronous and quick.
It is one file so that an author finds every value in one place.
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
CREDENTIAL = "credential"      # our credential was refused: next channel, rest 10 minutes or until it changes, alarm
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
    the wire: see each wire's docstring for the names it knows. makers: {wire of long work: how this provider does it},
    where it does not speak the wire's own dialect. voices: how it clones voices, if it does. heard(credential, headers)
    is told of the head of each answer to a call, on the request path: plain, quick, and never raising. session_header
    carries Ask.session to it, for its prompt cache. auth(credential) gives the headers that carry it (and does
    nothing else: it runs in any thread), wire_auth those for wires {wire: auth} where the same server wants others.
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
    heard: Callable[[str, Sequence[tuple[bytes, bytes]]], None] | None = None
    session_header: str = ""
    title: str = ""
    docs: str = ""
    makers: Mapping[str, "Maker"] = field(default_factory=dict)
    voices: "VoiceMaker | None" = None
    wire_auth: Mapping[str, Callable[[str], Headers]] = field(default_factory=dict)


class Part(msgspec.Struct, frozen=True):
    """One file of a multipart body."""

    name: str
    filename: str
    content_type: str
    data: bytes


class Ask(msgspec.Struct, gc=False):
    """The little that we read of a body. `fields` are the top-level fields, undecoded, in the client's order."""

    wire: str
    slug: str
    stream: bool
    body: bytes
    fields: dict[str, msgspec.Raw]
    max_output: int | None = None      # what the client allows, in tokens, all choices together
    choices: int = 1                   # answers asked for at once
    filled: tuple[str, ...] = ()       # fields whose value is ours, where the client gave none
    max_cost_p: int = 0                # the client's own limit of the cost, in pUSD; 0 is none
    usage_wanted: bool = True          # False: the client did not ask for usage in its stream
    images: int = 0
    size: str = ""
    quality: str = ""
    seconds: int = 0
    resolution: str = ""
    characters: int = 0                # of a text to be spoken
    audio_ms: int = 0                  # of a recording sent in, as far as its length can be told
    voice: str = ""                    # of our own kind: the channel that keeps it alone can speak with it
    suffix: str = ""                   # what follows the wire's path at the provider, e.g. "/count_tokens"
    method: str = "POST"
    free: bool = False                 # counting, reading or deleting: held and charged nothing
    follows: str = ""                  # the stored response that it goes on from or is about
    affinity: str = ""                 # equal texts of one account go to the same channel while that is well
    session: str = ""                  # the client's own name of the conversation; printable ASCII without blanks
    ratio: str = ""
    inline: bool = False               # pictures in the answer itself (b64_json), not by URL
    files: tuple[Part, ...] = ()       # of a multipart body; its plain fields are in `fields`


class Look(msgspec.Struct, frozen=True):
    """What a composite model's rules are asked about. `text` is all that the client wrote, `said` its last message."""

    tools: bool = False                # the client brings tools of its own
    images: int = 0
    text: str = ""
    said: str = ""


class Member(msgspec.Struct, frozen=True):
    """A member of a composite model as it is now. `cost_u` is what it would be sold at, in µUSD per 1,000 requests like
    this one; `first_ms` the time to its first byte as seen here, 0 when it was not asked yet."""

    slug: str
    healthy: bool
    cost_u: int
    first_ms: int
    context_length: int = 0
    output_u: int = 0                  # its list price per million tokens of output


class Told(msgspec.Struct, frozen=True):
    """What the gateway adds to a finished answer: the model as the client named it, its cost, what it used, and the
    stages that the gateway went through."""

    slug: str
    cost_u: int
    usage: Usage
    stages: Sequence[Mapping[str, Any]]


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
    pending: int                       # bytes at the end of what feed gave that begin an event which is not whole yet

    def feed(self, data: bytes) -> bytes:
        """What of `data` (and of what was kept back) goes to the client now; may be empty."""

    def close(self) -> bytes:
        """The upstream ended: what was kept back and still belongs to the client."""

    def usage(self) -> Usage | None:
        """What the upstream reported, None if it did not (yet)."""

    def cost_event(self, add_cost: Callable[[bytes, int], bytes], cost_u: int) -> bytes:
        """The event that tells usage and cost, kept back when the reader was made with `keep_usage`."""

    def cut(self, why: Refusal, usage: Usage, add_cost: Callable[[bytes, int], bytes] | None, cost_u: int) -> bytes:
        """The wire's own last events for a stream that we end after a whole event: as one that reached its limit of
        output, with our reason (`why.code`, `why.message`) where a client can read it. The cost with `add_cost`."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A named byte dialect and the client paths where it is served.

    peek(body) -> Ask, raises Refusal 400. body(ask, upstream_name, quirks) -> the upstream's body, equal to the
    client's but for what it says it changes. reader(ask, quirks, keep_usage) -> StreamReader. whole(data, ask, quirks)
    reads a complete answer: (usage or None, failure or None, tokens by our own count). refuse(refusal, rid) and
    refuse_in_stream(refusal, rid) render an error in the wire's shape: a body, or the last bytes of a stream.
    add_cost(data, cost_u) puts `cost_micro_usd` into an answer's usage. cap(ask, tokens, quirks) -> the ask's fields
    with the output limited to so many tokens over all choices; None where a wire writes no output. `insured`: an answer
    without any output costs nothing.

    A wire that takes more than a body's word: `prefixes` are beginnings of client paths that are its own as well,
    `methods` what it takes there, and `peek_at(method, path, query, body)` then stands in for peek (path and query as
    text). The upstream's path is the provider's for this wire, with the upstream name for `{model}`, then Ask.suffix.
    gather(stream) makes the whole answer (or error body) that a complete event stream tells, for upstreams that only
    stream (quirk `stream_only`). answer_id(data, ask) finds the id of an answer that the upstream stores
    in its first bytes. forget(ask, failure) -> the ask's fields without what another channel made, None when the
    failure is about something else or there is no such thing. `pass_headers`: {the client's header, lower case, that
    goes upstream: what is sent when it is absent, b"" for nothing}; all others stay here. `rid_header`: one more
    header's name that carries the request's id, on every path below the version of this wire's own (`/api/v1/…`).
    `key_in_query`: the field of the address in which this wire's clients may show their key, '' for none; an address is
    written to no log.
    tell(data, told) stands in for add_cost where an answer always tells more. look(ask) -> Look, for composite models.
    turns: how server-side tools are talked about, for wires that can. answer_type(ask, upstream's Content-Type) gives
    the client's, for wires whose answers are not JSON and event streams. A refuse_in_stream that gives b"" has the
    connection cut: no words fit into such a stream. `content_type` is the upstream request's. `openapi`:
    its {client path: {method: operation}} in /openapi.json, see plugins/README.md.
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
    cap: Callable[[Ask, int, Mapping[str, Any]], dict[str, msgspec.Raw]] | None = None
    insured: bool = True
    prefixes: Sequence[str] = ()
    methods: Sequence[str] = ("POST",)
    peek_at: Callable[[str, str, str, bytes], Ask] | None = None
    gather: Callable[[bytes], bytes] | None = None
    answer_id: Callable[[bytes, Ask], str] | None = None
    forget: Callable[[Ask, Failure], dict[str, msgspec.Raw] | None] | None = None
    pass_headers: Mapping[bytes, bytes] = field(default_factory=dict)
    rid_header: str = ""
    key_in_query: str = ""
    tell: Callable[[bytes, Told], bytes] | None = None
    look: Callable[[Ask], Look] | None = None
    turns: "Turns | None" = None
    answer_type: Callable[[Ask, bytes], bytes] | None = None
    content_type: str = "application/json"
    openapi: Mapping[str, Any] = field(default_factory=dict)


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
    """A tool that composite models may run on the server: JSON Schema of its parameters and an async call.

    call(arguments) -> text for the model. What it raises becomes a text as well, and the model goes on without.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any]], Any]


class ToolCall(msgspec.Struct, frozen=True):
    """A model wants a tool of ours: `name` is the Tool's own, `arguments` its JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


class Turn(Protocol):
    """One turn of a model among several; made by Turns.turn. Shows the client its own part of it and keeps ours."""

    calls: Sequence[ToolCall]          # tools of ours that it wants; none when it also wants one of the client's

    def feed(self, data: bytes) -> bytes:
        """Of a stream: the bytes in, the client's out."""

    def whole(self, data: bytes) -> None:
        """A complete answer."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How a wire talks about tools of ours, so that one answer may be made of several turns.

    offer(ask, tools) -> (Ask that offers them too, {name there: Tool's name}), None where this ask can't have them.
    turn(names, before) -> Turn; `before` is the one before it, None for the first. follow(ask, turn, results, last) ->
    the next Ask: results are texts by ToolCall.id, `last` forbids further calls. close(turn, usage, tell) -> the end of a
    stream: usage None when nothing of it is told, and tell(chunk) adds what the wire tells besides. answer(turn, usage)
    -> the complete answer of all turns.
    """

    offer: Callable[[Ask, Sequence[Tool]], tuple[Ask, Mapping[str, str]] | None]
    turn: Callable[[Mapping[str, str], "Turn | None"], Turn]
    follow: Callable[[Ask, Any, Mapping[str, str], bool], Ask]
    close: Callable[[Any, Usage | None, Callable[[bytes], bytes]], bytes]
    answer: Callable[[Any, Usage], bytes]
# What an upstream says of long work. `missing`: it knows of no such work.
RUNNING, MADE, FAILED, CANCELED, GONE = "running", "made", "failed", "canceled", "missing"


class Sample(msgspec.Struct, frozen=True):
    """A recording to clone a voice from; `url` is where the provider can fetch it."""

    name: str
    data: bytes
    content_type: str
    filename: str
    url: str
    language: str = ""


class Outgoing(msgspec.Struct, frozen=True):
    """A call to an upstream, its path below Maker.root. `lasting`: what it begins lives on upstream by itself, so a
    call that ended unclear must be looked into and never be made again."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    headers: Headers = ()
    lasting: bool = False


class Result(msgspec.Struct, frozen=True):
    """One picture or film as an upstream hands it over: a URL, or base64 in `data`; or why there is none."""

    url: str = ""
    data: bytes = b""
    note: str = ""                     # the prompt as the upstream revised it
    failure: str = ""


class Said(msgspec.Struct, frozen=True):
    """What an upstream said of long work: `state` is one of RUNNING, MADE, FAILED, CANCELED, GONE.

    RUNNING carries `upstream_id`; MADE carries results; `video_ms` is the length billed there, None if not told.
    """

    state: str
    upstream_id: str = ""
    results: tuple[Result, ...] = ()
    video_ms: int | None = None
    failure: Failure | None = None
    tokens: Mapping[str, Any] | None = None        # a usage object that belongs into the answer as it is
    waiting: bool = False              # RUNNING, but not begun: it may still be canceled


@dataclass(frozen=True, slots=True)
class Maker:
    """How a provider makes pictures or films: pure functions, the engine does the calls.

    submit(ask, upstream_name, path, settings) -> Outgoing; `path` is the provider's for the wire (`speaks`), `settings`
    the channel's; raises Refusal 400 for what this provider cannot do. read(body, ask) -> Said reads every good answer,
    of submit and of poll. failure(body) -> Failure reads a refused one. poll(upstream_id) and cancel(upstream_id) ->
    Outgoing. root(base_url) -> the URL that all paths lie below. pace_s: seconds to the first poll, and between polls.
    lives_h: hours after which the upstream has forgotten.
    """

    submit: Callable[[Ask, str, str, Mapping[str, Any]], Outgoing]
    read: Callable[[bytes, Ask], Said]
    failure: Callable[[bytes], Failure]
    poll: Callable[[str], Outgoing] | None = None
    cancel: Callable[[str], Outgoing] | None = None
    root: Callable[[str], str] = str
    pace_s: tuple[float, float] = (10, 15)
    lives_h: int = 24


@dataclass(frozen=True, slots=True)
class VoiceMaker:
    """How a provider clones voices: pure functions, the engine does the calls.

    clone(sample, upstream_name, settings) yields each call, gets the body of its good answer, and returns the provider's
    voice; raises Refusal. remove(voice) -> the call that deletes it. failure(body) -> None for a good body. state(voice)
    -> the call that asks for a voice that is not ready at once, read_state(body) -> "ready", "processing" or "failed".
    """

    clone: Callable[[Sample, str, Mapping[str, Any]], Any]
    remove: Callable[[str], Outgoing]
    failure: Callable[[bytes], Failure | None]
    state: Callable[[str], Outgoing] | None = None
    read_state: Callable[[bytes], str] | None = None
    root: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class JobDoor:
    """One client path of a wire of long work: POST makes a job; GET path/<id> shows it, POST path/<id>/cancel and
    DELETE path/<id> stop it, GET path/<id>/content leads to what it made.

    peek(body, content_type) -> Ask, raises Refusal 400. whole(job, items) -> the answer of a call that waited to the
    end: `job` is a domain.job.Job, items are {"url"} or {"b64_json"} dicts. show(job, items) -> the job's object,
    finished or not. waits: a POST answers at the end, unless the client prefers otherwise.
    """

    path: str
    peek: Callable[[bytes, str], Ask]
    whole: Callable[[Any, Sequence[Mapping[str, Any]]], Mapping[str, Any]]
    show: Callable[[Any, Sequence[Mapping[str, Any]]], Mapping[str, Any]]
    waits: bool = True


@dataclass(frozen=True, slots=True)
class JobWire:
    """A wire of long work. `maker` is its own dialect, for providers that declare none; `kind` is image or video."""

    name: str
    kind: str
    doors: Sequence[JobDoor]
    maker: Maker | None = None
    openapi: Mapping[str, Any] = field(default_factory=dict)
