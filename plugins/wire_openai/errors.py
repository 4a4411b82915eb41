"""Errors of the OpenAI wires: ours in their shape, and theirs in all the shapes that were seen."""

import time
from typing import Any

import msgspec

from smartoken.plugin import FAILED, Failure, Refusal, Said

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_LONGEST_REST_S = 31 * 86_400
_LONGEST = 2000  # characters of an upstream's message that are passed on


def refuse(refusal: Refusal, rid: str) -> bytes:
    """`{"error": {...}}`, the shape every OpenAI SDK raises its typed exceptions from."""
    return _encode({"error": {"message": refusal.message, "type": refusal.type, "code": refusal.code,
                              "param": refusal.param}})


def refuse_in_stream(refusal: Refusal, rid: str) -> bytes:
    """The last event of a stream that failed; SDKs raise APIError from a top-level `error`."""
    return b"data: " + refuse(refusal, rid) + b"\n\n"


def failure_in(answer: Any) -> Failure | None:
    """The Failure that a decoded answer or event stands for, None for a good one.

    Seen: `{"error": {...}}` (OpenAI and most), `{"error": "text"}`, `{"detail": "text"}` (FastAPI), flat
    `{"object": "error"}` (older vLLM), `{"code": ..., "message": ...}` (DashScope native), `base_resp` (MiniMax), and
    any of these as the one element of a list (Gemini).
    """
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        return Failure("The upstream's answer is not a JSON object.", code="not_json")
    error = answer.get("error")
    if isinstance(error, dict):
        return _failure(error)
    if error:
        return Failure(str(error)[:_LONGEST])
    base = answer.get("base_resp")
    if isinstance(base, dict) and base.get("status_code") not in (0, None):
        return Failure(str(base.get("status_msg", ""))[:_LONGEST], code=str(base["status_code"]))
    if "choices" in answer or "data" in answer or "output" in answer:
        return None
    if answer.get("object") == "error" or ("message" in answer and "code" in answer):
        return _failure(answer)
    if "detail" in answer:
        detail = answer["detail"]
        return Failure((detail if isinstance(detail, str) else _encode(detail).decode())[:_LONGEST])
    return None


def failure(body: bytes) -> Failure:
    """Reads the body of a refused call, whatever it is; HTML and the like give an empty message."""
    try:
        found = failure_in(_decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Failure("", code="not_json")
    return found or Failure("")


def _failure(error: dict[str, Any]) -> Failure:
    code = error.get("code")
    status = code if type(code) is int and 400 <= code <= 599 else 0
    return Failure(message=str(error.get("message") or "")[:_LONGEST],
                   code=_reason(error) or ("" if code is None else str(code)),
                   type=str(error.get("type") or error.get("status") or ""), status=status, rest_s=_rest_s(error))


def _reason(error: dict[str, Any]) -> str:
    """What Google calls the error: its code is the HTTP status, which says "bad request" of a bad key."""
    details = error.get("details")
    return next((str(detail["reason"]) for detail in (details if isinstance(details, list) else ())
                 if isinstance(detail, dict) and detail.get("reason")), "")


def _rest_s(error: dict[str, Any]) -> int | None:
    """Seconds until a limit is reset, where the error says so (ChatGPT accounts; days at most)."""
    at, wait = error.get("resets_at"), error.get("resets_in_seconds")
    if type(at) is int and 0 < at - time.time() < _LONGEST_REST_S:
        return int(at - time.time()) + 1
    return wait if type(wait) is int and 0 <= wait < _LONGEST_REST_S else None


# our states of a job, in the four words that OpenAI's SDK knows
_STATUS = {"new": "queued", "sending": "queued", "running": "in_progress", "made": "in_progress",
           "stored": "in_progress", "done": "completed"}


def job_status(job: Any) -> str:
    """queued, in_progress, completed or failed."""
    return _STATUS.get(job.state, "failed")


def job_error(job: Any) -> dict[str, str] | None:
    """`{code, message}` of a job that failed."""
    if job_status(job) != "failed":
        return None
    fault = job.fault
    return {"code": fault.code if fault else job.state, "message": fault.message if fault else f"The job is {job.state}."}


def failed(failure: Failure) -> Said:
    """What long work amounts to when its answer is an error."""
    return Said(FAILED, failure=failure)
