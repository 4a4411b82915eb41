"""The Solquir surface's own dialect under /api/v1: chat with cost and thinking, and the mirrors of what /v1 has."""

from smartoken_plugins.wire_solquir import chat, mirrors

from smartoken.plugin import hookimpl


@hookimpl
def smartoken_wires():
    return [chat.WIRE, *mirrors.WIRES]
