"""Google's own wire for Gemini, and the Gemini Developer API as a provider. A key goes in a header of its own there, and
as a bearer token where it speaks OpenAI's wires."""

from smartoken_plugins.wire_gemini import generate

from smartoken.plugin import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Provider, bearer, header, hookimpl

# A bad key is a 400 here, told apart by the reason in its details, which the wire puts into the failure's code.
ERRORS = {"API_KEY_INVALID": CREDENTIAL, "INVALID_ARGUMENT": CALLER, "FAILED_PRECONDITION": BROKE,
          "UNAUTHENTICATED": CREDENTIAL, "PERMISSION_DENIED": CREDENTIAL, "NOT_FOUND": MISSING,
          "RESOURCE_EXHAUSTED": COOL, "CANCELLED": RETRY, "INTERNAL": RETRY, "UNAVAILABLE": COOL,
          "DEADLINE_EXCEEDED": RETRY}


@hookimpl
def smartoken_wires():
    return [generate.WIRE]


@hookimpl
def smartoken_providers():
    openai = {"openai.chat": "/openai/chat/completions", "openai.embeddings": "/openai/embeddings"}
    return [Provider("gemini", title="Google Gemini", base_url="https://generativelanguage.googleapis.com/v1beta",
                     docs="https://ai.google.dev/api", auth=header("x-goog-api-key"),
                     wire_auth=dict.fromkeys(openai, bearer),
                     speaks={"gemini.generate": "/models/{model}", **openai}, errors=ERRORS)]
