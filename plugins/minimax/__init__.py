"""MiniMax: chat as OpenAI has it, speech and cloned voices in a dialect of its own (HTTP 200 even for errors).

A channel serves clients of openai.speech with `bridges = ["speech"]`. For China: base_url "https://api.minimaxi.com/v1".
"""

from smartoken_plugins.minimax import speech

from smartoken.plugin import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Provider, hookimpl

ERRORS = {"1000": RETRY, "1001": RETRY, "1002": COOL, "1004": CREDENTIAL, "1008": BROKE, "1013": RETRY, "1024": RETRY,
          "1026": CALLER, "1027": CALLER, "1039": COOL, "1041": COOL, "2013": CALLER, "2037": CALLER, "2038": CALLER,
          "2039": CALLER, "2042": CALLER, "2049": CREDENTIAL, "2056": BROKE, "model_not_found": MISSING}


@hookimpl
def smartoken_providers():
    return [Provider("minimax", title="MiniMax", base_url="https://api.minimax.io/v1",
                     docs="https://platform.minimax.io/docs",
                     speaks={"openai.chat": "/chat/completions", speech.NAME: "/t2a_v2"}, errors=ERRORS,
                     voices=speech.VOICES)]


@hookimpl
def smartoken_wires():
    return [speech.WIRE]


@hookimpl
def smartoken_bridges():
    return [speech.BRIDGE]
