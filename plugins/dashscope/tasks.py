"""What DashScope's pictures and films have in common: the native API's root, tasks, errors (its docs: async-task-api)."""

from typing import Any

import msgspec

from smartoken.plugin import CANCELED, FAILED, GONE, RUNNING, Ask, Failure, Outgoing, Said

ASYNC = (("X-DashScope-Async", "enable"),)
STATES = {"PENDING": RUNNING, "RUNNING": RUNNING, "SUSPENDED": RUNNING, "FAILED": FAILED, "CANCELED": CANCELED,
          "UNKNOWN": GONE}
COMPATIBLE, NATIVE = "/compatible-mode/v1", "/api/v1"


def root(base_url: str) -> str:
    """The native API lies beside the compatible one, on the same host."""
    return base_url.removesuffix(COMPATIBLE) + NATIVE if base_url.endswith(COMPATIBLE) else base_url


def poll(upstream_id: str) -> Outgoing:
    return Outgoing("GET", f"/tasks/{upstream_id}")


def cancel(upstream_id: str) -> Outgoing:
    """Only a PENDING task can be stopped; any other is refused with a 400."""
    return Outgoing("POST", f"/tasks/{upstream_id}/cancel")


def failure(body: bytes) -> Failure:
    """`{"code", "message", "request_id"}`."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Failure("")
    return failure_in(found) if isinstance(found, dict) else Failure("")


def failure_in(found: dict[str, Any]) -> Failure:
    inner = found.get("error")
    found = inner if isinstance(inner, dict) else found
    return Failure(str(found.get("message") or "")[:2000], code=str(found.get("code") or ""))


def unfinished(answer: dict[str, Any]) -> Said | None:
    """What an answer says while, or because, there is no result; None when there is one."""
    output = answer.get("output")
    if not isinstance(output, dict):
        return Said(FAILED, failure=failure_in(answer))
    status = output.get("task_status")
    if status in (None, "SUCCEEDED"):
        return None
    state = STATES.get(status, RUNNING)        # a status of a later day is not an end
    wrong = failure_in(output) if state == FAILED else None
    return Said(state, upstream_id=str(output.get("task_id") or ""), failure=wrong, waiting=status == "PENDING")


def option(ask: Ask, name: str) -> Any:
    """A field of the client's body, given at the top level or in `parameters`; None when absent."""
    if name in ask.fields:
        return msgspec.json.decode(ask.fields[name])
    inner = msgspec.json.decode(ask.fields["parameters"]) if "parameters" in ask.fields else None
    return inner.get(name) if isinstance(inner, dict) else None


def options(ask: Ask, *names: str) -> dict[str, Any]:
    """Those of `names` that the client gave."""
    return {name: value for name in names if (value := option(ask, name)) is not None}
