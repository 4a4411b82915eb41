"""multipart/form-data, read whole and written again: for bodies that carry pictures."""

import email.message
import re
import secrets

from smartoken_plugins.wire_openai.body import bad

from smartoken.plugin import Part

MOST_PARTS = 64
_HEADER = re.compile(rb"([A-Za-z-]+):[ \t]*(.*)")


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The parts in order; a plain field is a Part without a filename. Refusal 400."""
    boundary = _parameter(content_type, "boundary")
    if not boundary or len(boundary) > 70:
        raise bad("A multipart body needs a boundary in its Content-Type.")
    mark = b"--" + boundary.encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise bad("The multipart body is not complete.")
    if len(pieces) > MOST_PARTS + 2:
        raise bad(f"The multipart body has more than {MOST_PARTS} parts.")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, blank, data = piece.lstrip(b" \t").partition(b"\r\n\r\n")
    if not blank:
        raise bad("A part of the multipart body has no head.")
    headers = {name.lower(): value for name, value in _HEADER.findall(head)}
    told = headers.get(b"content-disposition", b"").decode("utf-8", "replace")
    name = _parameter(told, "name")
    if not name:
        raise bad("A part of the multipart body has no name.")
    return Part(name, _parameter(told, "filename"), headers.get(b"content-type", b"").decode("latin-1"), data)


def _parameter(value: str, name: str) -> str:
    message = email.message.Message()
    message["Content-Type"] = value.replace("\r", "").replace("\n", "")
    found = message.get_param(name)
    return found if isinstance(found, str) else ""


def write(parts: list[Part], boundary: str = "") -> tuple[bytes, str]:
    """(body, content type) of the parts; with a boundary of its own unless one is given."""
    boundary = boundary or secrets.token_hex(16)
    lines = []
    for part in parts:
        name, filename = (text.replace('"', "%22").replace("\r", " ").replace("\n", " ")
                          for text in (part.name, part.filename))
        told = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        kind = f"Content-Type: {part.content_type}\r\n" if part.filename and part.content_type else ""
        lines += [f"--{boundary}\r\nContent-Disposition: {told}\r\n{kind}\r\n".encode(), part.data, b"\r\n"]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
