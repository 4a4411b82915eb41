"""What /openapi.json says of POST /api/v1/chat/completions: openai.chat's operation, with this surface's own fields."""

from smartoken_plugins.wire_openai.openapi import (
    CHAT,
    CHAT_ANSWER,
    CHAT_ASKED,
    COUNT,
    EVENTS,
    TEXT,
    USAGE,
    answer,
    asked,
    table,
)

MAX_TOKENS = {"type": ["integer", "null"], "minimum": 1, "maximum": 32_768}
STAGE = {"oneOf": [
    table({"stage": {"const": "route"}, "picked": TEXT, "reason": {"type": "string"}}, "stage", "picked", "reason"),
    table({"stage": {"const": "tool"}, "name": TEXT, "ms": COUNT, "error": {"type": "string"}}, "stage", "name", "ms")]}
_ASKED = {**CHAT_ASKED, "properties": {
    **CHAT_ASKED["properties"], "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 0.7},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 1}, "max_tokens": MAX_TOKENS,
    "max_completion_tokens": MAX_TOKENS}}
_USAGE = {**USAGE, "properties": {**USAGE["properties"], "cost_micro_usd": COUNT},
          "required": ["prompt_tokens", "completion_tokens", "total_tokens", "cost_micro_usd"]}
_ANSWER = {**CHAT_ANSWER, "required": ["choices", "usage", "thinking", "model"], "properties": {
    **CHAT_ANSWER["properties"], "usage": _USAGE, "thinking": {"type": "array", "items": STAGE}}}

SOLQUIR_CHAT = {
    **CHAT, "summary": "Chat, with cost and thinking",
    "description": "In a stream `usage` and `thinking` come in the last chunk before `[DONE]`.",
    "requestBody": asked(_ASKED, {"model": "{llm}", "temperature": 0.7, "max_tokens": 16,
                                  "messages": [{"role": "user", "content": "Hello!"}]}),
    "responses": answer(_ANSWER, "The answer, or its events", **{"text/event-stream": EVENTS}),
}
