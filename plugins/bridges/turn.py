"""What a request and an answer mean, whichever wire they came on: the middle of every bridge.

Each wire has a file that reads its bytes into these values and writes its bytes from them. What a wire cannot say is a
Refusal that names the client's own field; hints that change no answer (HINTS) are left behind without a word.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from smartoken.plugin import Refusal, Usage, refuse

END, LENGTH, CALLS, FILTERED, SEQUENCE = "end", "length", "calls", "filtered", "sequence"
"""Why an answer stopped: by itself, at its limit, to have tools called, by a filter, at a stop sequence."""

CHOICES = ("", "auto", "none", "required", "named")

HINTS = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                   "prompt_cache_retention", "cache_control"})
"""Labels and wishes about caching, storing and speed: passed where the other wire knows them, else left out."""

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a value of the wrong shape raises."""


class Text(msgspec.Struct, frozen=True):
    text: str


class Refused(msgspec.Struct, frozen=True):
    """The model's own words of refusal."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """`url` is https:// or data:; `file` an id at the provider."""

    url: str = ""
    detail: str = ""
    file: str = ""


class File(msgspec.Struct, frozen=True):
    """`data` is a data: URL; `file` an id at the provider."""

    name: str = ""
    data: str = ""
    url: str = ""
    file: str = ""


Part = Text | Refused | Image | File


class Message(msgspec.Struct):
    """`role` is user, assistant or system (one in the midst of a talk)."""

    role: str
    parts: list[Part]


class Call(msgspec.Struct):
    """A tool that the model called: `arguments` is JSON, or any text for a custom tool."""

    id: str
    name: str
    arguments: str
    custom: bool = False


class Result(msgspec.Struct):
    """What a tool gave back."""

    id: str
    parts: list[Part]
    failed: bool = False
    custom: bool = False


class Thought(msgspec.Struct):
    """Reasoning that can be shown; `seal` is what its maker must get back with it, `id` its name there."""

    text: str
    seal: str = ""
    id: str = ""


REDACTED = "redacted:"
"""Begins the seal of a thought that nobody may read, so that it goes back to Messages in a block of that kind."""


def sealed(thought: Thought) -> str:
    """A seal with the thought's id, in the one opaque text that a client gives back."""
    return f"{thought.id}~{thought.seal}" if thought.id and thought.seal else thought.seal


def block_of(thought: Thought) -> dict[str, Any]:
    """The thought as a block of Messages; clients of chat get the same."""
    if thought.seal.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": thought.seal.removeprefix(REDACTED)}
    return {"type": "thinking", "thinking": thought.text, "signature": sealed(thought)}


def thought_of(block: Mapping[str, Any]) -> Thought:
    """The thought in such a block."""
    if block["type"] == "redacted_thinking":
        return Thought("", REDACTED + block["data"])
    id, _, seal = (block.get("signature") or "").rpartition("~")
    return Thought(block["thinking"], seal, id)


Item = Message | Call | Result | Thought


class Tool(msgspec.Struct):
    """`schema` is JSON Schema; a custom tool takes any text (in a `format`, if given)."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False
    format: dict[str, Any] | None = None


class Format(msgspec.Struct):
    """The shape asked of the answer; `schema` None is any JSON object."""

    schema: dict[str, Any] | None
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


class Turn(msgspec.Struct):
    """One request. `others` are plain values under their own names, with the client's name of each."""

    system: list[str] = []
    items: list[Item] = []
    tools: list[Tool] = []
    choice: str = ""                   # "", auto, none, required, or named
    named: str = ""                    # the tool that must be called
    parallel: bool | None = None
    limit: int | None = None
    effort: str = ""                   # none, minimal, low, medium, high, xhigh, max
    effort_field: str = "reasoning_effort"
    thoughts: bool = False             # the client wants to see them
    stop: list[str] = []
    stop_field: str = "stop"
    format: Format | None = None
    others: dict[str, tuple[str, Any]] = {}
    filled: tuple[str, ...] = ()       # fields whose value is ours, not the client's


class Reply(msgspec.Struct):
    """One whole answer."""

    id: str
    model: str
    items: list[Item]
    stop: str
    usage: Usage | None
    sequence: str = ""


Reading = Mapping[str, Callable[[Turn, Any], None]]


def read(wire: str, body: Mapping[str, Any], fields: Reading) -> Turn:
    """The Turn in a decoded body, each field by its own function. Refusal 400 for a field that none knows."""
    turn = Turn()
    for name, value in body.items():
        if value is None:
            continue
        take = fields.get(name)
        if take is None:
            raise no_equivalent(name)
        try:
            take(turn, value)
        except MALFORMED as error:
            raise refuse("invalid_request", f"'{name}' is not what {wire} has there ({type(error).__name__}: {error}).",
                         param=name) from None
    return turn


