"""What /openapi.json says of Anthropic's Messages API."""

from smartoken_plugins.wire_openai.openapi import (
    COUNT,
    FLAG,
    MODEL,
    NULL,
    PINNED,
    REPEAT,
    STRING,
    TEXT,
    THROUGH,
    answer,
    asked,
    either,
    events,
    many,
    ours,
    table,
)

BLOCK = table({"type": TEXT, "text": STRING, "thinking": STRING, "id": STRING, "name": STRING,
               "input": {"type": "object"}, "tool_use_id": STRING}, "type", title="MessageBlock",
              says="text, thinking, tool_use, tool_result, image, document and what Anthropic adds.")
_MESSAGE = table({"role": {"enum": ["user", "assistant", "system"]}, "content": either(TEXT, many(BLOCK, minItems=1))},
                 "role", "content", title="MessageTurn")
_USAGE = table({"input_tokens": COUNT, "output_tokens": COUNT, "cache_creation_input_tokens": {"type": ["integer", "null"]},
                "cache_read_input_tokens": {"type": ["integer", "null"]}, "cost_micro_usd": COUNT}, title="MessageUsage",
               says="`input_tokens` leaves cached ones out.")
_FIELDS = {"model": MODEL, "messages": many(_MESSAGE, minItems=1), "system": either(STRING, many(BLOCK)),
           "tools": many(table({"name": TEXT, "input_schema": {"type": "object"}}, "name")),
           "tool_choice": table({"type": {"enum": ["auto", "any", "none"]}}, "type"),
           "thinking": table({"type": TEXT}, "type")}
_ASKED = table({**_FIELDS, "max_tokens": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "stream": FLAG,
                "temperature": {"type": "number"}, "top_p": {"type": "number"}, "stop_sequences": many(STRING)},
               "model", "messages", "max_tokens", title="MessageRequest", says=THROUGH)
_ANSWER = table({"id": STRING, "type": {"const": "message"}, "role": {"const": "assistant"}, "model": STRING,
                 "content": many(BLOCK), "stop_reason": {"type": ["string", "null"]},
                 "stop_sequence": {"type": ["string", "null"]}, "usage": _USAGE},
                "id", "type", "role", "model", "content", "stop_reason", "usage", title="Message", says=THROUGH)
_EVENT = table({"type": TEXT, "message": _ANSWER, "index": COUNT, "content_block": BLOCK,
                "delta": {"type": "object"}, "usage": either(_USAGE, NULL)}, "type", title="MessageEvent",
               says="`type` is the event's name as well: message_start, content_block_delta, …, message_stop, ping.")
ERROR = ours({"type": {"const": "error"}, "request_id": STRING, "error": table(
    {"type": STRING, "message": STRING, "details": table({"error_code": STRING})}, "type", "message")},
    title="MessageError", says="Our code stands in `details.error_code`.")
_HEADERS = [{"name": "anthropic-version", "in": "header", "schema": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}}]
_SAYS = [{"role": "user", "content": "Hello!"}]
_EXAMPLE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": "Hi!"}],
            "usage": {"input_tokens": 9, "output_tokens": 3}}
_EVENTS = ('event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
           '"delta":{"type":"text_delta","text":"Hi!"}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n')
_REFUSED = {"default": {"description": "A refusal", "content": {"application/json": {"schema": ERROR}}}}

OPENAPI = {
    "/v1/messages": {"post": {
        "summary": "A message, whole or as a stream", "tags": ["Other dialects"], "errors": ("key", "relayed"),
        "description": f"{THROUGH} The key may come as `x-api-key`.", "parameters": [*_HEADERS, *PINNED, REPEAT],
        "requestBody": asked(_ASKED, {"model": "{llm}", "max_tokens": 16, "messages": _SAYS}),
        "responses": answer(_ANSWER, "The message, or its events", _EXAMPLE,
                            **{"text/event-stream": events(_EVENT, _EVENTS)}) | _REFUSED}},
    "/v1/messages/count_tokens": {"post": {
        "summary": "Count the tokens of messages", "tags": ["Other dialects"], "errors": ("key", "relayed"),
        "description": "Costs nothing.", "parameters": _HEADERS,
        "requestBody": asked(table(_FIELDS, "model", "messages", title="CountRequest", says=THROUGH),
                             {"model": "{llm}", "messages": _SAYS}),
        "responses": answer(table({"input_tokens": COUNT}, "input_tokens", title="MessageCount"), "The count",
                            {"input_tokens": 9}) | _REFUSED}},
}
