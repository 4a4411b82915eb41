"""What /openapi.json says of POST /api/v1/chat/completions: openai.chat's operation, with this surface's own fields."""

from smartoken_plugins.wire_openai.openapi import (
    CHAT,
    CHAT_ANSWER,
    CHAT_ASKED,
    CHAT_CHUNK,
    CHAT_EXAMPLE,
    CHUNKS_EXAMPLE,
    COUNT,
    NULL,
    STRING,
    TEXT,
    USAGE,
    answer,
    asked,
    either,
    events,
    many,
    ours,
)

MAX_TOKENS = {"type": ["integer", "null"], "minimum": 1, "maximum": 32_768}
STAGE = {"title": "SolquirStage", "oneOf": [
    ours({"stage": {"const": "route"}, "picked": TEXT, "reason": STRING}),
    ours({"stage": {"const": "tool"}, "name": TEXT, "ms": COUNT, "error": {"enum": ["failed", "timeout"]}}, "error")]}
_THINKING = many(STAGE, description="What the gateway itself went through.")
_ASKED = {**CHAT_ASKED, "title": "SolquirChatRequest", "properties": {
    **CHAT_ASKED["properties"], "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 0.7},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 1}, "max_tokens": MAX_TOKENS,
    "max_completion_tokens": MAX_TOKENS}}
_USAGE = {**USAGE, "title": "SolquirUsage", "properties": {**USAGE["properties"], "cost_micro_usd": COUNT},
          "required": ["prompt_tokens", "completion_tokens", "total_tokens", "cost_micro_usd"]}
_ANSWER = {**CHAT_ANSWER, "title": "SolquirChatAnswer", "required": [*CHAT_ANSWER["required"], "usage", "thinking"],
           "properties": {**CHAT_ANSWER["properties"], "usage": _USAGE, "thinking": _THINKING}}
_CHUNK = {**CHAT_CHUNK, "title": "SolquirChatChunk", "properties": {
    **CHAT_CHUNK["properties"], "usage": either(_USAGE, NULL), "thinking": _THINKING}}
_THOUGHT = [{"stage": "route", "picked": "claude-opus", "reason": "tools were brought along"},
            {"stage": "tool", "name": "search", "ms": 480}]
_EXAMPLE = {**CHAT_EXAMPLE, "model": "solquir-v1", "thinking": _THOUGHT,
            "usage": {**CHAT_EXAMPLE["usage"], "cost_micro_usd": 42}}
_LAST = ('data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"solquir-v1",'
         '"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"cost_micro_usd":42},'
         '"thinking":[{"stage":"route","picked":"claude-opus","reason":"tools were brought along"}]}\n\n')

SOLQUIR_CHAT = {
    **CHAT, "summary": "Chat, with cost and thinking",
    "description": f"{CHAT['description']} In a stream `usage` and `thinking` come in the last chunk before `[DONE]`.",
    "requestBody": asked(_ASKED, {"model": "{llm}", "temperature": 0.7, "max_tokens": 16,
                                  "messages": [{"role": "user", "content": "Hello!"}]}),
    "responses": answer(_ANSWER, "The answer, or its events", _EXAMPLE, **{"text/event-stream": events(
        _CHUNK, CHUNKS_EXAMPLE.replace("data: [DONE]", _LAST + "data: [DONE]"), "data: [DONE]")}),
}
