"""What a composite model's rules ask about a conversation, read from its messages. Only called for such models."""

from typing import Any

import msgspec

from smartoken.plugin import Ask, Look

_decode = msgspec.json.decode
_TEXT_MAX = 200_000  # characters that keywords are looked for in


def look(ask: Ask) -> Look:
    """Of chat messages, Responses items or Anthropic messages alike; what cannot be read has no text."""
    tools = len(bytes(ask.fields.get("tools", b"[]")).strip(b"[] \t\r\n")) > 0
    texts: list[str] = []
    said, images = "", 0
    for name in ("system", "instructions", "messages", "input"):
        if name not in ask.fields:
            continue
        try:
            found = _decode(ask.fields[name])
        except msgspec.DecodeError:
            continue
        for role, content in _entries(found):
            parts, pictures = _content(content)
            images += pictures
            texts += parts
            if role == "user" and parts:
                said = " ".join(parts)
    return Look(tools=tools, images=images, text=" ".join(texts)[:_TEXT_MAX], said=said)


def _entries(found: Any) -> list[tuple[str, Any]]:
    if isinstance(found, str):
        return [("user", found)]
    if not isinstance(found, list):
        return []
    return [(str(one.get("role", "")), one.get("content")) for one in found if isinstance(one, dict)]


def _content(content: Any) -> tuple[list[str], int]:
    """(texts, number of images) of one message."""
    if isinstance(content, str):
        return [content], 0
    texts, images = [], 0
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if "image" in str(part.get("type", "")):
            images += 1
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    return texts, images
