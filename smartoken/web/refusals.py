"""Which refusals a call can meet, for its description in /openapi.json: groups that an operation names in `errors`.

Status and type of a kind are those of errors.KINDS. A code stands here with the sentence of one example; what an
upstream itself says about a request (400, 404, 413, 422) keeps its own code and message.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from smartoken.errors import Refusal, refuse

Group = dict[str, dict[str, str]]

# group: {kind of errors.KINDS: {code: an example's message}}
GROUPS: dict[str, Group] = {
    "key": {
        "authentication": {"invalid_api_key": "This API key is not known.", "key_expired": "This key has expired."},
        "permission": {"account_suspended": "This account is suspended."},
        "internal": {"internal_error": "An internal error occurred; the trace id finds it in our log."},
        "upstream": {"store_away": "The store is away; try again shortly.",
                     "not_ready": "This node is going out of service."},
    },
    "model": {
        "invalid_request": {"wire_not_served": "The model 'm' is not served on the wire openai.chat, only on: "
                                               "openai.responses.",
                            "channel_not_serving": "Channel 'c' does not serve the model 'm' here."},
        "permission": {"model_not_allowed": "This key may not use the model 'm'."},
        "not_found": {"model_not_found": "The model 'm' does not exist."},
        "rate_limit": {"requests_per_minute": "The limit of 60 requests a minute is reached; try again in 3 s.",
                       "tokens_per_minute": "The limit of 100000 tokens a minute is reached; try again in 9 s."},
        "upstream": {"no_channel": "No channel serves the model 'm' at the moment.",
                     "upstream_failed": "Every channel failed for the model 'm'."},
    },
    "money": {
        "insufficient_balance": {"insufficient_balance": "The balance does not cover this call."},
        "permission": {"voucher_not_applicable": "Only vouchers are left, and none covers this model."},
        "too_large": {"body_too_large": "The body is larger than this gateway takes."},
        "idempotency": {"idempotency_key_reused": "This Idempotency-Key was used with another request."},
    },
    "call": {
        "invalid_request": {"invalid_json": "The body is not a JSON object.",
                            "invalid_idempotency_key": "An Idempotency-Key has 1 to 255 plain characters.",
                            "request_too_large": "This request may use more tokens than the limit of a minute.",
                            "max_cost_too_low": "The call may cost more than 'max_cost_micro_usd'."},
        "insufficient_balance": {"in_flight_budget_exhausted": "What is left is held by calls that still run."},
        "idempotency": {"idempotent_call_running": "The call with this Idempotency-Key is still running.",
                        "call_died": "The call with this Idempotency-Key was cut short when its process died.",
                        "answer_not_kept": "The call is done, but its answer was too large to keep."},
        "upstream": {"channels_full": "Every channel of the model 'm' is at its limit."},
    },
    "voice": {
        "not_found": {"voice_not_found": "There is no voice 'voice_1'."},
        "invalid_request": {"voice_model_mismatch": "The voice 'voice_1' was made for the model 'm'."},
    },
    "follows": {"not_found": {"previous_response_not_found": "There is no response 'resp_1' to go on from."}},
    "stored": {"not_found": {"response_not_found": "There is no response 'resp_1'."},
               "upstream": {"upstream_failed": "The upstream did not answer."}},
    "made": {
        "invalid_request": {"max_cost_too_low": "'max_cost_micro_usd' is 10000, but this costs 20000 µUSD.",
                            "value_not_offered": "'size' must be one of 1024x1024 for the model 'm', not '1x1'.",
                            "content_policy_violation": "The upstream's content policy refused this."},
        "upstream": {"channels_full": "Every channel for the model 'm' is at its limit.",
                     "upstream_unclear": "The call to the upstream ended unclear; it is not made again.",
                     "never_begun": "The process that took this call is gone; call again.",
                     "media_away": "The pictures are made and paid for; GET the job when the media store is back.",
                     "result_unavailable": "The upstream's results could not be kept."},
    },
    "job": {"not_found": {"job_not_found": "There is no job '1' here."}},
    "stop": {"conflict": {"not_cancelable": "The upstream has begun, so this cannot be canceled any more."}},
    "content": {"not_found": {"content_not_ready": "There is nothing yet."}},
    "clone": {
        "invalid_request": {"max_cost_too_low": "'max_cost_micro_usd' is 1000000, but this costs 1500000 µUSD.",
                            "voices_not_served": "No voice can be made for the model 'm'.",
                            "not_multipart": "The body must be multipart/form-data.",
                            "sample_type": "'audio_sample' must be a WAV, MP3 or M4A recording.",
                            "sample_length": "'audio_sample' must last from 5 to 300 seconds; it lasts 2.",
                            "too_many_voices": "An account may have 100 voices; delete one.",
                            "voice_refused": "The provider refused the sample."},
        "upstream": {"channels_full": "Every channel for the model 'm' is at its limit.",
                     "upload_lost": "The process that took this call is gone, and its files with it; call again.",
                     "upstream_unclear": "The call to the upstream ended unclear; nothing is charged for it."},
    },
    "unmade": {"not_found": {"voice_not_found": "There is no voice 'voice_1'."},
               "conflict": {"voice_processing": "The voice 'voice_1' is being made; delete it when it is there."}},
    "quote": {"invalid_request": {"unknown_path": "No quote can be made for the path '/x'.",
                                  "invalid_json": "The body is not a JSON object."}},
    "redeem": {
        "invalid_request": {"invalid_json": "The body must be {\"code\": \"stv-…\"}.",
                            "voucher_expired": "This voucher has expired.",
                            "voucher_used_up": "This voucher was redeemed by others.",
                            "voucher_stopped": "This voucher was stopped."},
        "not_found": {"voucher_not_found": "There is no such voucher."},
        "rate_limit": {"requests_per_minute": "The limit of 10 requests a minute is reached; try again in 3 s."},
    },
    "listed": {"not_found": {"model_not_found": "There is no model 'm'."}},
    "category": {"not_found": {"category_not_found": "There is no category 'c'."}},
    "listing": {"not_found": {"listing_not_found": "There is no listing 'l'."}},
}
RELAYED, WORK = ("model", "money", "call"), ("model", "money", "made")
_OF: dict[str, tuple[str, ...]] = {"relayed": RELAYED, "work": WORK}


def responses_of(names: Iterable[str], render: Callable[[Refusal, str], bytes],
                 schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{status: response} of an operation's groups; every code is an example, rendered as the wire would."""
    found: dict[int, dict[str, Any]] = {}
    for group in (GROUPS[part] for name in names for part in _OF.get(name, (name,))):
        for kind, codes in group.items():
            for code, message in codes.items():
                refusal = refusal_as(kind, code, message)
                found.setdefault(refusal.status, {})[code] = {"value": msgspec.json.decode(render(refusal, "01…"))}
    return {str(status): {"description": "Code " + ", ".join(f"`{code}`" for code in examples), "content": {
        "application/json": {"schema": schema, "examples": examples}}} for status, examples in sorted(found.items())}


def refusal_as(kind: str, code: str, message: str) -> Refusal:
    """The refusal of a row above."""
    if kind == "conflict":
        return Refusal(409, "invalid_request_error", message, code=code)
    return refuse(kind, message, code=code)
