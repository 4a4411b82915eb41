"""openai.responses <-> what it means: requests and whole answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from smartoken_plugins.bridges.chat import as_text
from smartoken_plugins.bridges.turn import (
    CALLS,
    END,
    FILTERED,
    LENGTH,
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
    allow,
    ignored,
    no_equivalent,
    other,
    paired,
    read,
    text_of,
    write_others,
)
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Usage, new_rid, refuse

NAME = "openai.responses"
OTHERS = {name: name for name in ("temperature", "top_p", "user", "metadata", "service_tier", "safety_identifier",
                                  "prompt_cache_key", "prompt_cache_retention")}
LEAST_LIMIT = 16                           # a smaller max_output_tokens is refused there
SEALED = "reasoning.encrypted_content"
INCOMPLETE = {"max_output_tokens": LENGTH, "content_filter": FILTERED}
JOINT = "__"                               # between a namespace and the name of a tool in it


# -- requests, read ----------------------------------------------------------------------------------------------------

def _input(turn: Turn, given: Any) -> None:
    if isinstance(given, str):
        turn.items.append(Message("user", [Text(given)]))
        return
    for item in given:
        _item(turn, item)


def _item(turn: Turn, item: dict[str, Any]) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        role = item["role"]
        parts = _parts(item["content"])
        if role in ("system", "developer") and not turn.items:
            turn.system.append(text_of(parts))
        else:
            turn.items.append(Message("system" if role == "developer" else role, parts))
    elif kind == "function_call":
        space = item.get("namespace")
        name = f"{space}{JOINT}{item['name']}" if space else item["name"]
        turn.items.append(Call(item["call_id"], name, item["arguments"] or "{}"))
    elif kind == "custom_tool_call":
        turn.items.append(Call(item["call_id"], item["name"], item["input"], custom=True))
    elif kind in ("function_call_output", "custom_tool_call_output"):
        turn.items.append(Result(item["call_id"], _parts(item["output"]), custom=kind.startswith("custom")))
    elif kind == "reasoning":
        text = "\n\n".join(part["text"] for part in (item.get("summary") or item.get("content") or ()))
        turn.items.append(Thought(text, item.get("encrypted_content") or "", item.get("id") or ""))
    else:
        raise no_equivalent("input", f"an item of type '{kind}'")


def _parts(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> Part:
    kind = part["type"]
    if kind in ("input_text", "output_text", "text"):
        return Text(part["text"])
    if kind == "refusal":
        return Refused(part["refusal"])
    if kind == "input_image":
        return Image(part.get("image_url") or "", part.get("detail") or "", part.get("file_id") or "")
    if kind == "input_file":
        return File(part.get("filename") or "", part.get("file_data") or "", part.get("file_url") or "",
                    part.get("file_id") or "")
    raise no_equivalent("input", f"a part of type '{kind}'")


def _tools(turn: Turn, tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        _take_tool(turn, tool, "")


def _take_tool(turn: Turn, tool: dict[str, Any], space: str) -> None:
    kind = tool["type"]
    if kind == "namespace":
        for inner in tool["tools"]:
            _take_tool(turn, inner, f"{tool['name']}{JOINT}")
    elif kind in ("function", "custom"):
        turn.tools.append(Tool(f"{space}{tool['name']}", tool.get("description") or "", tool.get("parameters"),
                               tool.get("strict"), kind == "custom", tool.get("format")))
    else:
        raise no_equivalent("tools", f"the hosted tool '{kind}'")


def _choice(turn: Turn, choice: Any) -> None:
    if isinstance(choice, str):
        turn.choice = choice
    elif choice["type"] == "allowed_tools":
        allow(turn, [tool["name"] for tool in choice["tools"]], choice["mode"])
    elif choice["type"] in ("function", "custom"):
        turn.choice, turn.named = "named", choice["name"]
    else:
        raise no_equivalent("tool_choice", f"the type '{choice['type']}'")


def _text(turn: Turn, text: dict[str, Any]) -> None:
    format = text.get("format") or {"type": "text"}
    if format["type"] == "json_schema":
        turn.format = Format(format.get("schema") or {}, format["name"], format.get("description") or "",
                             format.get("strict"))
    elif format["type"] == "json_object":
        turn.format = Format(None)
    elif format["type"] != "text":
        raise no_equivalent("text", format["type"])
    if text.get("verbosity"):
        turn.others["verbosity"] = ("text.verbosity", text["verbosity"])


def _reasoning(turn: Turn, reasoning: dict[str, Any]) -> None:
    turn.effort, turn.effort_field = reasoning.get("effort") or "", "reasoning"
    turn.thoughts = bool(reasoning.get("summary"))


def _include(turn: Turn, include: list[str]) -> None:
    for what in include:
        if what == "message.output_text.logprobs":
            turn.others["logprobs"] = ("include", True)
        # The rest asks for more of what hosted tools and sealed thoughts bring; where there are none, nothing is lost.


def _stored(turn: Turn, id: str) -> None:
    raise refuse("invalid_request", "'previous_response_id' is not served on this channel, which stores nothing: send "
                 "the items of the earlier turns.", param="previous_response_id", code="previous_response_not_found")


def _truncation(turn: Turn, how: str) -> None:
    if how != "disabled":
        raise no_equivalent("truncation", how)


def _limit(turn: Turn, limit: int) -> None:
    turn.limit = limit


def _parallel(turn: Turn, parallel: bool) -> None:
    turn.parallel = parallel


def _instructions(turn: Turn, text: str) -> None:
    if text:
        turn.system.append(text)


def _top_logprobs(turn: Turn, count: int) -> None:
    if count:
        turn.others["top_logprobs"] = ("top_logprobs", count)


# max_tool_calls counts hosted tools only, and those are refused; the others marked so change no answer.
FIELDS = {
    "model": ignored, "stream": ignored, "stream_options": ignored, "background": ignored, "max_tool_calls": ignored,
    "client_metadata": ignored, "tools": _tools, "instructions": _instructions, "input": _input, "tool_choice": _choice,
    "parallel_tool_calls": _parallel, "text": _text, "reasoning": _reasoning, "include": _include,
    "max_output_tokens": _limit, "previous_response_id": _stored, "truncation": _truncation,
    "top_logprobs": _top_logprobs, "store": other("store"), "prompt_cache_options": other("cache_control"),
} | {name: other(name) for name in ("temperature", "top_p", "user", "metadata", "service_tier", "safety_identifier",
                                    "prompt_cache_key", "prompt_cache_retention")}
ORDER = ("tools", "instructions")


def read_request(body: Mapping[str, Any]) -> Turn:
    """The meaning of a request. Tools are read before what chooses among them, instructions before the input."""
    ordered = sorted(body.items(), key=lambda pair: ORDER.index(pair[0]) if pair[0] in ORDER else len(ORDER))
    return read(NAME, dict(ordered), FIELDS)


def names_of(fields: Mapping[str, Any]) -> dict[str, tuple[str, str, bool]]:
    """{name upstream: (namespace, name, custom)} of the tools whose calls must be turned back for the client of chat or
    responses; all other tools keep their names."""
    raw = bytes(fields.get("tools", b""))
    if b'"custom"' not in raw and b'"namespace"' not in raw:
        return {}
    names: dict[str, tuple[str, str, bool]] = {}
    for tool in msgspec.json.decode(raw):
        given = tool.get("custom") if isinstance(tool.get("custom"), dict) else tool
        kind = tool.get("type")
        if kind == "custom":
            names[given["name"]] = ("", given["name"], True)
        elif kind == "namespace":
            for inner in tool["tools"]:
                space, name = tool["name"], inner["name"]
                names[f"{space}{JOINT}{name}"] = (space, name, inner["type"] == "custom")
    return names


# -- requests, written -------------------------------------------------------------------------------------------------

def write_request(turn: Turn, model: str, stream: bool, quirks: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a request of this wire. Nothing is stored unless the client said so."""
    body: dict[str, Any] = {"model": model}
    if turn.system:
        body["instructions"] = "\n\n".join(turn.system)
    body["input"] = [written for item in paired(turn.items) for written in _written(item, turn)]
    if stream:
        body["stream"] = True
    body["store"] = turn.others.get("store", ("", False))[1]
    if turn.stop:
        raise no_equivalent(turn.stop_field)
    if turn.tools:
        body["tools"] = [_tool(tool) for tool in turn.tools]
        if turn.choice:
            kind = "custom" if any(tool.custom and tool.name == turn.named for tool in turn.tools) else "function"
            body["tool_choice"] = {"type": kind, "name": turn.named} if turn.choice == "named" else turn.choice
        if turn.parallel is not None:
            body["parallel_tool_calls"] = turn.parallel
    if turn.limit is not None:
        body["max_output_tokens"] = max(turn.limit, LEAST_LIMIT)
    if turn.effort:
        body["reasoning"] = {"effort": turn.effort} | ({"summary": "auto"} if turn.thoughts else {})
    include = [SEALED] if turn.thoughts else []
    logprobs = turn.others.pop("logprobs", None)
    if logprobs is not None:
        include.append("message.output_text.logprobs")
        body["top_logprobs"] = turn.others.pop("top_logprobs", ("", 0))[1]
    if include:
        body["include"] = include
    text: dict[str, Any] = {}
    if turn.format is not None:
        text["format"] = _format_of(turn.format)
    verbosity = turn.others.pop("verbosity", None)
    if verbosity is not None:
        text["verbosity"] = verbosity[1]
    if text:
        body["text"] = text
    return body | write_others(turn, OTHERS)