def other(name: str, field: str = "") -> Callable[[Turn, Any], None]:
    """Take a plain value under a common name; `field` is the client's, where it differs."""
    def take(turn: Turn, value: Any) -> None:
        turn.others[name] = (field or name, value)
    return take


def ignored(turn: Turn, value: Any) -> None:
    """Read elsewhere, or a hint that no other wire has."""


def write_others(turn: Turn, known: Mapping[str, str]) -> dict[str, Any]:
    """The plain values under the names of another wire; Refusal for one that it does not know and that is no hint."""
    written = {}
    for name, (field, value) in turn.others.items():
        if name in known:
            written[known[name]] = value
        elif name not in HINTS:
            raise no_equivalent(field)
    return written


def no_equivalent(field: str, what: str = "") -> Refusal:
    """The 400 for what this channel's wire cannot say."""
    detail = f" ({what})" if what else ""
    return refuse("invalid_request", f"'{field}'{detail} has no equivalent at the provider of this model.", param=field,
                  code="unsupported_parameter")


def allow(turn: Turn, names: Iterable[str], mode: str) -> None:
    """Only these tools may be used: the others are not offered."""
    names = set(names)
    turn.tools = [tool for tool in turn.tools if tool.name in names]
    turn.choice = mode


ITEMS = "@"
"""Stands in a refusal for the client's field that holds what was said, which a writer does not know."""


_TEXTS = {cls: tuple((field.name, field.required) for field in msgspec.structs.fields(cls) if field.type is str)
          for cls in (Message, Call, Result, Thought, Tool, Text, Refused, Image, File)}


def sound(turn: Turn) -> None:
    """Refusal 400 for a text that is none and the like: readers pass values on as they came, writers rely on them."""
    for item in turn.items:
        _check_texts(item, ITEMS)
        for part in item.parts if isinstance(item, Message | Result) else ():
            _check_texts(part, ITEMS)
    for tool in turn.tools:
        _check_texts(tool, "tools")
        if not all(table is None or isinstance(table, dict) for table in (tool.schema, tool.format)):
            raise refuse("invalid_request", f"'tools' holds a tool '{tool.name}' whose schema or format is no object.",
                         param="tools")
    if turn.choice not in CHOICES:
        raise refuse("invalid_request", "'tool_choice' is none of auto, none, required and a tool of yours.",
                     param="tool_choice")
    if type(turn.effort) is not str:
        raise unfit(turn.effort_field, "holds an effort that is no text")
    for name in ("temperature", "top_p"):
        field, value = turn.others.get(name, ("", 0))
        if type(value) not in (int, float):
            raise unfit(field, "must be a number")
    for name, texts in (("system", turn.system), (turn.stop_field, turn.stop)):
        if not all(type(text) is str for text in texts):
            raise refuse("invalid_request", f"'{name}' holds a text that is none.", param=name)


def unfit(field: str, why: str) -> Refusal:
    """The 400 for a value that no wire has there."""
    return refuse("invalid_request", f"'{field}' {why}.", param=field, code="invalid_value")


def _check_texts(value: Any, param: str) -> None:
    """Fields of type str hold one; those with a default may be null."""
    for name, required in _TEXTS[type(value)]:
        held = getattr(value, name)
        if type(held) is not str and (required or held is not None):
            raise refuse("invalid_request", f"'{param}' holds a {type(value).__name__.lower()} whose '{name}' is no text.",
                         param=param)


def paired(items: list[Item]) -> list[Item]:
    """The items with every result straight after the calls of its turn. A call without one gets a failed result, as
    every chat wire refuses the bare call; a result without a call is refused here."""
    results = {item.id: item for item in items if isinstance(item, Result)}
    calls = {item.id for item in items if isinstance(item, Call)}
    for id in results:
        if id not in calls:
            raise refuse("invalid_request", f"The result of '{id}' in '{ITEMS}' answers no call.", param=ITEMS)
    out: list[Item] = []
    waiting: list[str] = []

    def settle() -> None:
        for id in waiting:
            out.append(results.get(id) or Result(id, [Text("No result was given.")], failed=True))
        waiting.clear()

    for item in items:
        if isinstance(item, Result):
            settle()
            continue
        if waiting and (isinstance(item, Message) and item.role != "assistant"):
            settle()
        if isinstance(item, Call):
            waiting.append(item.id)
        out.append(item)
    settle()
    return out


def text_of(parts: Iterable[Part]) -> str:
    """The words among parts."""
    return "".join(part.text for part in parts if isinstance(part, Text | Refused))
