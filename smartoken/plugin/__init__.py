"""The door: the only names that a plugin may import. What stands here stays; what does not may change any day.

The manual for plugin authors is plugins/README.md.
"""



from pydantic import ConfigDict

from smartoken.adapters.clock import SystemClock
from smartoken.domain.audio import audio_ms, sniff_audio
from smartoken.domain.catalog import Key
from smartoken.domain.trace import new_rid
from smartoken.domain.usage import (
    COUNTED,
    ESTIMATED,
    NONE,
    REPORTED,
    SUM_FIELDS,
    USAGE_FIELDS,
    Usage,
    UsageRecord,
    UsageSum,
    regroup,
    sum_of,
)
from smartoken.errors import ConfigError, MediaAway, Refusal, StoreAway, refuse
from smartoken.plugin.reach import check_url, guarded_session
from smartoken.plugin.sign_in import DONE, EXPIRED, REFUSED, WAITING, Pending, SignedIn, SignIn, Window
from smartoken.plugin.spec import hookimpl
from smartoken.plugin.types import (
    BROKE,
    CALLER,
    CANCELED,
    COOL,
    CREDENTIAL,
    ELSEWHERE,
    FAILED,
    GONE,
    MADE,
    MEANINGS,
    MISSING,
    RETRY,
    RUNNING,
    Ask,
    Bridge,
    Failure,
    Headers,
    JobDoor,
    JobWire,
    Look,
    Maker,
    Member,
    Outgoing,
    Part,
    Provider,
    Result,
    Said,
    Sample,
    StreamReader,
    Told,
    Tool,
    ToolCall,
    Turns,
    VoiceMaker,
    Wire,
    bearer,
    header,
)
from smartoken.ports import APPENDED, COLLECTIONS, OP_TAKEN, SEQ_TAKEN, Clock, Entry, Limiter, Media, Store, Want
from smartoken.secrets import resolve as resolve_secret
from smartoken.strict import Flag, Strict, Whole


class PluginConf(Strict):
    """Base of a plugin's settings: `class Conf(PluginConf)` in the plugin's file is the table [plugins.<name>]."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a setting may be a secret


__all__ = [
    "APPENDED", "BROKE", "CALLER", "CANCELED", "COLLECTIONS", "COOL", "COUNTED", "CREDENTIAL", "DONE", "ELSEWHERE",
    "ESTIMATED", "EXPIRED", "FAILED", "GONE", "MADE", "MEANINGS", "MISSING", "NONE", "OP_TAKEN", "REFUSED",
    "REPORTED", "RETRY", "RUNNING", "SEQ_TAKEN", "SUM_FIELDS", "USAGE_FIELDS", "WAITING", "Ask", "Bridge", "Clock",
    "ConfigError", "Entry", "Failure", "Flag", "Headers", "JobDoor", "JobWire", "Key", "Limiter", "Look", "Maker", "Media",
    "MediaAway", "Member", "Outgoing", "Part", "Pending", "PluginConf", "Provider", "Refusal", "Result", "Said",
    "Sample", "SignIn", "SignedIn", "Store", "StoreAway", "StreamReader", "SystemClock", "Told", "Tool", "ToolCall",
    "Turns", "Usage", "UsageRecord", "UsageSum", "VoiceMaker", "Want", "Whole", "Window", "Wire",
    "audio_ms", "bearer", "check_url", "guarded_session", "header", "hookimpl", "new_rid", "refuse", "regroup",
    "resolve_secret", "sniff_audio", "sum_of",
]
