"""Events of the Messages API <-> steps of an answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from smartoken_plugins.bridges.messages import REASONS, STOPS, message, usage_fields
from smartoken_plugins.bridges.stream import Step, encode, named
from smartoken_plugins.bridges.turn import END, FILTERED, REDACTED, Thought, sealed
from smartoken_plugins.wire_anthropic.messages import usage_of

from smartoken.plugin import Ask, Usage, new_rid


class MessagesSteps:
    """Reads blocks one by one; usage is laid over what came before."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._thoughts = 0
        self._on = {"message_start": self._start, "content_block_start": self._block, "message_delta": self._delta,
                    "content_block_delta": self._piece, "error": self._error}

    def __call__(self, event: dict[str, Any]) -> Iterator[Step]:
        read = self._on.get(event.get("type"))
        return read(event) if read is not None else iter(())

    def _start(self, event: dict[str, Any]) -> Iterator[Step]:
        start = event["message"]
        self._usage |= start.get("usage") or {}
        yield "begin", str(start.get("id") or ""), str(start.get("model") or "")

    def _block(self, event: dict[str, Any]) -> Iterator[Step]:
        block = event["content_block"]
        if block["type"] == "tool_use":
            yield "call", event["index"], block["id"], block["name"], False
        elif block["type"] == "text" and block.get("text"):
            yield "text", block["text"]
        elif block["type"] == "thinking":
            if self._thoughts:
                yield ("paragraph",)
            self._thoughts += 1
        elif block["type"] == "redacted_thinking":
            yield "seal", "", REDACTED + block["data"]

    def _piece(self, event: dict[str, Any]) -> Iterator[Step]:
        delta = event["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            yield "text", delta["text"]
        elif kind == "input_json_delta":
            if delta["partial_json"]:
                yield "arguments", event["index"], delta["partial_json"]
        elif kind == "thinking_delta":
            yield "thought", delta["thinking"]
        elif kind == "signature_delta" and delta["signature"]:
            yield "seal", "", delta["signature"]

    def _delta(self, event: dict[str, Any]) -> Iterator[Step]:
        self._usage |= {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
        delta = event.get("delta") or {}
        if delta.get("stop_reason"):
            yield "stop", STOPS.get(delta["stop_reason"], END), str(delta.get("stop_sequence") or "")
            usage = usage_of(self._usage)
            if usage is not None:
                yield "usage", usage

    def _error(self, event: dict[str, Any]) -> Iterator[Step]:
        error = event.get("error") or {}
        yield "error", str(error.get("message") or ""), str(error.get("type") or "")


class MessagesWriter:
    """Blocks strictly one at a time. A call whose pieces come while another is open waits for its turn, so that no
    piece is lost when an upstream mixes them."""

    def __init__(self, ask: Ask, names: Mapping[str, Any]):
        self._model, self._id = ask.slug, f"msg_{new_rid()}"
        self._index, self._open, self._thought = -1, "", Thought("")
        self._waiting: dict[Any, list[Any]] = {}        # key: [id, name, pieces] of calls not yet told
        self._begun = self._over = self._refused = False
        self._stop, self._sequence, self._usage = END, "", None
        self._steps = {"begin": lambda id, model: self._begin(), "text": self._text, "refusal": self._refusal,
                       "thought": self._think, "paragraph": lambda: self._think("\n\n"), "seal": self._seal,
                       "call": self._call, "arguments": self._arguments, "stop": self._note_stop,
                       "usage": self._note_usage, "error": self._error}

    def write(self, step: Step) -> bytes:
        return b"" if self._over else self._steps[step[0]](*step[1:])

    def end(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        out = self._begin() + self._close() + self._told()
        stop = FILTERED if self._refused else self._stop
        usage = usage_fields(self._usage or Usage())
        out += self._say("message_delta", delta={"stop_reason": REASONS[stop], "stop_sequence": self._sequence or None},
                         usage=usage)
        return out + self._say("message_stop")

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        # The prompt's count is not known yet: the true figures all come in message_delta, which clients lay over these.
        return self._say("message_start", message=message(self._id, self._model, [], None, None, None))

    def _text(self, words: str) -> bytes:
        out = b"" if self._open == "text" else self._start("text", {"type": "text", "text": ""})
        return out + self._piece({"type": "text_delta", "text": words})

    def _refusal(self, words: str) -> bytes:
        self._refused = True
        return self._text(words)

    def _think(self, words: str) -> bytes:
        out = b""
        if self._open != "thinking":
            out = self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return out + self._piece({"type": "thinking_delta", "thinking": words})

    def _seal(self, id: str, seal: str) -> bytes:
        out = b""
        if self._open != "thinking":
            out = self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        out += self._piece({"type": "signature_delta", "signature": sealed(Thought("", seal, id))})
        return out + self._close()

    def _call(self, key: Any, id: str, name: str, custom: bool) -> bytes:
        if self._open == "tool_use":
            self._waiting[key] = [id, name, []]
            return b""
        return self._start("tool_use", {"type": "tool_use", "id": id, "name": name, "input": {}})

    def _arguments(self, key: Any, piece: str) -> bytes:
        if key in self._waiting:
            self._waiting[key][2].append(piece)
            return b""
        return self._piece({"type": "input_json_delta", "partial_json": piece})

    def _told(self) -> bytes:
        """The calls that waited, each as a block of its own."""
        out = b""
        for id, name, pieces in self._waiting.values():
            out += self._start("tool_use", {"type": "tool_use", "id": id, "name": name, "input": {}})
            out += self._piece({"type": "input_json_delta", "partial_json": "".join(pieces)}) + self._close()
        self._waiting.clear()
        return out

    def _note_stop(self, reason: str, sequence: str) -> bytes:
        self._stop, self._sequence = reason, sequence
        return b""

    def _note_usage(self, usage: Usage) -> bytes:
        self._usage = usage
        return b""

    def _error(self, text: str, code: str) -> bytes:
        self._over = True
        return self._say("error", error={"type": "api_error", "message": text})

    def _start(self, kind: str, block: dict[str, Any]) -> bytes:
        out = self._begin() + self._close()
        if kind != "tool_use":
            out += self._told()
        self._index, self._open = self._index + 1, kind
        return out + self._say("content_block_start", index=self._index, content_block=block)

    def _piece(self, delta: dict[str, Any]) -> bytes:
        return self._say("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return self._say("content_block_stop", index=self._index)

    def _say(self, kind: str, **body: Any) -> bytes:
        return named(kind, encode({"type": kind, **body}))
