"""Anthropic's wire and the provider itself. DeepSeek, Moonshot and Zhipu speak it too: see their own files."""

from smartoken_plugins.wire_anthropic import messages

from smartoken.plugin import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Provider, header, hookimpl

ERRORS = {"invalid_request_error": CALLER, "authentication_error": CREDENTIAL, "billing_error": BROKE,
          "permission_error": CREDENTIAL, "not_found_error": MISSING, "request_too_large": CALLER,
          "rate_limit_error": COOL, "api_error": RETRY, "timeout_error": RETRY, "overloaded_error": COOL}


@hookimpl
def smartoken_wires():
    return [messages.WIRE]


@hookimpl
def smartoken_providers():
    return [Provider("anthropic", title="Anthropic", base_url="https://api.anthropic.com/v1",
                     docs="https://platform.claude.com/docs", auth=header("x-api-key"),
                     speaks={"anthropic.messages": "/messages"}, errors=ERRORS)]
