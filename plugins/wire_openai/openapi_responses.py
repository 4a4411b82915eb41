"""What /openapi.json says of the Responses API and of stored responses."""

from typing import Any

from smartoken_plugins.wire_openai.openapi import (
    COUNT,
    FLAG,
    LIMIT,
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
    table,
)

_PART = table({"type": TEXT, "text": STRING}, "type")
_ITEM = table({"type": STRING, "id": STRING, "role": STRING, "content": either(STRING, many(_PART), NULL),
               "call_id": STRING, "name": STRING, "arguments": STRING, "output": either(STRING, many(_PART))},
              title="ResponseItem", says="message, function_call, function_call_output, reasoning and whatever comes.")
_MADE = {**_ITEM, "required": ["type"], "title": "ResponseOutputItem"}
_USAGE = table({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT,
                "input_tokens_details": table({"cached_tokens": COUNT}),
                "output_tokens_details": table({"reasoning_tokens": COUNT}), "cost_micro_usd": COUNT},
               "input_tokens", "output_tokens", "total_tokens", title="ResponseUsage")
_ASKED = table({
    "model": MODEL, "input": either(STRING, many(_ITEM)), "instructions": {"type": ["string", "null"]}, "stream": FLAG,
    "max_output_tokens": LIMIT, "previous_response_id": either({"type": "string", "minLength": 1}, NULL), "store": FLAG,
    "tools": many(table({"type": TEXT, "name": STRING}, "type")),
    "tool_choice": either({"enum": ["none", "auto", "required"]}, table({"type": TEXT, "name": TEXT}, "type")),
    "parallel_tool_calls": FLAG, "reasoning": either(table({"effort": {"type": ["string", "null"]}}), NULL),
    "text": table({}), "temperature": {"type": ["number", "null"]}, "top_p": {"type": ["number", "null"]},
    "prompt_cache_key": {"type": ["string", "null"]}, "include": either(many(STRING), NULL)},
    "model", "input", title="ResponseRequest", says=f"{THROUGH} `background` and `conversation` are refused.")
_STATUS = {"enum": ["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]}
RESPONSE = table({
    "id": STRING, "object": {"const": "response"}, "created_at": {"type": "number"}, "status": _STATUS, "model": STRING,
    "output": many(_MADE), "usage": either(_USAGE, NULL), "instructions": {"type": ["string", "array", "null"]},
    "error": either(table({"code": {"type": ["string", "null"]}, "message": STRING}, "message"), NULL),
    "incomplete_details": either(table({"reason": STRING}), NULL), "parallel_tool_calls": {"type": "boolean"},
    "tools": many(table({})), "tool_choice": {}, "metadata": {"type": ["object", "null"]},
    "temperature": {"type": ["number", "null"]}, "top_p": {"type": ["number", "null"]}},
    "id", "object", "created_at", "status", "model", "output", "error", "incomplete_details", title="Response",
    says=THROUGH)
_EVENT = table({"type": TEXT, "sequence_number": COUNT, "response": RESPONSE, "item": _MADE, "delta": {},
                "output_index": COUNT, "content_index": COUNT, "item_id": STRING}, "type", "sequence_number",
               title="ResponseEvent", says="`type` is the event's name as well: response.created, "
               "response.output_text.delta, …, response.completed.")
_EXAMPLE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": "completed", "model": "gpt-5",
    "error": None, "incomplete_details": None, "instructions": None, "parallel_tool_calls": True, "tools": [],
    "tool_choice": "auto", "metadata": {}, "temperature": 1.0, "top_p": 1.0,
    "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "Hi!", "annotations": []}]}],
    "usage": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 0},
              "output_tokens_details": {"reasoning_tokens": 0}}}
_EVENTS = ('event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":4,'
           '"item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hi!"}\n\n')
_SAYS = {"model": "{llm}", "input": "Hello!", "max_output_tokens": 16}
_ONE = {"tags": ["Text"], "errors": ("key", "stored")}

OPENAPI = {
    "/v1/responses": {"post": {
        "summary": "A response, whole or as a stream", "tags": ["Text"], "errors": ("key", "relayed", "follows"),
        "description": f"{THROUGH} Goes to channels of this wire alone, unless an operator let one translate.",
        "parameters": [*PINNED, REPEAT], "requestBody": asked(_ASKED, _SAYS),
        "responses": answer(RESPONSE, "The response, or its events", _EXAMPLE,
                            **{"text/event-stream": events(_EVENT, _EVENTS)})}},
    "/v1/responses/input_tokens": {"post": {
        "summary": "Count the tokens of an input", "tags": ["Text"], "errors": ("key", "relayed"),
        "description": "Costs nothing.", "requestBody": asked(_ASKED, {"model": "{llm}", "input": "Hello!"}),
        "responses": answer(table({"object": {"const": "response.input_tokens"}, "input_tokens": COUNT},
                                  "object", "input_tokens", title="InputTokens"), "The count",
                            {"object": "response.input_tokens", "input_tokens": 9})}},
    "/v1/responses/{id}": {
        "get": {**_ONE, "summary": "A stored response", "description": "Costs nothing; only its own account sees it.",
                "responses": answer(RESPONSE, "The response", _EXAMPLE)},
        "delete": {**_ONE, "summary": "Delete a stored response", "responses": answer(
            table({"id": STRING, "deleted": {"const": True}}, "id", "deleted", title="ResponseDeleted"), "It is gone",
            {"id": "resp_1", "object": "response", "deleted": True})}},
    "/v1/responses/{id}/input_items": {"get": {
        **_ONE, "summary": "What a stored response was asked", "parameters": [
            {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
            {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}}],
        "responses": answer(table({"object": {"const": "list"}, "data": many(_ITEM), "has_more": {"type": "boolean"}},
                                  "object", "data", title="InputItems"), "The items",
                            {"object": "list", "has_more": False, "data": [
                                {"type": "message", "role": "user", "id": "msg_0",
                                 "content": [{"type": "input_text", "text": "Hello!"}]}]})}},
}
