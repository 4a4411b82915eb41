"""OpenRouter. Its error code is the HTTP status as a number, which counts even inside a 200 or an event.

It sends comments while it waits, which the reader keeps until the first event; 402 means that our credits are gone.
"""

from smartoken.plugin import BROKE, COOL, RETRY, Provider, hookimpl


@hookimpl
def smartoken_providers():
    return [Provider("openrouter", title="OpenRouter", base_url="https://openrouter.ai/api/v1",
                     docs="https://openrouter.ai/docs", speaks={"openai.chat": "/chat/completions"},
                     errors={"402": BROKE, "408": RETRY, "429": COOL, "502": RETRY, "503": RETRY},
                     headers=(("X-Title", "Smartoken"),))]
