"""What the end of a conversation asks of the pretend upstream: words about what was said last, or a call of a tool.

`call NAME {"argument": …}` in the user's last message is answered by that call, when a tool NAME is offered; the turn
after it, which brings the tool's result, in words about the result. So an agent can be led through a whole task.
"""

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

RESULTS = ("function_call_output", "custom_tool_call_output")       # items of the Responses API
TOKEN = 4                                                            # characters of a call's arguments in one token
_CALL = re.compile(r"\bcall ([\w.:-]+) (?=\{)")


class Turn(NamedTuple):
    """`said` is the last thing said, by the user or a tool; `tool` the one to call, '' for none, with `arguments`, in
    pieces of one token each."""

    said: str
    tool: str = ""
    arguments: tuple[str, ...] = ()


def turn_of(messages: Any, offered: Collection[str] = ()) -> Turn:
    """From decoded messages (chat, Anthropic) or items (Responses); a text is what a user said."""
    if isinstance(messages, str):
        return _asked(messages, offered)
    for message in reversed(messages if isinstance(messages, list) else []):
        if not isinstance(message, dict):
            continue
        if message.get("role") == "tool":
            return Turn(text_of(message.get("content")))
        if message.get("type") in RESULTS:
            return Turn(text_of(message.get("output")))
        if message.get("role") == "user":
            content = message.get("content")
            results = [part for part in content if isinstance(part, dict) and part.get("type") == "tool_result"
                       ] if isinstance(content, list) else []
            if results:
                return Turn(" ".join(text_of(part.get("content")) for part in results))
            return _asked(text_of(content), offered)
    return Turn("")


def text_of(content: Any) -> str:
    """A message's text, be it a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict)).strip()


def _asked(said: str, offered: Collection[str]) -> Turn:
    for found in _CALL.finditer(said):
        if found[1] in offered:
            try:
                _, end = json.JSONDecoder().raw_decode(said, found.end())
            except ValueError:
                continue
            text = said[found.end():end]
            return Turn(said, found[1], tuple(text[at:at + TOKEN] for at in range(0, len(text), TOKEN)))
    return Turn(said)
