"""The door: the only names that a plugin may import. What stands here stays; what does not may change any day.

The manual for plugin authors is plugins/README.md.
"""



from pydantic import ConfigDict

from smartoken.domain.trace import new_rid
from smartoken.domain.usage import COUNTED, ESTIMATED, NONE, REPORTED, Usage, UsageRecord
from smartoken.errors import ConfigError, Refusal, StoreAway, refuse
from smartoken.plugin.spec import hookimpl
from smartoken.plugin.types import (
    BROKE,
    CALLER,
    COOL,
    CREDENTIAL,
    ELSEWHERE,
    MEANINGS,
    MISSING,
    RETRY,
    Ask,
    Bridge,
    Failure,
    Headers,
    Provider,
    StreamReader,
    Tool,
    Wire,
    bearer,
    header,
)
from smartoken.strict import Strict, Whole


class PluginConf(Strict):
    """Base of a plugin's settings: `class Conf(PluginConf)` in the plugin's file is the table [plugins.<name>]."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a setting may be a secret


__all__ = [
    "BROKE", "CALLER", "COOL", "COUNTED", "CREDENTIAL", "ELSEWHERE", "ESTIMATED", "MEANINGS", "MISSING", "NONE",
    "REPORTED", "RETRY",
    "Ask", "Bridge", "ConfigError", "Failure", "Headers", "PluginConf", "Provider", "Refusal", "StoreAway",
    "StreamReader", "Tool", "Usage", "UsageRecord", "Whole", "Wire", "bearer", "header", "hookimpl", "new_rid",
    "refuse",
]
