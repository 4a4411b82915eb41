"""Events of the Responses API <-> steps of an answer."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from smartoken_plugins.bridges.responses import INCOMPLETE, JOINT, response, text_part, written_item
from smartoken_plugins.bridges.stream import Step, encode, named
from smartoken_plugins.bridges.turn import CALLS, END, FILTERED, LENGTH, Call, Message, Refused, Text, Thought
from smartoken_plugins.wire_openai.usage import usage_of

from smartoken.plugin import Ask, Usage, new_rid

CALL_ITEMS = {"function_call": "arguments", "custom_tool_call": "input"}


class ResponsesSteps:
    """Reads what is new in each event; the items themselves are read only for what came in no piece."""

    def __init__(self) -> None:
        self._calls: dict[Any, int] = {}        # output_index: characters of its arguments that came
        self._thought = False
        self._on = {"response.created": self._created, "response.output_text.delta": self._text,
                    "response.refusal.delta": self._refusal, "response.reasoning_summary_text.delta": self._thinking,
                    "response.reasoning_text.delta": self._thinking, "response.output_item.added": self._added,
                    "response.reasoning_summary_part.added": self._part,
                    "response.function_call_arguments.delta": self._piece,
                    "response.custom_tool_call_input.delta": self._piece, "response.output_item.done": self._done,
                    "response.completed": self._over, "response.incomplete": self._over,
                    "response.failed": self._failed, "error": self._error}

    def __call__(self, event: dict[str, Any]) -> Iterator[Step]:
        read = self._on.get(event.get("type"))
        return read(event) if read is not None else iter(())

    def _created(self, event: dict[str, Any]) -> Iterator[Step]:
        yield "begin", str(event["response"].get("id") or ""), str(event["response"].get("model") or "")

    def _text(self, event: dict[str, Any]) -> Iterator[Step]:
        yield "text", event["delta"]

    def _refusal(self, event: dict[str, Any]) -> Iterator[Step]:
        yield "refusal", event["delta"]

    def _thinking(self, event: dict[str, Any]) -> Iterator[Step]:
        self._thought = True
        yield "thought", event["delta"]

    def _part(self, event: dict[str, Any]) -> Iterator[Step]:
        if self._thought:
            yield ("paragraph",)

    def _added(self, event: dict[str, Any]) -> Iterator[Step]:
        item = event["item"]
        if item["type"] in CALL_ITEMS:
            self._calls[event["output_index"]] = 0
            space, name = item.get("namespace"), item["name"]
            yield ("call", event["output_index"], item["call_id"], f"{space}{JOINT}{name}" if space else name,
                   item["type"] == "custom_tool_call")

    def _piece(self, event: dict[str, Any]) -> Iterator[Step]:
        self._calls[event["output_index"]] += len(event["delta"])
        yield "arguments", event["output_index"], event["delta"]

    def _done(self, event: dict[str, Any]) -> Iterator[Step]:
        item, at = event["item"], event.get("output_index")
        if item["type"] in CALL_ITEMS:
            if at not in self._calls:
                yield from self._added(event)
            if not self._calls[at] and item[CALL_ITEMS[item["type"]]]:
                yield "arguments", at, item[CALL_ITEMS[item["type"]]]
        elif item["type"] == "reasoning":
            if item.get("encrypted_content"):
                yield "seal", item.get("id") or "", item["encrypted_content"]
            self._thought = False

    def _over(self, event: dict[str, Any]) -> Iterator[Step]:
        answer = event["response"]
        stop = CALLS if self._calls else END
        if event["type"] == "response.incomplete":
            stop = INCOMPLETE.get((answer.get("incomplete_details") or {}).get("reason"), LENGTH)
        yield "stop", stop, ""
        usage = usage_of(answer["usage"]) if isinstance(answer.get("usage"), dict) else None
        if usage is not None:
            yield "usage", usage

    def _failed(self, event: dict[str, Any]) -> Iterator[Step]:
        error = event["response"].get("error") or {}
        yield "error", str(error.get("message") or "The response failed."), str(error.get("code") or "")

    def _error(self, event: dict[str, Any]) -> Iterator[Step]:
        error = event.get("error") or event
        yield "error", str(error.get("message") or ""), str(error.get("code") or "")


class ResponsesWriter:
    """Every event in the order that OpenAI sends them, numbered from 0, one open item at a time but for calls, which
    may grow side by side."""

    def __init__(self, ask: Ask, names: Mapping[str, Any]):
        self._model, self._names, self._rid = ask.slug, names, new_rid()
        self._id, self._created = f"resp_{self._rid}", int(time.time())
        self._number = 0
        self._output: list[Any] = []            # what the items are, in their order
        self._open = -1                         # the message or thought that is being written
        self._calls: dict[Any, int] = {}        # key: place in the output
        self._closed: set[int] = set()
        self._begun = self._over = False
        self._stop, self._usage = END, None
        self._steps = {"begin": lambda id, model: self._begin(), "text": lambda words: self._words(words, Text),
                       "refusal": lambda words: self._words(words, Refused), "thought": self._think,
                       "paragraph": lambda: self._think("\n\n"), "seal": self._seal, "call": self._call,
                       "arguments": self._arguments, "stop": self._note_stop, "usage": self._note_usage,
                       "error": self._error}

    def write(self, step: Step) -> bytes:
        return b"" if self._over else self._steps[step[0]](*step[1:])

    def end(self) -> bytes:
        if self._over:
            return b""
        out = self._begin() + self._close_open()
        for at in self._calls.values():
            out += self._close_call(at)
        status = "incomplete" if self._stop in (LENGTH, FILTERED) else "completed"
        output = [self._item(at, "completed") for at in range(len(self._output))]
        done = response(self._id, self._created, self._model, status, output, self._usage, self._stop)
        self._over = True
        return out + self._say(f"response.{status}", response=done)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        empty = response(self._id, self._created, self._model, "in_progress", [], None, "")
        return self._say("response.created", response=empty) + self._say("response.in_progress", response=empty)

    def _words(self, words: str, kind: type) -> bytes:
        out = b""
        now = self._output[self._open] if self._open >= 0 else None
        if not isinstance(now, Message) or type(now.parts[0]) is not kind:
            out = self._begin() + self._close_open() + self._add(Message("assistant", [kind("")]))
            now = self._output[self._open]
            part = text_part("") if kind is Text else {"type": "refusal", "refusal": ""}
            out += self._say("response.content_part.added", **self._at(), content_index=0, part=part)
        now.parts.append(kind(words))
        if kind is Text:
            return out + self._say("response.output_text.delta", **self._at(), content_index=0, delta=words,
                                   logprobs=[])
        return out + self._say("response.refusal.delta", **self._at(), content_index=0, delta=words)

    def _think(self, words: str) -> bytes:
        out = b""
        if self._open < 0 or not isinstance(self._output[self._open], Thought):
            out = self._begin() + self._close_open() + self._add(Thought(""))
            out += self._say("response.reasoning_summary_part.added", **self._at(), summary_index=0,
                             part={"type": "summary_text", "text": ""})
        self._output[self._open].text += words
        return out + self._say("response.reasoning_summary_text.delta", **self._at(), summary_index=0, delta=words)

    def _seal(self, id: str, seal: str) -> bytes:
        out = b""
        if self._open < 0 or not isinstance(self._output[self._open], Thought):
            out = self._begin() + self._close_open() + self._add(Thought(""))
        self._output[self._open].seal = seal
        return out + self._close_open()

    def _call(self, key: Any, id: str, name: str, custom: bool) -> bytes:
        out = self._begin() + self._close_open()
        self._calls[key] = len(self._output)
        out += self._add(Call(id, name, "", custom))
        self._open = -1
        return out

    def _arguments(self, key: Any, piece: str) -> bytes:
        at = self._calls[key]
        call = self._output[at]
        call.arguments += piece
        if self._names.get(call.name, ("", "", False))[2] and not call.custom:
            return b""                          # a custom tool that went as a function: its text is known at the end
        kind = "custom_tool_call_input" if call.custom else "function_call_arguments"
        return self._say(f"response.{kind}.delta", **self._at(at), delta=piece)

    def _note_stop(self, reason: str, sequence: str) -> bytes:
        self._stop = reason
        return b""

    def _note_usage(self, usage: Usage) -> bytes:
        self._usage = usage
        return b""

    def _error(self, message: str, code: str) -> bytes:
        out = self._begin()
        self._over = True
        error = {"type": "upstream_error", "code": code or None, "message": message, "param": None}
        failed = response(self._id, self._created, self._model, "failed", [], self._usage, "")
        failed["error"] = {"code": code or "server_error", "message": message}
        return out + self._say("error", code=code or None, message=message, param=None, error=error) + self._say(
            "response.failed", response=failed)

    def _add(self, what: Any) -> bytes:
        self._output.append(what)
        self._open = len(self._output) - 1
        item = self._item(self._open, "in_progress")
        for field, empty in (("content", []), ("summary", []), ("arguments", ""), ("input", "")):
            if field in item:
                item[field] = empty
        return self._say("response.output_item.added", output_index=self._open, item=item)

    def _close_open(self) -> bytes:
        """The closing events of the message or thought that is open."""
        at, self._open = self._open, -1
        if at < 0:
            return b""
        what, where = self._output[at], self._at(at)
        out = b""
        if isinstance(what, Thought):
            if what.text:
                part = {"type": "summary_text", "text": what.text}
                out = self._say("response.reasoning_summary_text.done", **where, summary_index=0, text=what.text)
                out += self._say("response.reasoning_summary_part.done", **where, summary_index=0, part=part)
        else:
            kind = type(what.parts[0])
            what.parts = [kind("".join(part.text for part in what.parts))]
            text = what.parts[0].text
            if kind is Text:
                out = self._say("response.output_text.done", **where, content_index=0, text=text, logprobs=[])
            else:
                out = self._say("response.refusal.done", **where, content_index=0, refusal=text)
            part = text_part(text) if kind is Text else {"type": "refusal", "refusal": text}
            out += self._say("response.content_part.done", **where, content_index=0, part=part)
        return out + self._say("response.output_item.done", output_index=at, item=self._item(at, "completed"))

    def _close_call(self, at: int) -> bytes:
        if at in self._closed:
            return b""
        self._closed.add(at)
        call = self._output[at]
        call.arguments = call.arguments or ("" if call.custom else "{}")
        item, where = self._item(at, "completed"), self._at(at)
        if item["type"] == "custom_tool_call":
            out = b""
            if not call.custom:
                out = self._say("response.custom_tool_call_input.delta", **where, delta=item["input"])
            out += self._say("response.custom_tool_call_input.done", **where, input=item["input"])
        else:
            out = self._say("response.function_call_arguments.done", **where, name=item["name"],
                            arguments=item["arguments"])
        return out + self._say("response.output_item.done", output_index=at, item=item)

    def _item(self, at: int, status: str) -> dict[str, Any]:
        return written_item(self._output[at], f"{self._rid}_{at}", status, self._names) | {"status": status}

    def _at(self, at: int | None = None) -> dict[str, Any]:
        at = self._open if at is None else at
        what = self._output[at]
        prefix = "rs" if isinstance(what, Thought) else "msg" if isinstance(what, Message) else (
            "ctc" if what.custom or self._names.get(what.name, ("", "", False))[2] else "fc")
        return {"item_id": f"{prefix}_{self._rid}_{at}", "output_index": at}

    def _say(self, kind: str, **body: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **body}
        self._number += 1
        return named(kind, encode(body))
