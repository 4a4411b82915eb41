"""How the pretend upstream is told to misbehave: a play is a short text such as `429?retry_after=2`.

Plays are joined with `+` and later ones win: `moonshot+separate+reset?after=5`. A play's own fields follow its name as
`?field=value&field=value`; every field of Play may be set on every play. Where a play may be given, weakest first:

1. a segment of the path before the wire's own, so that it lies in a channel's base URL: `/moonshot/v1/chat/completions`
   (percent-encoded; `Upstream.at()` writes it);
2. the upstream model's name, after `fault:`: `fault:429?retry_after=2`;
3. the body's field `x_fault` (a gateway passes unknown fields on) or the header `x-fault`;
4. a script set through `POST /_script`, for the next n calls that match it.

An unknown name or field is answered with status 501 and the reason, so a misspelt play can't pass for a good answer.
"""

import functools
from dataclasses import dataclass, fields, replace
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Play:
    """What one call is answered with. Times in milliseconds; -1 means "not set" wherever a number could be 0."""

    # pace
    delay_ms: int = 0            # before the head
    gap_ms: int = -1             # between events: -1 all in one write, 0 a write each, else so many milliseconds
    # the end that is none
    cut: str = ""                # reset (RST), close (FIN), stall (silence)
    after: int = -1              # events sent before the cut; -1 cuts before the head, 0 right after it
    torn: bool = False           # half of the next event is sent before the cut
    # refusals: status above 399
    status: int = 200
    type: str = ""               # default: the row of REFUSALS
    code: str = ""
    message: str = ""            # `{key}` in it is the credential that the call showed
    retry_after: str = ""        # seconds as they are sent; `date` for an HTTP date two seconds ahead
    error: str = "openai"        # the body's shape: openai, zhipu (code only), openrouter (numeric code), flat, google (a list)
    # answers that are none: see spoil.py
    shape: str = ""
    mb: int = 2                  # size in MiB where a shape has one
    framing: str = ""            # chunked, length or close; default by the answer
    length: int = 0              # added to the true Content-Length
    # usage
    usage: str = ""              # missing, zero, negative, high, huge, float, bool, twice
    usage_at: str = "asked"      # asked (own chunk, if asked for), always (own chunk), finish, every (chunk)
    input: int = -1              # prompt tokens in all; default: a quarter of the bytes of the messages
    cached: int = -1             # of them from the cache; default: half when the body has prompt_cache_key, else 0
    # content
    tokens: int = -1             # output tokens; default: what the body allows, else 16
    reasoning: int = -1          # of them reasoning; default: 3 when the body enables thinking, else 0
    tools: bool = False          # answer with a tool call although the body leaves it open
    wants: str = ""              # names of tools that it wants in one turn, with commas; those it was not offered count not
    rounds: int = 1              # so often, told by the tool results it has got
    # manners
    done: bool = True            # the closing `data: [DONE]`
    comments: str = ""           # a comment line before the first event and between events
    blanks: int = 0              # blank lines sent before a whole answer (DeepSeek's keep-alive)
    hits: bool = False           # DeepSeek's prompt_cache_hit_tokens beside the details
    # long work: see works.py
    task: str = ""               # what a poll says of the task: FAILED, UNKNOWN, CANCELED
    pad_mb: int = 0              # MiB that a file is made larger by
    only: int = -1               # pictures delivered of those asked for

    def of(self, count: int) -> int:
        """How many of `count` pictures are delivered."""
        return count if self.only < 0 else min(self.only, count)


