"""What /openapi.json says of Gemini's generateContent and its kin, below both prefixes."""

from smartoken_plugins.wire_openai.openapi import (
    COUNT,
    PINNED,
    REPEAT,
    STRING,
    THROUGH,
    answer,
    asked,
    events,
    many,
    ours,
    table,
)

_PART = table({"text": STRING, "thought": {"type": "boolean"}, "functionCall": table({"name": STRING}),
               "inlineData": table({"mimeType": STRING, "data": STRING})}, title="GeminiPart")
_CONTENT = table({"role": {"enum": ["user", "model", "function"]}, "parts": many(_PART)}, title="GeminiContent")
_CONFIG = table({"maxOutputTokens": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
                 "candidateCount": {"type": "integer", "minimum": 1, "maximum": 8}, "temperature": {"type": "number"},
                 "topP": {"type": "number"}, "stopSequences": many(STRING)}, title="GeminiConfig")
_ASKED = table({"contents": many(_CONTENT, minItems=1), "systemInstruction": _CONTENT, "generationConfig": _CONFIG,
                "tools": many(table({"functionDeclarations": many(table({"name": STRING}))})), "toolConfig": table({
                    "functionCallingConfig": table({"mode": STRING})})},
               "contents", title="GeminiRequest", says=f"{THROUGH} snake_case will do as well.")
_USAGE = table({"promptTokenCount": COUNT, "cachedContentTokenCount": COUNT, "candidatesTokenCount": COUNT,
                "thoughtsTokenCount": COUNT, "totalTokenCount": COUNT, "cost_micro_usd": COUNT}, "promptTokenCount",
               title="GeminiUsage")
ANSWER = table({"candidates": many(table({"index": COUNT, "content": _CONTENT, "finishReason": STRING})),
                "promptFeedback": table({"blockReason": STRING}), "usageMetadata": _USAGE, "modelVersion": STRING,
                "responseId": STRING}, title="GeminiAnswer", says=f"{THROUGH} A blocked prompt has no candidates.")
ERROR = ours({"error": ours({"code": {"type": "integer"}, "message": STRING, "status": STRING, "details": many(
    table({"@type": STRING, "reason": STRING}))}, "details")}, title="GeminiError",
    says="Our code is the `reason` of an ErrorInfo.")
_SAYS = {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]}
_EXAMPLE = {"candidates": [{"index": 0, "finishReason": "STOP", "content": {
    "role": "model", "parts": [{"text": "Hi!"}]}}], "modelVersion": "gemini-x", "usageMetadata": {
        "promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}}
_EVENTS = ('data: {"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"Hi!"}]},"finishReason":"STOP"}],'
           '"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,"totalTokenCount":12}}\r\n\r\n')
_COMMON = {"tags": ["Other dialects"], "errors": ("key", "relayed"),
           "description": "The key may come as `x-goog-api-key` or `?key=`. " + THROUGH}
_REFUSED = {"default": {"description": "A refusal", "content": {"application/json": {"schema": ERROR}}}}
_SSE = {"name": "alt", "in": "query", "required": True, "schema": {"const": "sse"}}
_COUNTED = table({"totalTokens": COUNT}, "totalTokens", title="GeminiCount")
OPENAPI = {
    path: operations for prefix in ("/v1beta/models/", "/v1/models/") for path, operations in {
        f"{prefix}{{model}}:generateContent": {"post": {
            **_COMMON, "summary": "Gemini: an answer", "parameters": [*PINNED, REPEAT], "requestBody": asked(_ASKED, _SAYS),
            "responses": answer(ANSWER, "The answer", _EXAMPLE) | _REFUSED}},
        f"{prefix}{{model}}:streamGenerateContent": {"post": {
            **_COMMON, "summary": "Gemini: an answer as a stream", "parameters": [_SSE, *PINNED, REPEAT],
            "requestBody": asked(_ASKED, _SAYS), "responses": {"200": {
                "description": "Its events", "content": {"text/event-stream": events(ANSWER, _EVENTS)}}} | _REFUSED}},
        f"{prefix}{{model}}:countTokens": {"post": {
            **_COMMON, "summary": "Gemini: count tokens", "requestBody": asked(_ASKED, _SAYS),
            "responses": answer(_COUNTED, "The count", {"totalTokens": 9}) | _REFUSED}},
    }.items()
}