def _written(item: Item, turn: Turn) -> list[dict[str, Any]]:
    if isinstance(item, Message):
        if item.role == "assistant":
            return [_said(item)]
        role = "developer" if item.role == "system" else item.role
        return [{"type": "message", "role": role, "content": [_written_part(part) for part in item.parts]}]
    if isinstance(item, Call):
        if item.custom:
            return [{"type": "custom_tool_call", "call_id": item.id, "name": item.name, "input": item.arguments}]
        return [{"type": "function_call", "call_id": item.id, "name": item.name, "arguments": item.arguments}]
    if isinstance(item, Result):
        custom = any(isinstance(one, Call) and one.custom and one.id == item.id for one in turn.items)
        simple = all(isinstance(part, Text) for part in item.parts)
        text = text_of(item.parts)
        output: Any = (f"Error: {text}" if item.failed else text) if simple else [
            _written_part(part) for part in item.parts]
        return [{"type": "custom_tool_call_output" if custom else "function_call_output", "call_id": item.id,
                 "output": output}]
    if not item.seal:
        return []  # plain text of thoughts can't be given back: their maker wants its seal with them
    summary = [{"type": "summary_text", "text": item.text}] if item.text else []
    return [{"type": "reasoning", "summary": summary, "encrypted_content": item.seal}
            | ({"id": item.id} if item.id else {})]


