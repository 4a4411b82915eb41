"""How chat completions talk about tools of ours: offered beside the client's, kept from its eyes, answered in between.

A turn that wants a tool of the client's goes to the client; tools of ours in the same turn are left out, and the model
may want them again. Where the client has a tool of the same name, ours is offered as `server_<name>`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai.calls import Places, grow
from smartoken_plugins.wire_openai.chat_stream import payload
from smartoken_plugins.wire_openai.usage import usage_object

from smartoken.plugin import Ask, Tool, ToolCall, Turns, Usage

_decode = msgspec.json.decode
_encode = msgspec.json.encode
# What a model thought before it called tools; in thinking mode DeepSeek, Moonshot and Anthropic (over a bridge) refuse a
# next turn without it.
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")


def offer(ask: Ask, tools: Sequence[Tool]) -> tuple[Ask, Mapping[str, str]] | None:
    """The ask with our tools behind the client's; None for several choices, or where the client forbids tools."""
    fields = ask.fields
    if (read.count(fields, "n") or 1) > 1 or bytes(fields.get("tool_choice", b"")) == b'"none"':
        return None
    theirs = [msgspec.Raw(raw) for raw in _list(fields, "tools")]
    taken = {_name_of(_decode(raw)) for raw in theirs}
    names, ours = {}, []
    for tool in tools:
        name = tool.name if tool.name not in taken else f"server_{tool.name}"
        names[name] = tool.name
        function = {"name": name, "description": tool.description, "parameters": tool.parameters}
        ours.append({"type": "function", "function": function})
    fields = {**fields, "tools": read.raw([*theirs, *ours])}
    # Without its usage being wanted, the wire keeps each round's own from the client.
    return msgspec.structs.replace(ask, fields=fields, usage_wanted=False), names


class ChatTurn:
    """A Turn. `said` is what the model wrote to the client, `mine` its calls of our tools, `ended` its finish reason."""

    def __init__(self, names: Mapping[str, str], before: "ChatTurn | None"):
        self._names, self._before = names, before
        self._rest = b""
        self._places = Places()
        self._mine: dict[int, dict[str, Any]] = {}      # place among all calls: our call, growing
        self._theirs: dict[int, int] = {}               # place among all calls: index for the client
        self.head: dict[str, Any] = before.head if before is not None else {}
        self.said = ""
        self._thoughts: dict[str, Any] = {}             # by the upstream's own names for them
        self.told = before.told + before.said if before is not None else ""    # what earlier turns wrote
        self.ended = ""
        self.answered: dict[str, Any] = {}              # a complete answer
        self.broken = False
        self.detail: Any = None                         # why the gateway ended it early

    @property
    def calls(self) -> list[ToolCall]:
        """Calls of our tools; none when the client's are wanted as well."""
        if self._theirs or self.ended == "length":
            return []
        return [ToolCall(call["id"], self._names[call["function"]["name"]], call["function"].get("arguments", ""))
                for call in self._mine.values()]

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message of this turn, for the next."""
        calls = [{**call, "type": "function",
                  "function": {**call["function"], "arguments": call["function"].get("arguments") or "{}"}}
                 for call in self._mine.values()]
        return {"role": "assistant", "content": self.said or None, **self._thoughts, "tool_calls": calls}

    @property
    def finish(self) -> str:
        """The finish reason for the client: it hears nothing of calls that were not its own."""
        if self._theirs:
            return "tool_calls"
        return "stop" if self.ended in ("", "tool_calls", "function_call") else self.ended

    def feed(self, data: bytes) -> bytes:
        """Events in, those for the client out."""
        *events, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        return b"".join(map(self._event, events))

    def whole(self, data: bytes) -> None:
        """A complete answer."""
        self.answered = found = _decode(data)
        self.head = self.head or {name: found[name] for name in ("id", "created") if name in found}
        choice = found["choices"][0]
        message = choice.get("message") or {}
        self.said = message.get("content") or ""
        self._think(message)
        self.ended = choice.get("finish_reason") or ""
        for index, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            if function.get("name") in self._names:
                self._mine[index] = grow({"id": call.get("id") or f"call_{index}"}, call)
            else:
                self._theirs[index] = len(self._theirs)

    def _think(self, part: Mapping[str, Any]) -> None:
        for name in _THOUGHTS:
            if part.get(name):      # text, or a list of pieces
                self._thoughts[name] = self._thoughts[name] + part[name] if name in self._thoughts else part[name]

    def theirs_of(self, calls: Sequence[Any]) -> list[Any]:
        """Of a complete answer's calls those of the client's tools."""
        return [call for index, call in enumerate(calls) if index in self._theirs]

    def _event(self, event: bytes) -> bytes:
        data = payload(event)
        if data is None:
            return event + b"\n\n" if event.strip() else b""
        if data == b"[DONE]":
            return b""
        chunk = _decode(data)
        if chunk.get("error"):
            self.broken = True
            return event + b"\n\n"
        if not self.head:
            self.head = {name: chunk[name] for name in ("id", "created", "model") if name in chunk}
        self.detail = chunk.get("stop_detail", self.detail)
        shown = [choice for choice in map(self._choice, chunk.get("choices") or ()) if choice is not None]
        if not shown:
            return b""
        chunk |= self.head
        chunk["choices"] = shown
        chunk.pop("usage", None)
        return b"data: " + _encode(chunk) + b"\n\n"

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """What the client sees of a choice; None for nothing."""
        delta = choice.get("delta") or {}
        if choice.get("finish_reason"):
            self.ended = choice["finish_reason"]
        if self._before is not None:
            delta.pop("role", None)
        if delta.get("content"):
            self.said += delta["content"]
        self._think(delta)
        if "tool_calls" in delta:
            calls = [shown for call in delta.pop("tool_calls") or () if (shown := self._call(call)) is not None]
            if calls:
                delta["tool_calls"] = calls
        if not any(value is not None and (value != "" or (name == "content" and "role" in delta))
                   for name, value in delta.items()):
            return None
        choice.pop("usage", None)
        return {**choice, "delta": delta, "finish_reason": None}

    def _call(self, call: dict[str, Any]) -> dict[str, Any] | None:
        """A piece of a tool call: ours is gathered, the client's gets its own running number."""
        index = self._places.of(call)
        function = call.get("function") or {}
        if index not in self._theirs and index not in self._mine:
            if function.get("name") in self._names:
                self._mine[index] = {"id": call.get("id") or f"call_{index}"}
            else:
                self._theirs[index] = len(self._theirs)
        if index in self._mine:
            grow(self._mine[index], call)
            return None
        return {**call, "index": self._theirs[index]}


