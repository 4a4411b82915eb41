"""What /openapi.json says of chat and embeddings, and the words that every wire's operation is written in."""

from typing import Any

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
LIMIT = {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1}


def table(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """A JSON object; unknown fields pass through."""
    return {"type": "object", "properties": properties, "required": list(required)}


def answer(schema: dict[str, Any], description: str, **more: dict[str, Any]) -> dict[str, Any]:
    """A 200 as JSON; `more` are other content types."""
    return {"200": {"description": description, "content": {"application/json": {"schema": schema}, **more}}}


MESSAGE = table({"role": TEXT, "content": {}}, "role")
USAGE = table({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}, "prompt_tokens")
CHAT_ASKED = table({
    "model": TEXT, "messages": {"type": "array", "minItems": 1, "items": MESSAGE},
    "stream": {"type": ["boolean", "null"]}, "max_tokens": LIMIT, "max_completion_tokens": LIMIT,
    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
    "stream_options": {"type": ["object", "null"]}}, "model", "messages")
CHAT_ANSWER = table({
    "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"},
    "model": {"type": "string"}, "usage": USAGE,
    "choices": {"type": "array", "items": table({
        "index": COUNT, "finish_reason": {"type": ["string", "null"]},
        "message": table({"role": {"type": "string"}, "content": {"type": ["string", "null"]}}, "role")}, "message")}},
    "choices")
EVENTS = {"schema": {"type": "string", "description": "Server-sent events; the last is `data: [DONE]`."}}


def asked(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """A required JSON body."""
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


CHAT = {
    "summary": "Chat, whole or as a stream", "tags": ["Text"],
    "description": "Every field that is not named here goes through untouched, in both directions.",
    "requestBody": asked(CHAT_ASKED, {"model": "{llm}", "max_tokens": 16,
                                      "messages": [{"role": "user", "content": "Hello!"}]}),
    "responses": answer(CHAT_ANSWER, "The answer, or its events", **{"text/event-stream": EVENTS}),
}
EMBEDDINGS = {
    "summary": "Embeddings", "tags": ["Text"],
    "requestBody": asked(table({"model": TEXT, "input": {"anyOf": [TEXT, {"type": "array", "minItems": 1}]}},
                               "model", "input"), {"model": "{embedding}", "input": ["one", "two"]}),
    "responses": answer(table({"object": {"const": "list"}, "data": {"type": "array", "items": table({
        "object": {"const": "embedding"}, "index": COUNT, "embedding": {"type": ["array", "string"]}}, "embedding")},
        "usage": table({"prompt_tokens": COUNT, "total_tokens": COUNT})}, "data"), "One vector for each input"),
}
