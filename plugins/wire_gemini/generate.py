"""The wire `gemini.generate`: POST /v1beta/models/{model}:generateContent and :streamGenerateContent, or /v1/….

Model and method stand in the path, so the body goes upstream byte for byte. `:countTokens` costs nothing. Streams have
no event names and no last word: the one with a finish reason is the end. Nothing but events may be sent in them, since
Google's client feeds every other line to its JSON parser.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from smartoken_plugins.wire_gemini.openapi import OPENAPI
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai.events import Dialect, EventReader, count_texts, events_of
from smartoken_plugins.wire_openai.usage import HUGE

from smartoken.plugin import COUNTED, Ask, Failure, Refusal, Usage, Wire
from smartoken.plugin import refuse as refusal_of

NAME = "gemini.generate"
PREFIXES = ("/v1beta/models/", "/v1/models/")  # Google's client 3.x says v1
VERBS = {"generateContent": (False, False, ":generateContent"),  # method: (stream, free, upstream suffix)
         "streamGenerateContent": (True, False, ":streamGenerateContent?alt=sse"),
         "countTokens": (False, True, ":countTokens")}
STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED",
          404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
          504: "DEADLINE_EXCEEDED"}
TEXTS = frozenset({"text"})
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.encode
_decode = msgspec.json.decode


def peek(data: bytes) -> Ask:
    """Never enough here: the path names the model."""
    raise read.bad("The model belongs into the path: /v1beta/models/{model}:generateContent.")


def peek_at(method: str, path: str, query: str, data: bytes) -> Ask:
    """Model and method from the path, the limit from the body. proto-JSON takes snake_case too."""
    name, _, verb = path.partition("/models/")[2].rpartition(":")
    if not name or verb not in VERBS:
        raise refusal_of("not_found", f"There is no method '{verb[:100]}' here.", code="unknown_route")
    stream, free, suffix = VERBS[verb]
    if stream and "alt=sse" not in query.split("&"):
        raise read.bad("Streams are served as events only: add ?alt=sse.", param="alt")
    fields = read.fields_of(data)
    if not free or "contents" in fields:
        read.some_list(fields, "contents")
    limit, choices = None, 1
    config = read.table(fields, "generationConfig") or read.table(fields, "generation_config")
    if config:
        limit = _first(read.count(config, "maxOutputTokens"), read.count(config, "max_output_tokens"))
        choices = _first(read.count(config, "candidateCount"), read.count(config, "candidate_count")) or 1
        if choices > 8:
            raise read.bad("'candidateCount' must be from 1 to 8.", param="candidateCount")
        limit = limit * choices if limit is not None else None
    return Ask(wire=NAME, slug=unquote(name), stream=stream, body=data, fields=fields, max_output=limit,
               choices=choices, suffix=suffix, free=free)


def body(ask: Ask, upstream_name: str, quirks: Mapping[str, Any]) -> bytes:
    """The client's own fields: two of one name would be read twice in two ways."""
    return read.encode(ask.fields)