def follow(ask: Ask, turn: ChatTurn, results: Mapping[str, str], last: bool) -> Ask:
    """The ask of the next turn: what the model wanted, what came of it. `last`: it must answer now."""
    messages = [*map(msgspec.Raw, _list(ask.fields, "messages")), turn.message,
                *({"role": "tool", "tool_call_id": id, "content": text} for id, text in results.items())]
    fields = {**ask.fields, "messages": read.raw(messages)}
    if last:
        fields["tool_choice"] = msgspec.Raw(b'"none"')
    elif bytes(fields.get("tool_choice", b'"auto"')) != b'"auto"':
        fields["tool_choice"] = msgspec.Raw(b'"auto"')     # what the client wished to be called has been
    return msgspec.structs.replace(ask, fields=fields, body=read.encode(fields))


def close(turn: ChatTurn, usage: Usage | None, tell: Callable[[bytes], bytes]) -> bytes:
    """The end of the stream of all turns: its finish reason, what is told, [DONE]."""
    head = {"object": "chat.completion.chunk", **turn.head}
    end = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": turn.finish}]}
    if turn.detail is not None:
        end["stop_detail"] = turn.detail
    out = b"data: " + _encode(end) + b"\n\n"
    if usage is not None:
        out += b"data: " + tell(_encode({**head, "choices": [], "usage": usage_object(usage)})) + b"\n\n"
    return out + b"data: [DONE]\n\n"


def answer(turn: ChatTurn, usage: Usage) -> bytes:
    """The complete answer of all turns: everything that was written, the client's calls, and what it all used."""
    found = {**turn.answered, **turn.head, "usage": usage_object(usage)}
    choice = dict(found["choices"][0])
    message = dict(choice["message"])
    if turn.told:
        message["content"] = turn.told + turn.said
    calls = turn.theirs_of(message.pop("tool_calls", None) or ())
    if calls:
        message["tool_calls"] = calls
    found["choices"] = [{**choice, "message": message, "finish_reason": turn.finish}]
    return _encode(found)


TURNS = Turns(offer=offer, turn=ChatTurn, follow=follow, close=close, answer=answer)


def _list(fields: Mapping[str, msgspec.Raw], name: str) -> list[msgspec.Raw]:
    found = fields.get(name)
    if found is None or bytes(found) == b"null":
        return []
    try:
        return msgspec.json.decode(found, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        raise read.bad(f"'{name}' must be an array.", param=name) from None


def _name_of(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    return str(function.get("name", "")) if isinstance(function, dict) else ""
