"""The pretend upstream's Gemini API: generateContent whole or streamed, and countTokens. The path names the model."""

from typing import Any

import msgspec

from smartoken.testing.answers import ID, Answer, Talk, data_event, dumps, error_value
from smartoken.testing.plays import Play
from smartoken.testing.spoil import spoil, usage_numbers

PATHS = (":generateContent", ":streamGenerateContent", ":countTokens")
CALL_NAME = "look_up"


class Asked(msgspec.Struct):
    """What shapes the answer."""

    contents: list[dict[str, Any]] = []
    generationConfig: dict[str, Any] = {}
    tools: list[dict[str, Any]] | None = None
    toolConfig: dict[str, Any] = {}
    model: str = ""
    stream: bool = False
    x_fault: str = ""


read = msgspec.json.Decoder(Asked).decode


def answer(asked: Asked, play: Play, talk: Talk) -> Answer:
    """The good answer to `asked`, bent by `play`: a word per event, usage as a running total in every one."""
    prompt = play.input if play.input >= 0 else len(dumps(asked.contents)) // 4 + 1
    limit = asked.generationConfig.get("maxOutputTokens", -1)
    words = talk(_said(asked.contents), play.tokens if play.tokens >= 0 else limit)
    cached = min(max(play.cached, 0), prompt)
    mode = asked.toolConfig.get("functionCallingConfig", {}).get("mode")
    if play.tools or (asked.tools and mode == "ANY"):
        declared = [f for tool in asked.tools or () for f in tool.get("functionDeclarations", ())]
        call = {"name": declared[0]["name"] if declared else CALL_NAME, "args": {"city": "Oslo"}}
        parts, words = [({"functionCall": call}, 1)], [""]
    else:
        parts = [({"text": word}, 1) for word in words]
    finish = "MAX_TOKENS" if len(words) == limit and not play.tools else "STOP"

    def event(given: list[dict], made: int, last: bool) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": given}}
        if last:
            candidate["finishReason"] = finish
        body = {"candidates": [candidate], "modelVersion": asked.model, "responseId": ID.decode()}
        usage = usage_numbers({"promptTokenCount": prompt, "cachedContentTokenCount": cached,
                               "candidatesTokenCount": made, "totalTokenCount": prompt + made}, play.usage)
        return body if usage is None else body | {"usageMetadata": usage}

    if asked.stream:
        pieces = [(data_event(event([part], at + 1, at + 1 == len(parts))).replace(b"\n\n", b"\r\n\r\n"), tokens)
                  for at, (part, tokens) in enumerate(parts)]
        good = Answer(200, "text/event-stream", tuple(pieces), "chunked", prompt - cached, cached)
    else:
        pieces = [(dumps(event([part for part, _ in parts], len(parts), True) | {"totalTokens": prompt}), len(parts))]
        good = Answer(200, "application/json", tuple(pieces), "length", prompt - cached, cached)
    return spoil(good, play, error_events)


def error_events(play: Play) -> tuple[bytes, ...]:
    """An error in Google's shape."""
    error = error_value(play).get("error", error_value(play))
    status = play.status if play.status > 399 else 500
    return (data_event({"error": {"code": status, "message": error["message"], "status": "INTERNAL"}}),)


def _said(contents: list[dict[str, Any]]) -> str:
    for content in reversed(contents):
        if content.get("role", "user") == "user":
            return " ".join(str(part.get("text", "")) for part in content.get("parts", ()))
    return ""