def _said(item: Message) -> dict[str, Any]:
    """What the assistant said: plain words, or an output message where it refused (which must have an id there)."""
    if not any(isinstance(part, Refused) for part in item.parts):
        return {"type": "message", "role": "assistant", "content": text_of(item.parts)}
    parts = [{"type": "refusal", "refusal": part.text} if isinstance(part, Refused)
             else {"type": "output_text", "text": part.text, "annotations": []} for part in item.parts]
    return {"id": f"msg_{new_rid()}", "type": "message", "role": "assistant", "status": "completed", "content": parts}


def _written_part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text | Refused):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Image):
        given = {"image_url": part.url, "detail": part.detail or "auto", "file_id": part.file}
        return {"type": "input_image"} | {name: value for name, value in given.items() if value}
    given = {"filename": part.name, "file_data": part.data, "file_url": part.url, "file_id": part.file}
    return {"type": "input_file"} | {name: value for name, value in given.items() if value}


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        given = {"type": "custom", "name": tool.name, "description": tool.description, "format": tool.format}
        return {name: value for name, value in given.items() if value}
    schema = tool.schema or {"type": "object", "properties": {}}
    # Left out, strict would mean true here and false on every other wire.
    return {"type": "function", "name": tool.name, "parameters": schema, "strict": bool(tool.strict)} | (
        {"description": tool.description} if tool.description else {})