PLAYS: dict[str, dict] = {
    "ok": {},
    # pace
    "delay": {"delay_ms": 300},
    "slow": {"gap_ms": 20},
    "separate": {"gap_ms": 0},
    # the end that is none
    "hang": {"cut": "stall"},
    "stall": {"cut": "stall", "after": 3, "gap_ms": 0},
    "reset_before": {"cut": "reset"},
    "reset_first": {"cut": "reset", "after": 0},
    "reset": {"cut": "reset", "after": 3, "gap_ms": 0},
    "close_before": {"cut": "close"},
    "close": {"cut": "close", "after": 3, "gap_ms": 0},
    "torn": {"cut": "close", "after": 3, "gap_ms": 0, "torn": True},
    # answers that are none
    "error_200": {"shape": "error_body"},
    "error_first": {"shape": "error_first"},
    "error_mid": {"shape": "error_mid", "after": 3},
    "html": {"shape": "html"},
    "empty": {"shape": "empty"},
    "truncated": {"shape": "truncated"},
    "short_length": {"framing": "length", "length": -10},
    "long_length": {"framing": "length", "length": 10},
    "bad_utf8": {"shape": "bad_utf8"},
    "bad_sse": {"shape": "bad_sse"},
    "long_line": {"shape": "long_line"},
    "gzip_bomb": {"shape": "gzip_bomb", "mb": 100},
    "endless": {"shape": "endless", "gap_ms": 0},
    "no_done": {"done": False},
    "close_delimited": {"framing": "close"},
    # usage
    "no_usage": {"usage": "missing"},
    "usage_zero": {"usage": "zero"},
    "usage_negative": {"usage": "negative"},
    "usage_high": {"usage": "high"},
    "usage_huge": {"usage": "huge"},
    "usage_float": {"usage": "float"},
    "usage_bool": {"usage": "bool"},
    "usage_twice": {"usage": "twice", "usage_at": "always"},
    # vendors
    "moonshot": {"usage_at": "finish"},
    "zhipu": {"usage_at": "finish_top", "error": "zhipu"},
    "always": {"usage_at": "always"},
    "every": {"usage_at": "every"},
    "deepseek": {"usage_at": "always", "comments": ": keep-alive", "blanks": 3, "hits": True},
    "openrouter": {"usage_at": "always", "comments": ": OPENROUTER PROCESSING", "error": "openrouter"},
    "zhipu_concurrency": {"status": 429, "code": "1302", "error": "zhipu", "message": "Too many calls at once."},
    "zhipu_arrears": {"status": 429, "code": "1113", "error": "zhipu", "message": "Your account is in arrears."},
    "zhipu_no_model": {"status": 400, "code": "1211", "error": "zhipu", "message": "The model does not exist."},
    # long work
    "task_failed": {"task": "FAILED"},
    "task_moderated": {"task": "FAILED", "code": "DataInspectionFailed", "message": "Inappropriate content."},
    "task_unknown": {"task": "UNKNOWN"},
    "padded": {"pad_mb": 8, "gap_ms": 0},
    "fewer": {"only": 1},
    "quota": {"status": 429, "type": "insufficient_quota", "code": "insufficient_quota",
              "message": "You exceeded your current quota."},
}

# status: (type, code, message) of the refusal that `400`, `401`, … play
REFUSALS: dict[int, tuple[str, str, str]] = {
    400: ("invalid_request_error", "invalid_value", "A value is out of range."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_balance", "insufficient_balance", "Insufficient balance."),
    403: ("permission_error", "unsupported_country_region_territory", "Country not supported."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    408: ("timeout", "timeout", "Timed out."),
    413: ("invalid_request_error", "too_large", "The request is too large."),
    422: ("invalid_request_error", "unprocessable", "Unprocessable."),
    429: ("rate_limit_error", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", "internal_error", "The server had an error."),
    501: ("play_error", "unknown_play", "No such play."),
    502: ("server_error", "bad_gateway", "Bad gateway."),
    503: ("server_error", "server_is_overloaded", "Overloaded."),
    504: ("server_error", "timeout", "Gateway time-out."),
    529: ("overloaded_error", "overloaded", "Overloaded."),
}

PLAIN = Play()
_KINDS = {field.name: field.type for field in fields(Play)}


@functools.lru_cache(maxsize=4096)
def parse(spec: str) -> Play:
    """'moonshot+429?retry_after=2' -> Play. ValueError names what is unknown."""
    play = PLAIN
    for part in spec.split("+"):
        if not part:
            continue
        name, _, settings = part.partition("?")
        if name in PLAYS:
            play = replace(play, **PLAYS[name])
        elif name.isdigit() and int(name) in REFUSALS:
            play = replace(play, status=int(name))
        else:
            raise ValueError(f"no play {name!r}")
        play = replace(play, **dict(_field(pair) for pair in settings.split("&") if pair))
    return play


def is_play(name: str) -> bool:
    """True when the text begins with the name of a play."""
    name = name.partition("?")[0]
    return name in PLAYS or (name.isdigit() and int(name) in REFUSALS)


def _field(pair: str) -> tuple[str, object]:
    name, _, text = pair.partition("=")
    text = unquote(text)
    kind = _KINDS.get(name)
    if kind is None:
        raise ValueError(f"a play has no field {name!r}")
    if kind is int:
        return name, int(text)
    if kind is bool:
        return name, text in ("1", "true")
    return name, text
