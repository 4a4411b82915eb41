"""What /openapi.json says of chat and embeddings, and the words that every wire's operations are written in.

A schema with a `title` stands once among the document's components, under that name. Facts of OpenAI's fields:
shared notes on its wires; what an upstream alone judges has a type here and no more.
"""

from typing import Any

TEXT = {"type": "string", "minLength": 1}
STRING = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
LIMIT = {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1}
FLAG = {"type": ["boolean", "null"]}
THROUGH = "Fields that are not named here go through untouched, in both directions."
MODEL = {"type": "string", "minLength": 1, "description": "A model of GET /v1/models."}


def table(properties: dict[str, Any], *required: str, title: str = "", says: str = "") -> dict[str, Any]:
    """A JSON object whose unknown fields pass through."""
    return _named({"type": "object", "properties": properties, "required": list(required),
                   "additionalProperties": True}, title, says)


def ours(properties: dict[str, Any], *optional: str, title: str = "", says: str = "") -> dict[str, Any]:
    """A JSON object that we make ourselves: nothing else is ever in it, and all but the `optional` always is."""
    return _named({"type": "object", "properties": properties, "additionalProperties": False,
                   "required": [name for name in properties if name not in optional]}, title, says)


def _named(schema: dict[str, Any], title: str, says: str) -> dict[str, Any]:
    return schema | ({"title": title} if title else {}) | ({"description": says} if says else {})