def _format_of(format: Format) -> dict[str, Any]:
    if format.schema is None:
        return {"type": "json_object"}
    given = {"name": format.name, "schema": format.schema, "description": format.description, "strict": format.strict}
    return {"type": "json_schema"} | {name: value for name, value in given.items() if value not in (None, "")}


# -- whole answers -----------------------------------------------------------------------------------------------------

def read_answer(answer: Mapping[str, Any]) -> Reply:
    """The meaning of a response. Items that only hosted tools make are passed over: their words are in the message."""
    turn = Turn()
    for item in answer.get("output") or ():
        if item.get("type") in ("message", "function_call", "custom_tool_call", "reasoning"):
            _item(turn, item)
    stop = CALLS if any(isinstance(item, Call) for item in turn.items) else END
    if answer.get("status") == "incomplete":
        stop = INCOMPLETE.get((answer.get("incomplete_details") or {}).get("reason"), LENGTH)
    usage = answer.get("usage")
    return Reply(str(answer.get("id") or new_rid()), str(answer.get("model") or ""), turn.items, stop,
                 usage_of(usage) if isinstance(usage, dict) else None)


def write_answer(reply: Reply, created: int, model: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a response."""
    status = "incomplete" if reply.stop in (LENGTH, FILTERED) else "completed"
    output = [written_item(item, f"{reply.id}_{at}", status, names) for at, item in enumerate(reply.items)]
    return response(f"resp_{reply.id}", created, model, status, output, reply.usage, reply.stop)


def written_item(item: Item, id: str, status: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """One item of the output; `id` is its own, without the prefix that tells its kind."""
    if isinstance(item, Thought):
        summary = [{"type": "summary_text", "text": item.text}] if item.text else []
        return {"id": f"rs_{id}", "type": "reasoning", "summary": summary, "status": "completed"} | (
            {"encrypted_content": item.seal} if item.seal else {})
    if isinstance(item, Call):
        space, name, custom = names.get(item.name, ("", item.name, item.custom))
        if custom or item.custom:
            return {"id": f"ctc_{id}", "type": "custom_tool_call", "call_id": item.id, "name": name,
                    "input": as_text(item), "status": "completed"}
        return {"id": f"fc_{id}", "type": "function_call", "call_id": item.id, "name": name,
                "arguments": item.arguments, "status": "completed"} | ({"namespace": space} if space else {})
    parts = [{"type": "refusal", "refusal": part.text} if isinstance(part, Refused) else text_part(part.text)
             for part in item.parts if isinstance(part, Text | Refused)]
    return {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": status, "content": parts}


def text_part(text: str) -> dict[str, Any]:
    """An output_text part with all that strict clients want."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response(id: str, created: int, model: str, status: str, output: list, usage: Usage | None, stop: str) -> dict:
    """The response object, every required key in it."""
    reason = {LENGTH: "max_output_tokens", FILTERED: "content_filter"}.get(stop) if status == "incomplete" else None
    return {
        "id": id, "object": "response", "created_at": created, "status": status, "background": False, "error": None,
        "incomplete_details": {"reason": reason} if reason else None, "instructions": None, "max_output_tokens": None,
        "model": model, "output": output, "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "store": False, "temperature": None,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
        "truncation": "disabled", "usage": usage_fields(usage) if usage is not None else None, "user": None,
        "metadata": {}}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Counts as this wire tells them; strict clients want every key."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {"input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": prompt + usage.output}
