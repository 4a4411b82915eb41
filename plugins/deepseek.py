"""DeepSeek. While a request queues it sends blank lines (whole answers) or comments (streams): both are harmless to us.

402 means that our balance there is empty. `/v1` below the base URL is accepted too.
"""

from smartoken.plugin import BROKE, CALLER, Provider, hookimpl


@hookimpl
def smartoken_providers():
    return [Provider("deepseek", title="DeepSeek", base_url="https://api.deepseek.com",
                     docs="https://api-docs.deepseek.com",
                     speaks={"openai.chat": "/chat/completions", "anthropic.messages": "/anthropic/v1/messages"},
                     errors={"insufficient_balance": BROKE, "invalid_request_error": CALLER})]
