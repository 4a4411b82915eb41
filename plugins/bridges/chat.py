"""openai.chat <-> what it means: requests and whole answers."""

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
    allow,
    block_of,
    ignored,
    no_equivalent,
    other,
    paired,
    read,
    text_of,
    thought_of,
    write_others,
)
from smartoken_plugins.wire_openai.calls import text_of as arguments_of
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Usage, new_rid

NAME = "openai.chat"
STOPS = {"stop": END, "length": LENGTH, "tool_calls": CALLS, "function_call": CALLS, "content_filter": FILTERED,
         "sensitive": FILTERED, "model_context_window_exceeded": LENGTH}
REASONS = {END: "stop", SEQUENCE: "stop", LENGTH: "length", CALLS: "tool_calls", FILTERED: "content_filter"}
OTHERS = {name: name for name in (
    "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs",
    "top_logprobs", "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "verbosity")}
# A provider's quirk `thinking` says how it is asked to think, by the effort and whether it is "none".
BLOCKS = "thinking_blocks"                 # a field of ours in an assistant's message, by the name that other gateways use
THINKING = {"effort": lambda effort, on: {"reasoning_effort": effort},
            "enable_thinking": lambda effort, on: {"enable_thinking": on},
            "thinking": lambda effort, on: {"thinking": {"type": "enabled" if on else "disabled"}}}


# -- requests, read ----------------------------------------------------------------------------------------------------

def _messages(turn: Turn, messages: list[dict[str, Any]]) -> None:
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            text = text_of(_parts(message["content"]))
            if turn.items:
                turn.items.append(Message("system", [Text(text)]))
            else:
                turn.system.append(text)
        elif role == "user":
            turn.items.append(Message("user", _parts(message["content"])))
        elif role == "assistant":
            _assistant(turn, message)
        elif role == "tool":
            turn.items.append(Result(message["tool_call_id"], _parts(message["content"])))
        else:
            raise no_equivalent("messages", f"the role '{role}'")


def _assistant(turn: Turn, message: dict[str, Any]) -> None:
    if message.get("audio") or message.get("function_call"):
        raise no_equivalent("messages", "'audio' or 'function_call' of an assistant")
    thought = message.get("reasoning_content") or message.get("reasoning")
    sealed_ones = message.get(BLOCKS)
    if sealed_ones:
        turn.items += map(thought_of, sealed_ones)
    elif thought:
        turn.items.append(Thought(thought))
    parts = _parts(message.get("content") or [])
    if message.get("refusal"):
        parts.append(Refused(message["refusal"]))
    if parts:
        turn.items.append(Message("assistant", parts))
    for call in message.get("tool_calls") or ():
        if call.get("type") == "custom":
            turn.items.append(Call(call["id"], call["custom"]["name"], call["custom"]["input"], custom=True))
        else:
            given = call["function"]
            arguments = given["arguments"] or "{}"
            turn.items.append(Call(call["id"], given["name"],
                                   arguments_of(arguments) if isinstance(arguments, dict) else arguments))


def _parts(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> Part:
    kind = part["type"]
    if kind == "text":
        return Text(part["text"])
    if kind == "refusal":
        return Refused(part["refusal"])
    if kind == "image_url":
        image = part["image_url"]
        return Image(image["url"], image.get("detail") or "")
    if kind == "file":
        file = part["file"]
        return File(file.get("filename") or "", file.get("file_data") or "", "", file.get("file_id") or "")
    raise no_equivalent("messages", f"a part of type '{kind}'")


def _tools(turn: Turn, tools: list[dict[str, Any]]) -> None:
    for tool in tools:
        kind = tool["type"]
        if kind not in ("function", "custom"):
            raise no_equivalent("tools", f"the type '{kind}'")
        given = tool[kind]
        turn.tools.append(Tool(given["name"], given.get("description") or "", given.get("parameters"),
                               given.get("strict"), kind == "custom", given.get("format")))


def _choice(turn: Turn, choice: Any) -> None:
    if isinstance(choice, str):
        turn.choice = choice
    elif choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        allow(turn, [tool[tool["type"]]["name"] for tool in allowed["tools"]], allowed["mode"])
    else:
        turn.choice, turn.named = "named", choice[choice["type"]]["name"]


def _format(turn: Turn, format: dict[str, Any]) -> None:
    if format["type"] == "json_schema":
        given = format["json_schema"]
        turn.format = Format(given.get("schema") or {}, given["name"], given.get("description") or "",
                             given.get("strict"))
    elif format["type"] == "json_object":
        turn.format = Format(None)
    elif format["type"] != "text":
        raise no_equivalent("response_format", format["type"])


def _limit(turn: Turn, limit: int) -> None:
    turn.limit = max(limit, turn.limit or 0)


def _effort(turn: Turn, effort: str) -> None:
    turn.effort = effort


def _stop(turn: Turn, stop: Any) -> None:
    turn.stop = [stop] if isinstance(stop, str) else list(stop)


def _one(turn: Turn, n: int) -> None:
    if n != 1:
        raise no_equivalent("n", "more than one choice")


def _text_only(turn: Turn, modalities: list[str]) -> None:
    if modalities != ["text"]:
        raise no_equivalent("modalities")


def _parallel(turn: Turn, parallel: bool) -> None:
    turn.parallel = parallel


def _logprobs(turn: Turn, wanted: bool) -> None:
    if wanted:
        turn.others["logprobs"] = ("logprobs", True)


def _unlike(nothing: Any, name: str):
    """Take a field whose default value says nothing."""
    def take(turn: Turn, value: Any) -> None:
        if value != nothing:
            turn.others[name] = (name, value)
    return take


FIELDS = {
    "model": ignored, "stream": ignored, "stream_options": ignored, "messages": _messages, "tools": _tools,
    "tool_choice": _choice, "parallel_tool_calls": _parallel, "response_format": _format, "max_tokens": _limit,
    "max_completion_tokens": _limit, "reasoning_effort": _effort, "stop": _stop, "n": _one, "modalities": _text_only,
    "logprobs": _logprobs, "presence_penalty": _unlike(0, "presence_penalty"), "store": other("store"),
    "frequency_penalty": _unlike(0, "frequency_penalty"), "logit_bias": _unlike({}, "logit_bias"),
} | {name: other(name) for name in ("temperature", "top_p", "top_k", "seed", "top_logprobs", "user", "metadata",
                                    "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
                                    "verbosity")}


def read_request(body: Mapping[str, Any]) -> Turn:
    """The meaning of a chat request. Tools are read before what chooses among them."""
    ordered = sorted(body.items(), key=lambda pair: pair[0] != "tools")
    return read(NAME, dict(ordered), FIELDS)


# -- requests, written -------------------------------------------------------------------------------------------------

def write_request(turn: Turn, model: str, stream: bool, quirks: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a chat request, for an upstream that may know no more than most vendors do."""
    body: dict[str, Any] = {"model": model, "messages": _written(turn)}
    if stream:
        body["stream"] = True
        if quirks.get("stream_usage", "option") == "option":
            body["stream_options"] = {"include_usage": True}
    if turn.tools:
        body["tools"] = [_tool(tool) for tool in turn.tools]
        if turn.choice:
            named = {"type": "function", "function": {"name": turn.named}}
            body["tool_choice"] = named if turn.choice == "named" else turn.choice
        if turn.parallel is not None:
            body["parallel_tool_calls"] = turn.parallel
    if turn.limit is not None:
        body[quirks.get("limit_field", "max_tokens")] = turn.limit
    if turn.stop:
        body["stop"] = turn.stop
    if turn.format is not None:
        body["response_format"] = _format_of(turn.format)
    if turn.effort:
        body |= THINKING[quirks.get("thinking", "effort")](turn.effort, turn.effort != "none")
    return body | write_others(turn, OTHERS)


def _written(turn: Turn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if turn.system:
        messages.append({"role": "system", "content": "\n\n".join(turn.system)})
    said: dict[str, Any] | None = None     # the assistant's message that is being put together
    shown: list[Part] = []                 # images that tools gave: a tool's message holds text only
    for item in paired(turn.items):
        if not isinstance(item, Result) and shown:
            messages.append({"role": "user", "content": _content(shown)})
            shown = []
        if isinstance(item, Result):
            said = None
            shown += [part for part in item.parts if isinstance(part, Image | File)]
            text = text_of(item.parts) or ("See the next message." if shown else "")
            text = f"Error: {text}" if item.failed else text
            messages.append({"role": "tool", "tool_call_id": item.id, "content": text})
        elif isinstance(item, Message) and item.role != "assistant":
            said = None
            messages.append({"role": item.role, "content": _content(item.parts)})
        else:
            if said is None:
                said = {"role": "assistant", "content": None}
                messages.append(said)
            _say(said, item)
    if shown:
        messages.append({"role": "user", "content": _content(shown)})
    return messages


def _say(said: dict[str, Any], item: Item) -> None:
    if isinstance(item, Thought):
        if item.text:
            said["reasoning_content"] = said.get("reasoning_content", "") + item.text
    elif isinstance(item, Call):
        arguments = item.arguments if not item.custom else _as_input(item.arguments)
        said.setdefault("tool_calls", []).append(
            {"id": item.id, "type": "function", "function": {"name": item.name, "arguments": arguments}})
    else:
        said["content"] = (said["content"] or "") + text_of(item.parts)


def _as_input(text: str) -> str:
    return msgspec.json.encode({"input": text}).decode()


def _content(parts: list[Part]) -> Any:
    if all(isinstance(part, Text) for part in parts):
        return "".join(part.text for part in parts) if len(parts) == 1 else [_written_part(part) for part in parts]
    return [_written_part(part) for part in parts]


def _written_part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text | Refused):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        if not part.url:
            raise no_equivalent(ITEMS, "an image by file id")
        return {"type": "image_url", "image_url": {"url": part.url} | ({"detail": part.detail} if part.detail else {})}
    if part.url:
        raise no_equivalent(ITEMS, "a file by URL")
    given = {"filename": part.name, "file_data": part.data, "file_id": part.file}
    return {"type": "file", "file": {name: value for name, value in given.items() if value}}


def _tool(tool: Tool) -> dict[str, Any]:
    """A custom tool becomes a function with one text; the answer's writer turns its calls back."""
    schema = tool.schema or {"type": "object", "properties": {}}
    if tool.custom:
        schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    function: dict[str, Any] = {"name": tool.name, "parameters": schema}
    description = tool.description
    if tool.custom and tool.format and tool.format.get("definition"):
        syntax, definition = tool.format.get("syntax", "text"), tool.format["definition"]
        description += f"\nThe input follows this {syntax} grammar:\n{definition}"
    if description:
        function["description"] = description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _format_of(format: Format) -> dict[str, Any]:
    if format.schema is None:
        return {"type": "json_object"}
    given = {"name": format.name, "schema": format.schema, "description": format.description, "strict": format.strict}
    return {"type": "json_schema", "json_schema": {name: v for name, v in given.items() if v not in (None, "")}}


# -- whole answers -----------------------------------------------------------------------------------------------------

def read_answer(answer: Mapping[str, Any]) -> Reply:
    """The meaning of a chat completion: its first choice."""
    choice = answer["choices"][0]
    turn = Turn()
    _assistant(turn, choice["message"])
    stop = STOPS.get(choice.get("finish_reason"), END)
    if stop == END and any(isinstance(item, Call) for item in turn.items):
        stop = CALLS
    usage = answer.get("usage")
    return Reply(str(answer.get("id") or new_rid()), str(answer.get("model") or ""), turn.items, stop,
                 usage_of(usage) if isinstance(usage, dict) else None)


def write_answer(reply: Reply, created: int, model: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls = []
    for item in reply.items:
        if isinstance(item, Thought):
            if item.text:
                message["reasoning_content"] = "\n\n".join(filter(None, (message.get("reasoning_content"), item.text)))
            if item.seal:
                message[BLOCKS] = [*message.get(BLOCKS, ()), block_of(item)]
        elif isinstance(item, Message):
            for part in item.parts:
                field = "refusal" if isinstance(part, Refused) else "content"
                message[field] = (message[field] or "") + part.text
        elif isinstance(item, Call):
            calls.append(written_call(item, names))
    if calls:
        message["tool_calls"] = calls
    answer = {"id": f"chatcmpl-{reply.id}", "object": "chat.completion", "created": created, "model": model,
              "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": REASONS[reply.stop]}]}
    if reply.usage is not None:
        answer["usage"] = usage_fields(reply.usage)
    return answer


def written_call(call: Call, names: Mapping[str, Any]) -> dict[str, Any]:
    """A call as the client knows its tool."""
    if call.custom or names.get(call.name, ("", "", False))[2]:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": as_text(call)}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def as_text(call: Call) -> str:
    """The text of a custom tool's call, also when it went over the wire as a function's only argument."""
    if call.custom:
        return call.arguments
    try:
        return msgspec.json.decode(call.arguments)["input"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return call.arguments


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Counts as this wire tells them: cached tokens inside the prompt, reasoning inside the completion."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {"prompt_tokens": prompt, "completion_tokens": usage.output, "total_tokens": prompt + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning}}