def many(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A list of them."""
    return {"type": "array", "items": item, **more}


def either(*schemas: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One of several shapes."""
    return {"anyOf": list(schemas), **more}


NULL = {"type": "null"}


def answer(schema: dict[str, Any], description: str, example: Any = None, status: str = "200",
           **more: dict[str, Any]) -> dict[str, Any]:
    """An answer as JSON; `more` are other content types."""
    content = {"schema": schema} | ({} if example is None else {"example": example})
    return {status: {"description": description, "content": {"application/json": content, **more}}}


def asked(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """A required JSON body."""
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def events(event: dict[str, Any], example: str, last: str = "") -> dict[str, Any]:
    """Server-sent events. `x-event` is the schema of each one's data; OpenAPI 3.1 has no word for it."""
    says = "Server-sent events, each with JSON of `x-event` as its data" + (f"; the last is `{last}`." if last else ".")
    return {"schema": {"type": "string", "description": says}, "x-event": event, "example": example}


# -- chat

_IMAGE = table({"url": TEXT, "detail": STRING}, "url")
PART = table({"type": TEXT, "text": STRING, "image_url": _IMAGE,
              "input_audio": table({"data": STRING, "format": STRING}, "data"),
              "file": table({"filename": STRING, "file_data": STRING, "file_id": STRING})}, "type", title="ChatPart",
             says="text, image_url, input_audio, file, and what an upstream knows besides.")
CALL = table({"id": STRING, "type": STRING,
              "function": table({"name": STRING, "arguments": {"type": "string", "description": "JSON as text."}})},
             title="ChatToolCall")
MESSAGE = table({"role": {"enum": ["developer", "system", "user", "assistant", "tool", "function"]},
                 "content": either(STRING, many(PART), NULL), "name": STRING, "tool_calls": many(CALL),
                 "tool_call_id": STRING}, "role", title="ChatMessage")
TOOL = table({"type": TEXT, "function": table({"name": TEXT, "description": STRING, "parameters": {"type": "object"},
                                               "strict": FLAG}, "name")}, "type", title="ChatTool")
USAGE = table({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT,
               "prompt_tokens_details": either(table({"cached_tokens": COUNT}), NULL),
               "completion_tokens_details": either(table({"reasoning_tokens": COUNT}), NULL),
               "cost_micro_usd": {**COUNT, "description": "On /v1 with ?cost=1 or a key that says so."}},
              "prompt_tokens", "completion_tokens", "total_tokens", title="ChatUsage")
CHAT_ASKED = table({
    "model": MODEL, "messages": many(MESSAGE, minItems=1), "stream": FLAG,
    "stream_options": either(table({"include_usage": {"type": "boolean"}}), NULL), "max_tokens": LIMIT,
    "max_completion_tokens": LIMIT, "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
    "temperature": {"type": ["number", "null"]}, "top_p": {"type": ["number", "null"]},
    "stop": either(STRING, many(STRING), NULL), "tools": many(TOOL),
    "tool_choice": either({"enum": ["none", "auto", "required"]}, table({"type": TEXT}, "type")),
    "parallel_tool_calls": FLAG, "response_format": table({"type": TEXT}, "type"),
    "reasoning_effort": {"type": ["string", "null"]}, "prompt_cache_key": {"type": ["string", "null"]},
    "enable_thinking": FLAG}, "model", "messages", title="ChatRequest", says=THROUGH)
FINISH = {"type": ["string", "null"], "description": "stop, length, tool_calls, content_filter."}
CHAT_ANSWER = table({
    "id": STRING, "object": {"const": "chat.completion"}, "created": COUNT, "model": STRING, "usage": USAGE,
    "choices": many(table({"index": COUNT, "finish_reason": FINISH, "message": table({
        "role": {"const": "assistant"}, "content": {"type": ["string", "null"]},
        "reasoning_content": {"type": ["string", "null"]}, "tool_calls": many(CALL)}, "role", "content")},
        "index", "finish_reason", "message"), minItems=1)},
    "id", "object", "created", "model", "choices", title="ChatAnswer", says=THROUGH)
CHAT_CHUNK = table({
    "id": STRING, "object": {"const": "chat.completion.chunk"}, "created": COUNT, "model": STRING,
    "usage": either(USAGE, NULL),
    "choices": many(table({"index": COUNT, "finish_reason": FINISH, "delta": table({
        "role": STRING, "content": {"type": ["string", "null"]}, "tool_calls": many(CALL)})}, "index", "delta"))},
    "object", "choices", title="ChatChunk", says=THROUGH)
_SAID = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
CHAT_EXAMPLE = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "deepseek-chat",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi!"}}],
                "usage": _SAID}
CHUNKS_EXAMPLE = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"deepseek-chat",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi!"},"finish_reason":null}]}\n\n'
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"deepseek-chat",'
    '"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
PINNED = [{"name": "channel", "in": "query", "schema": STRING, "description": "This channel and no other."},
          {"name": "cost", "in": "query", "schema": {"enum": ["1", "true"]}, "description": "usage.cost_micro_usd."}]
REPEAT = {"name": "Idempotency-Key", "in": "header", "description": "The same key and body are one call, for a day.",
          "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}}

CHAT = {
    "summary": "Chat, whole or as a stream", "tags": ["Text"], "errors": ("key", "relayed"), "description": THROUGH,
    "parameters": [*PINNED, REPEAT],
    "requestBody": asked(CHAT_ASKED, {"model": "{llm}", "max_tokens": 16,
                                      "messages": [{"role": "user", "content": "Hello!"}]}),
    "responses": answer(CHAT_ANSWER, "The answer, or its events", CHAT_EXAMPLE,
                        **{"text/event-stream": events(CHAT_CHUNK, CHUNKS_EXAMPLE, "data: [DONE]")}),
}

# -- embeddings

EMBEDDINGS = {
    "summary": "Embeddings", "tags": ["Text"], "errors": ("key", "relayed"), "parameters": [REPEAT],
    "requestBody": asked(table({
        "model": MODEL, "input": either(TEXT, many(either(TEXT, COUNT, many(COUNT)), minItems=1)),
        "encoding_format": {"enum": ["float", "base64"]}, "dimensions": {"type": "integer", "minimum": 1}},
        "model", "input", title="EmbeddingsRequest", says=THROUGH), {"model": "{embedding}", "input": ["one", "two"]}),
    "responses": answer(
        table({"object": {"const": "list"}, "model": STRING,
               "data": many(table({"object": {"const": "embedding"}, "index": COUNT, "embedding": either(
                   many({"type": "number"}), {"type": "string", "description": "base64 of float32, little-endian."})},
                   "object", "index", "embedding")),
               "usage": table({"prompt_tokens": COUNT, "total_tokens": COUNT}, "prompt_tokens", "total_tokens")},
              "object", "data", "model", "usage", title="Embeddings", says=THROUGH),
        "One vector for each input",
        {"object": "list", "model": "text-embedding-v4", "usage": {"prompt_tokens": 2, "total_tokens": 2},
         "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}]}),
}
