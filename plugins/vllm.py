"""vLLM, SGLang and other servers of one's own that speak OpenAI's dialect: the channel names the base URL.

No credential is needed unless the server was started with one; usage in a stream comes only when asked for.
"""

from smartoken.plugin import Provider, hookimpl


@hookimpl
def smartoken_providers():
    return [Provider("vllm", title="vLLM / SGLang / own server", docs="https://docs.vllm.ai",
                     speaks={"openai.chat": "/chat/completions", "openai.responses": "/responses",
                             "openai.embeddings": "/embeddings", "openai.speech": "/audio/speech",
                             "openai.transcriptions": "/audio/transcriptions"}, needs_credential=False)]
