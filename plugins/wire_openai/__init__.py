"""The wires that OpenAI's SDKs speak. A wire is a file here and a line in smartoken_wires."""

from smartoken_plugins.wire_openai import (
    chat,
    embeddings,
    images,
    responses,
    speech,
    transcriptions,
    videos,
)

from smartoken.plugin import hookimpl


@hookimpl
def smartoken_wires():
    return [chat.WIRE, speech.WIRE, transcriptions.WIRE, responses.WIRE, embeddings.WIRE, images.WIRE, videos.WIRE]
