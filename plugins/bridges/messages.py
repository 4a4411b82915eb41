"""anthropic.messages <-> what it means: requests and whole answers."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.bridges.turn import (
    CALLS,
    END,
    FILTERED,
    ITEMS,
    LENGTH,
    SEQUENCE,
    Call,
    File,
    Format,
    Image,
    Item,
    Message,
    Part,
    Refused,
    Reply,
    Result,
    Text,
    Thought,
    Tool,
    Turn,
    block_of,
    ignored,
    no_equivalent,
    other,
    paired,
    read,
    thought_of,
    unfit,
    write_others,
)
from smartoken_plugins.wire_anthropic.messages import usage_of

from smartoken.plugin import Usage, new_rid, refuse

NAME = "anthropic.messages"
STOPS = {"end_turn": END, "stop_sequence": SEQUENCE, "max_tokens": LENGTH, "model_context_window_exceeded": LENGTH,
         "pause_turn": LENGTH, "tool_use": CALLS, "refusal": FILTERED}
REASONS = {END: "end_turn", SEQUENCE: "stop_sequence", LENGTH: "max_tokens", CALLS: "tool_use", FILTERED: "refusal"}
OTHERS = {name: name for name in ("temperature", "top_p", "top_k")}
DEFAULT_LIMIT = 8192                       # where neither client nor channel (default_max_tokens) says one
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}
LEAST_BUDGET = 1024
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


# -- requests, read ----------------------------------------------------------------------------------------------------

def _system(turn: Turn, system: Any) -> None:
    blocks = [system] if isinstance(system, str) else [block["text"] for block in system]
    turn.system += [text for text in blocks if text]


def _messages(turn: Turn, messages: list[dict[str, Any]]) -> None:
    for message in messages:
        role, content = message["role"], message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts: list[Part] = []
        for block in blocks:
            kind = block["type"]
            if kind in ("text", "image", "document"):
                parts.append(_part(block))
                continue
            if kind == "tool_result":
                turn.items.append(Result(block["tool_use_id"], _content(block.get("content")),
                                         bool(block.get("is_error"))))
                continue
            if parts:
                turn.items.append(Message(role, parts))
                parts = []
            turn.items.append(_block(kind, block))
        if parts:
            turn.items.append(Message(role, parts))


def _block(kind: str, block: dict[str, Any]) -> Item:
    if kind == "tool_use":
        return Call(block["id"], block["name"], msgspec.json.encode(block["input"]).decode())
    if kind in ("thinking", "redacted_thinking"):
        return thought_of(block)
    raise no_equivalent("messages", f"a block of type '{kind}'")


def _content(content: Any) -> list[Part]:
    if content is None:
        return []
    return [Text(content)] if isinstance(content, str) else [_part(block) for block in content]


def _part(block: dict[str, Any]) -> Part:
    kind = block["type"]
    if kind == "text":
        return Text(block["text"])
    source = block["source"] if kind in ("image", "document") else {}
    where = source.get("type")
    if kind == "image" and where in ("base64", "url"):
        return Image(source["url"] if where == "url" else f"data:{source['media_type']};base64,{source['data']}")
    if kind == "document" and where in ("base64", "url"):
        name = block.get("title") or "document.pdf"
        if where == "url":
            return File(name, url=source["url"])
        return File(name, f"data:{source['media_type']};base64,{source['data']}")
    if kind == "document" and where == "text":
        return Text(source["data"])
    raise no_equivalent("messages", f"a block '{kind}'" + (f" from '{where}'" if where else ""))


def _tools(turn: Turn, tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        if tool.get("type") not in (None, "custom"):
            raise no_equivalent("tools", f"the server tool '{tool['type']}'")
        turn.tools.append(Tool(tool["name"], tool.get("description") or "", tool["input_schema"], tool.get("strict")))


def _choice(turn: Turn, choice: dict[str, Any]) -> None:
    turn.choice = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}[choice["type"]]
    turn.named = choice.get("name") or ""
    if "disable_parallel_tool_use" in choice:
        turn.parallel = not choice["disable_parallel_tool_use"]


def _thinking(turn: Turn, thinking: dict[str, Any]) -> None:
    kind = thinking["type"]
    turn.thoughts = kind != "disabled" and thinking.get("display") != "omitted"
    if kind == "enabled":
        budget = thinking["budget_tokens"]
        effort = max((name for name in ("low", "medium", "high") if BUDGETS[name] <= max(budget, 2048)),
                     key=BUDGETS.__getitem__)
        turn.effort = effort
    elif kind == "disabled":
        turn.effort = "none"
    else:
        turn.effort = "medium"


def _output(turn: Turn, config: dict[str, Any]) -> None:
    if config.get("effort") and turn.effort != "none":
        turn.effort, turn.effort_field = config["effort"], "output_config"
    if config.get("format"):
        if config["format"]["type"] != "json_schema":
            raise no_equivalent("output_config", config["format"]["type"])
        turn.format = Format(config["format"]["schema"], strict=True)


def _metadata(turn: Turn, metadata: dict[str, Any]) -> None:
    if metadata.get("user_id"):
        turn.others["user"] = ("metadata.user_id", metadata["user_id"])


def _limit(turn: Turn, limit: int) -> None:
    turn.limit = limit


def _stop(turn: Turn, stop: list[str]) -> None:
    turn.stop, turn.stop_field = list(stop), "stop_sequences"


# Marked `ignored`: labels, and wishes about the provider's cache, place and speed, which change no answer.
FIELDS = {
    "model": ignored, "stream": ignored, "cache_control": ignored, "service_tier": ignored, "speed": ignored,
    "inference_geo": ignored, "diagnostics": ignored, "context_management": ignored, "system": _system,
    "messages": _messages, "tools": _tools, "tool_choice": _choice, "thinking": _thinking, "output_config": _output,
    "metadata": _metadata, "max_tokens": _limit, "stop_sequences": _stop, "temperature": other("temperature"),
    "top_p": other("top_p"), "top_k": other("top_k"),
}


def read_request(body: Mapping[str, Any]) -> Turn:
    """The meaning of a request. The thinking switch is read before the effort, which is the finer word."""
    ordered = sorted(body.items(), key=lambda pair: pair[0] != "thinking")
    return read(NAME, dict(ordered), FIELDS)


# -- requests, written -------------------------------------------------------------------------------------------------

def write_request(turn: Turn, model: str, stream: bool, quirks: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a request of this wire."""
    if turn.format is not None and turn.format.schema is None:
        raise no_equivalent("response_format", "json_object; give a schema")
    temperature = turn.others.get("temperature")
    if temperature is not None and temperature[1] > 1:
        raise no_equivalent("temperature", "above 1")
    limit = turn.limit or quirks.get("default_max_tokens", DEFAULT_LIMIT)
    body: dict[str, Any] = {"model": model, "max_tokens": limit, "messages": _written(turn)}
    if turn.system:
        body["system"] = [{"type": "text", "text": text} for text in turn.system]
    if stream:
        body["stream"] = True
    if turn.tools:
        body["tools"] = [_tool(tool) for tool in turn.tools]
        choice = _choice_of(turn)
        if choice:
            body["tool_choice"] = choice
    stop = [word for word in turn.stop if word.strip()]
    if stop:
        body["stop_sequences"] = stop
    config: dict[str, Any] = {}
    if turn.format is not None:
        config["format"] = {"type": "json_schema", "schema": turn.format.schema}
    if turn.effort:
        if turn.effort != "none" and turn.effort not in EFFORTS:
            raise unfit(turn.effort_field, f"must be one of none, {', '.join(EFFORTS)}")
        _think(body, config, turn, limit, quirks)
    if config:
        body["output_config"] = config
    user = turn.others.pop("user", None) or turn.others.pop("safety_identifier", None)
    if user is not None:
        body["metadata"] = {"user_id": user[1]}
    verbosity = turn.others.pop("verbosity", None)
    if verbosity is not None and verbosity[1] != "medium":
        raise no_equivalent(verbosity[0])
    return body | write_others(turn, OTHERS)


