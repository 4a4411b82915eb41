"""What /api/v1 has just as /v1 has it: the same wires on other paths, with this surface's trace header."""

from dataclasses import replace

from smartoken_plugins.wire_openai import embeddings, speech, transcriptions
from smartoken_plugins.wire_solquir.chat import TRACE

from smartoken.plugin import Wire


def mirror(wire: Wire) -> Wire:
    """`/v1/x` as `/api/v1/x`."""
    return replace(wire, name=f"solquir.{wire.name.partition('.')[2]}", rid_header=TRACE,
                   paths=tuple(f"/api{path}" for path in wire.paths),
                   openapi={f"/api{path}": operations for path, operations in wire.openapi.items()})


WIRES = (mirror(embeddings.WIRE), mirror(speech.WIRE), mirror(transcriptions.WIRE))
