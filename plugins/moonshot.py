"""Moonshot (Kimi). api.moonshot.cn and api.moonshot.ai are two houses with keys of their own: the channel says which.

Streaming usage sits in the finish chunk's choice even unasked; asked for, the standard chunk comes too. The reader
takes the last one it saw, so nothing is counted twice. The list of error types is UNCONFIRMED.
"""

from smartoken.plugin import BROKE, CALLER, COOL, Provider, hookimpl


@hookimpl
def smartoken_providers():
    errors = {"engine_overloaded_error": COOL, "rate_limit_reached_error": COOL,
              "exceeded_current_quota_error": BROKE, "content_filter": CALLER}
    return [Provider("moonshot", title="Moonshot AI", base_url="https://api.moonshot.cn/v1",
                     docs="https://platform.moonshot.cn/docs", speaks={"openai.chat": "/chat/completions"},
                     errors=errors, quirks={"stream_usage": "always"}),
            Provider("moonshot-messages", title="Moonshot AI (Anthropic's wire)", docs="https://platform.moonshot.cn/docs",
                     base_url="https://api.moonshot.cn/anthropic/v1", speaks={"anthropic.messages": "/messages"},
                     errors=errors)]