def _think(body: dict[str, Any], config: dict[str, Any], turn: Turn, limit: int, quirks: Mapping[str, Any]) -> None:
    """`thinking` = "adaptive" on the channel for models that choose themselves; else a budget below the limit."""
    if turn.effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    adaptive = quirks.get("thinking") == "adaptive"
    if adaptive:
        config["effort"] = EFFORTS[turn.effort]
    if not _may_think(turn) or (not adaptive and limit <= LEAST_BUDGET * 2):
        return
    if "temperature" in turn.filled:
        turn.others.pop("temperature", None)    # the client's wish to have it think goes before a default of ours
    body["thinking"] = {"type": "adaptive"} if adaptive else {
        "type": "enabled", "budget_tokens": min(BUDGETS[turn.effort], limit // 2)}


def _may_think(turn: Turn) -> bool:
    """False where that wire would refuse the request for its thinking. Effort is a hint, so it is the one to give way:
    a tool that must be called, a temperature of the client's own, and calls that are still to be answered without the
    sealed thought before them, which most clients of other wires never get to see. (That newer models refuse the first
    two as well is UNCONFIRMED.)"""
    temperature = turn.others.get("temperature", ("", 1))[1]
    if turn.choice in ("required", "named") or (temperature != 1 and "temperature" not in turn.filled):
        return False
    begun: Item | None = None                   # what the assistant's turn that is to be gone on with begins with
    for item in turn.items:
        if isinstance(item, Message) and item.role != "assistant":
            begun = None
        elif begun is None and not (isinstance(item, Thought) and not item.seal):
            begun = item
    return begun is None or isinstance(begun, Thought)


def _choice_of(turn: Turn) -> dict[str, Any]:
    choice: dict[str, Any] = {}
    if turn.choice:
        kind = {"auto": "auto", "required": "any", "none": "none", "named": "tool"}[turn.choice]
        choice = {"type": kind} | ({"name": turn.named} if kind == "tool" else {})
    if turn.parallel is False and turn.choice != "none":
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return choice


def _written(turn: Turn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for item in paired(turn.items):
        role = "assistant" if isinstance(item, Call | Thought) else "user"
        if isinstance(item, Message) and item.role == "assistant":
            role = "assistant"
        blocks = _blocks(item)
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
    return messages


def _blocks(item: Item) -> list[dict[str, Any]]:
    if isinstance(item, Message):
        return [_written_part(part) for part in item.parts if not isinstance(part, Text | Refused) or part.text]
    if isinstance(item, Call):
        return [{"type": "tool_use", "id": _BAD_ID.sub("_", item.id), "name": item.name, "input": _object(item)}]
    if isinstance(item, Result):
        block = {"type": "tool_result", "tool_use_id": _BAD_ID.sub("_", item.id),
                 "content": [_written_part(part) for part in item.parts if not isinstance(part, Text) or part.text]}
        return [block | ({"is_error": True} if item.failed else {})]
    if not item.seal:
        return []  # unsigned thoughts are refused there, and no answer depends on them
    return [block_of(Thought(item.text, item.seal))]    # its id is another wire's


def _object(call: Call) -> dict[str, Any]:
    if call.custom:
        return {"input": call.arguments}
    try:
        found = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise refuse("invalid_request", f"The arguments of the call '{call.id}' are not a JSON object.",
                     param=ITEMS)
    return found


def _written_part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text | Refused):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        if part.file or not part.url:
            raise no_equivalent(ITEMS, "an image by file id")
        return {"type": "image", "source": _source(part.url)}
    url = part.data or part.url
    if part.file or not url:
        raise no_equivalent(ITEMS, "a file by id")
    source = _source(url)
    if source.get("media_type", "application/pdf") != "application/pdf":
        raise no_equivalent(ITEMS, f"a file of type {source['media_type']}")
    return {"type": "document", "source": source} | ({"title": part.name} if part.name else {})


def _source(url: str) -> dict[str, Any]:
    data = _DATA_URL.fullmatch(url)
    if data:
        return {"type": "base64", "media_type": data[1], "data": data[2]}
    return {"type": "url", "url": url}


def _tool(tool: Tool) -> dict[str, Any]:
    schema = tool.schema or {"type": "object", "properties": {}}
    if tool.custom:
        schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    given = {"name": tool.name, "description": tool.description, "input_schema": schema, "strict": tool.strict or None}
    return {name: value for name, value in given.items() if value not in (None, "")}


# -- whole answers -----------------------------------------------------------------------------------------------------

def read_answer(answer: Mapping[str, Any]) -> Reply:
    """The meaning of a message. Blocks that only server tools make are passed over: their words are in the text."""
    blocks = [block for block in answer["content"]
              if block["type"] in ("text", "tool_use", "thinking", "redacted_thinking")]
    turn = Turn()
    _messages(turn, [{"role": "assistant", "content": blocks}])
    usage = answer.get("usage")
    return Reply(str(answer.get("id") or new_rid()), str(answer.get("model") or ""), turn.items,
                 STOPS.get(answer.get("stop_reason"), END), usage_of(usage) if isinstance(usage, dict) else None,
                 str(answer.get("stop_sequence") or ""))


def write_answer(reply: Reply, created: int, model: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a message."""
    content: list[dict[str, Any]] = []
    for item in reply.items:
        if isinstance(item, Thought):
            content.append(block_of(item))
        elif isinstance(item, Message):
            content += [{"type": "text", "text": part.text} for part in item.parts if isinstance(part, Text | Refused)]
        elif isinstance(item, Call):
            content.append({"type": "tool_use", "id": item.id, "name": item.name, "input": _object(item)})
    stop = FILTERED if any(isinstance(part, Refused) for item in reply.items if isinstance(item, Message)
                           for part in item.parts) else reply.stop
    return message(f"msg_{reply.id}", model, content, REASONS[stop], reply.sequence or None, reply.usage)


def message(id: str, model: str, content: list, stop: str | None, sequence: str | None, usage: Usage | None) -> dict:
    """The message object."""
    return {"id": id, "type": "message", "role": "assistant", "model": model, "content": content, "stop_reason": stop,
            "stop_sequence": sequence, "usage": usage_fields(usage or Usage())}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Counts as this wire tells them: cached tokens outside the input."""
    return {"input_tokens": usage.input, "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read, "output_tokens": usage.output,
            "output_tokens_details": {"thinking_tokens": usage.reasoning}}
