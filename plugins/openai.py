"""OpenAI itself, and whoever copies it to the letter."""

from smartoken_plugins.wire_openai.voices import VOICES

from smartoken.plugin import BROKE, CALLER, COOL, ELSEWHERE, MISSING, Provider, hookimpl

# insufficient_quota and credit_balance_exhausted come as 429, yet no waiting helps: the account can't pay.
ERRORS = {
    "insufficient_quota": BROKE,
    "credit_balance_exhausted": BROKE,
    "rate_limit_exceeded": COOL,
    "server_is_overloaded": COOL,
    "slow_down": COOL,
    "model_not_found": MISSING,
    "invalid_encrypted_content": ELSEWHERE,
    "context_length_exceeded": CALLER,
    "content_policy_violation": CALLER,
    "moderation_blocked": CALLER,
    "content_filter": CALLER,
}


@hookimpl
def smartoken_providers():
    return [Provider("openai", title="OpenAI", base_url="https://api.openai.com/v1",
                     docs="https://platform.openai.com/docs/api-reference",
                     speaks={"openai.chat": "/chat/completions", "openai.responses": "/responses",
                             "openai.embeddings": "/embeddings", "openai.images": "/images/generations",
                             "openai.speech": "/audio/speech", "openai.transcriptions": "/audio/transcriptions"},
                     errors=ERRORS, voices=VOICES, quirks={"output_limit": "max_completion_tokens"})]