def cap(ask: Ask, tokens: int, quirks: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The output limited, in the configuration that the client sent or in one of our own."""
    name = "generation_config" if "generation_config" in ask.fields else "generationConfig"
    config = read.table(ask.fields, name)
    limit = "max_output_tokens" if "max_output_tokens" in config else "maxOutputTokens"
    config[limit] = read.raw(max(1, tokens // ask.choices))
    return {**ask.fields, name: msgspec.Raw(read.encode(config))}


def judge(reader: EventReader, event: dict[str, Any]) -> None:
    """It ends when each choice has its finish reason and the totals are told, or with a prompt that was blocked; where
    fewer choices come than were asked for, with the body. Usage is a running total."""
    if "error" in event:
        reader.failure = failure_in(event)
        return
    if isinstance(event.get("usageMetadata"), dict):
        reader.figures["usage"] = event["usageMetadata"]
    done = reader.figures.setdefault("done", set())
    done |= {index for index, candidate in _candidates(event) if candidate.get("finishReason")}
    feedback = event.get("promptFeedback")
    blocked = isinstance(feedback, dict) and bool(feedback.get("blockReason"))
    if done or blocked:
        reader.figures["some"] = reader.figures["final"] = True
        reader.finished = blocked or _all_done(reader)
        reader.ended = reader.ended or blocked or (_all_done(reader) and "usageMetadata" in event)


def _candidates(event: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The choices in an event, each behind its index, which proto-JSON leaves out where it is 0."""
    found = event.get("candidates")
    return [(one["index"] if type(one.get("index")) is int else at, one) for at, one in enumerate(found)
            if isinstance(one, dict)] if isinstance(found, list) else []


def _all_done(reader: EventReader) -> bool:
    return len(reader.figures.get("done", ())) >= reader.figures.get("choices", 1)


def usage(reader: EventReader) -> Usage | None:
    """The last total. Of a stream that was cut, the prompt as reported and the output as far as it came."""
    found = usage_of(reader.figures["usage"]) if "usage" in reader.figures else None
    if found is None or reader.figures.get("final"):
        return found
    return Usage(input=found.input, cache_read=found.cache_read, output=max(found.output, reader.counted),
                 source=COUNTED)


def usage_of(found: Mapping[str, Any]) -> Usage | None:
    """Cached tokens are inside the prompt, what tools read is outside it; thoughts are outside the candidates unless
    the total says that they are inside."""
    counts = [found.get(name) or 0 for name in ("promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount",
                                                "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount")]
    if found.get("promptTokenCount") is None or not all(type(n) is int and 0 <= n <= HUGE for n in counts):
        return None
    prompt, cached, made, thoughts, tools, total = counts
    output = made if thoughts and prompt + made + tools == total else made + thoughts
    cached = min(cached, prompt)
    return Usage(input=prompt - cached + tools, cache_read=cached, output=output, reasoning=min(thoughts, output))


def add_cost(data: bytes, cost_u: int) -> bytes:
    """`usageMetadata.cost_micro_usd` put into an answer or an event's JSON."""
    fields = _fields.decode(data)
    usage = _fields.decode(fields["usageMetadata"]) if "usageMetadata" in fields else {}
    usage["cost_micro_usd"] = read.raw(cost_u)
    fields["usageMetadata"] = msgspec.Raw(_encode(usage))
    return _encode(fields)


def cut(reader: EventReader, why: Refusal, usage: Usage) -> list[tuple[str, dict[str, Any]]]:
    """A last event with the finish reason of a limit, our reason in words, and the totals."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    last = {"content": {"role": "model", "parts": []}, "finishReason": "MAX_TOKENS",
            "finishMessage": f"{why.code}: {why.message}"}
    done, choices = reader.figures.setdefault("done", set()), reader.figures.get("choices", 1)
    open_ = [index for index in range(choices) if index not in done]
    done |= set(open_)
    told = {"promptTokenCount": prompt, "cachedContentTokenCount": usage.cache_read,
            "candidatesTokenCount": usage.output - usage.reasoning, "thoughtsTokenCount": usage.reasoning,
            "totalTokenCount": prompt + usage.output}
    return [("", {"candidates": [{**last, "index": index} for index in open_], "usageMetadata": told})]


DIALECT = Dialect(
    counted=(b'"text":', b'"functionCall":'),
    signs=(b'"finishReason"', b'"promptFeedback"', b'"error"'),
    judge=judge, usage=usage, cut=cut, put_cost=lambda data, add_cost, cost_u: add_cost(data, cost_u),
    promises=lambda event: True, running_usage=b'"usageMetadata"',
    tells_usage=lambda reader, event: "usageMetadata" in event and _all_done(reader) and any(
        candidate.get("finishReason") for _, candidate in _candidates(event)))


def reader(ask: Ask, quirks: Mapping[str, Any], keep_usage: bool = False) -> EventReader:
    """A reader of one attempt's stream."""
    found = EventReader(DIALECT, keep_usage)
    found.figures["choices"] = ask.choices
    return found


def whole(data: bytes, ask: Ask, quirks: Mapping[str, Any]) -> tuple[Usage | None, Failure | None, int]:
    """Usage, failure and our own count of a complete answer. A blocked prompt is an answer: 200, nothing written."""
    try:
        fields = _fields.decode(data)
        if ask.free and "totalTokens" in fields:
            return Usage(), None, 0
        if "candidates" not in fields and "promptFeedback" not in fields:
            return None, failure_in(_decode(data)), 0
        found = _decode(fields["usageMetadata"]) if "usageMetadata" in fields else None
    except (msgspec.DecodeError, RecursionError):
        return None, Failure("The upstream's answer is not valid JSON.", code="not_json"), 0
    usage = usage_of(found) if isinstance(found, dict) else None
    return usage, None, 0 if usage is not None else count_texts(
        bytes(fields.get("candidates", b"[]")), TEXTS)


def gather(stream: bytes) -> bytes:
    """The answer that a complete stream tells: the last event, with the choices and their parts of all."""
    parts: dict[int, list[Any]] = {}
    choices: dict[int, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    for event in events_of(stream):
        if "error" in event:
            return _encode(event)
        last = last | event
        for index, candidate in _candidates(event):
            content = candidate.get("content") or {}
            parts.setdefault(index, []).extend(content.get("parts") or ())
            choices[index] = choices.get(index, {}) | candidate
    if choices:
        last["candidates"] = [choices[index] | {"content": {"role": "model", "parts": parts[index]}}
                              for index in sorted(choices)]
    return _encode(last)


def failure_in(answer: Any) -> Failure:
    """`{"error": {code, message, status, details}}`, also as the one element of a list."""
    if isinstance(answer, list) and answer:
        answer = answer[0]
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return Failure(str(error or "The upstream's answer has no candidates.")[:2000], code="no_candidates")
    details = [detail for detail in error.get("details") or () if isinstance(detail, dict)]
    reason = next((str(detail["reason"]) for detail in details if detail.get("reason")), "")
    code = error.get("code")
    return Failure(str(error.get("message") or "")[:2000], code=reason, type=str(error.get("status") or ""),
                   status=code if type(code) is int and 400 <= code <= 599 else 0,
                   rest_s=next((_seconds(detail["retryDelay"]) for detail in details if "retryDelay" in detail), None))


def _seconds(delay: Any) -> int | None:
    """Whole seconds of a RetryInfo's "17s" or "0.5s": this wire's errors come without a Retry-After header."""
    text = delay.removesuffix("s") if isinstance(delay, str) else ""
    return min(int(float(text)) + 1, 86_400) if text.replace(".", "", 1).isdigit() else None


def failure(data: bytes) -> Failure:
    """Reads the body of a refused call, whatever it is."""
    try:
        answer = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Failure("", code="not_json")
    return failure_in(answer)


def refuse(refusal: Refusal, rid: str) -> bytes:
    """Google's shape; our code is the reason of an ErrorInfo."""
    error: dict[str, Any] = {"code": refusal.status, "message": refusal.message,
                             "status": STATUS.get(refusal.status, "INVALID_ARGUMENT")}
    if refusal.code:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code,
                             "domain": "smartoken"}]
    return _encode({"error": error})


def refuse_in_stream(refusal: Refusal, rid: str) -> bytes:
    """An event with the error in it; Google's client raises from that."""
    return b"data: %b\r\n\r\n" % refuse(refusal, rid)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


WIRE = Wire(name=NAME, paths=(), prefixes=PREFIXES, peek=peek, peek_at=peek_at, body=body, reader=reader,
            whole=whole, refuse=refuse, refuse_in_stream=refuse_in_stream, failure=failure, add_cost=add_cost,
            gather=gather, cap=cap, key_in_query="key", openapi=OPENAPI)
