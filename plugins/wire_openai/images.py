"""The wire `openai.images`: POST /v1/images/generations and /v1/images/edits, and OpenAI's own way to make pictures.

Every picture is kept in our media store; the answer has its URL there, or the picture itself where the client asks for
`b64_json`. Of the body `model`, `n`, `size` and `response_format` are ours; all else goes to a provider of this
dialect as it came, except a `file_id`: what is uploaded at a provider is the operator's, not the client's. Makers of other
dialects get the pictures to work from by `pictures_of`.

Settings of a channel that the maker reads:
    always_inline: true for upstreams that refuse `response_format` (gpt-image-* are known to)
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from smartoken_plugins.wire_openai import body as read
from smartoken_plugins.wire_openai import errors, multipart
from smartoken_plugins.wire_openai.openapi_works import IMAGES

from smartoken.plugin import MADE, Ask, JobDoor, JobWire, Maker, Outgoing, Part, Result, Said

NAME = "openai.images"
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
FILES = ("image", "image[]", "mask")
NUMBERS = frozenset({"n", "output_compression", "partial_images", "max_cost_micro_usd"})
FLAGS = frozenset({"stream"})


class Picture(msgspec.Struct):
    """An element of `data`; Ark puts an error in its place."""

    url: str = ""
    b64_json: msgspec.Raw = msgspec.Raw(b"")
    revised_prompt: str = ""
    error: dict[str, Any] | None = None


class Pictures(msgspec.Struct):
    """A good answer."""

    data: list[Picture]
    usage: dict[str, Any] | None = None


_answer = msgspec.json.Decoder(Pictures)


# -- for clients

def peek(data: bytes, content_type: str) -> Ask:
    """A JSON body."""
    fields = read.fields_of(data)
    read.text(fields, "prompt")
    return ask_of(fields)


def peek_edit(data: bytes, content_type: str) -> Ask:
    """A multipart body with the pictures to change, or a JSON body that names them."""
    if not content_type.startswith("multipart/"):
        ask = peek(data, content_type)
        if "images" not in ask.fields and "image" not in ask.fields:
            raise read.bad("'images' is required.", param="images")
        return ask
    fields, files = form_of(data, content_type)
    if not any(part.name in ("image", "image[]") for part in files):
        raise read.bad("'image' is required.", param="image")
    read.text(fields, "prompt")
    return ask_of(fields, files)


def form_of(data: bytes, content_type: str) -> tuple[dict[str, msgspec.Raw], tuple[Part, ...]]:
    """(plain fields as JSON values, files) of a multipart body."""
    fields: dict[str, msgspec.Raw] = {}
    files = []
    for part in multipart.parts_of(data, content_type):
        if part.filename or part.name in FILES:
            files.append(part)
            continue
        try:
            text = part.data.decode()
        except UnicodeDecodeError:
            raise read.bad(f"'{part.name}' is not UTF-8.", param=part.name) from None
        known = (part.name in NUMBERS and text.isdigit()) or (part.name in FLAGS and text in ("true", "false"))
        fields[part.name] = msgspec.Raw(text.encode()) if known else read.raw(text)
    return fields, tuple(files)


def ask_of(fields: dict[str, msgspec.Raw], files: tuple[Part, ...] = ()) -> Ask:
    """The Ask of a body's fields; Refusal 400."""
    if read.flag(fields, "stream"):
        raise read.bad("'stream' is not served for images; leave it out.", param="stream")
    for name in ("images", "image", "mask"):
        _no_file_id(name, read.decoded(fields, name))
    form = read.word(fields, "response_format", "url")
    if form not in ("url", "b64_json"):
        raise read.bad("'response_format' must be 'url' or 'b64_json'.", param="response_format")
    return Ask(wire=NAME, slug=read.text(fields, "model"), stream=False, body=b"", fields=fields,
               images=read.count(fields, "n") or 1, size=_word(fields, "size"), quality=_word(fields, "quality"),
               inline=form == "b64_json", files=files)


def pictures_of(given: Mapping[str, Any], files: Sequence[Part]) -> list[str]:
    """Links and data URIs of the pictures to work from, in order, for a provider that takes such and no mask. `given`:
    the body's decoded fields `image` (one, or a list), `images` (OpenAI's `[{"image_url": …}]`) and `mask`. Refusal 400."""
    if given.get("mask") is not None or any(part.name == "mask" for part in files):
        raise read.bad("This model takes no mask; say in the prompt what is to change.", param="mask")
    image, images = given.get("image"), given.get("images")
    found = [("image", one) for one in (image if isinstance(image, list) else [image]) if one is not None]
    found += [("images", one) for one in (images if isinstance(images, list) else [images]) if one is not None]
    return [_link(name, one) for name, one in found] + [_data_uri(part) for part in files]


def _link(name: str, one: Any) -> str:
    link = one.get("image_url") if isinstance(one, dict) else one
    if not isinstance(link, str) or not link:
        raise read.bad(f"'{name}' must hold pictures as {{\"image_url\": …}}: links or data URIs.", param=name)
    return link


def _data_uri(part: Part) -> str:
    if part.name not in ("image", "image[]"):
        raise read.bad(f"The file '{part.name[:40]}' is not known here; send pictures as 'image' or 'image[]'.",
                       param=part.name[:40])
    return f"data:{part.content_type or 'image/png'};base64,{base64.b64encode(part.data).decode()}"


def _no_file_id(name: str, value: Any) -> None:
    if any(isinstance(one, dict) and "file_id" in one for one in (value if isinstance(value, list) else [value])):
        raise read.bad("A 'file_id' is not served here; send the picture itself, or its 'image_url'.", param=name)


def _word(fields: dict[str, msgspec.Raw], name: str) -> str:
    value = read.word(fields, name)
    if len(value) > 40 or not value.isprintable():
        raise read.bad(f"'{name}' is not valid.", param=name)
    return value


def whole(job: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`{created, data}`, as OpenAI answers."""
    answer: dict[str, Any] = {"created": job.ended_ms // 1000, "data": list(items)}
    usage = dict(job.tokens)
    if job.show_cost:
        usage["cost_micro_usd"] = -(-job.cost_p // 1_000_000)
    return answer | ({"usage": usage} if usage else {})


def show(job: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A job that the client did not wait for."""
    return {"id": job.id, "object": "image.generation", "model": job.model, "created": job.at_ms // 1000,
            "status": errors.job_status(job), "data": list(items), "error": errors.job_error(job)}


# -- for upstreams

def submit(ask: Ask, upstream_name: str, path: str, settings: Mapping[str, Any]) -> Outgoing:
    """The client's fields with the upstream's name of the model; a URL is asked for wherever one can be had."""
    fields = dict(ask.fields)
    fields["model"] = read.raw(upstream_name)
    if ask.size:                       # the model's first one, where the client named none: that is what it pays for
        fields["size"] = read.raw(ask.size)
    inline = settings.get("always_inline", upstream_name.startswith("gpt-image"))
    fields.pop("response_format", None)
    if not inline:
        fields["response_format"] = read.raw("url")
    if not ask.files:
        if "images" in fields or "image" in fields:
            path = _edits(path)
        return Outgoing("POST", path, read.encode(fields))
    plain = [Part(name, "", "", _plain(value)) for name, value in fields.items()]
    data, content_type = multipart.write([*plain, *ask.files])
    return Outgoing("POST", _edits(path), data, content_type)


def _edits(path: str) -> str:
    return path.removesuffix("/generations") + "/edits"


def _plain(value: msgspec.Raw) -> bytes:
    found = msgspec.json.decode(value)
    return found.encode() if isinstance(found, str) else bytes(value)


def said(data: bytes, ask: Ask) -> Said:
    """Pictures by URL or in the answer."""
    failure = errors.failure_in(msgspec.json.decode(data)) if len(data) < 4096 else None
    if failure is not None:
        return errors.failed(failure)
    answer = _answer.decode(data)
    results = tuple(Result(url=one.url, data=_text(one.b64_json), note=one.revised_prompt,
                           failure=str((one.error or {}).get("message", ""))) for one in answer.data)
    return Said(MADE, results=results, tokens=answer.usage)


def _text(raw: msgspec.Raw) -> bytes:
    """Base64 within its quotes: none of its letters is ever escaped, but for the slash."""
    return bytes(raw)[1:-1].replace(b"\\/", b"/") if bytes(raw) not in (b"", b"null") else b""


MAKER = Maker(submit=submit, read=said, failure=errors.failure)
WIRE = JobWire(NAME, "image", (JobDoor(GENERATIONS, peek, whole, show), JobDoor(EDITS, peek_edit, whole, show)), MAKER,
               IMAGES)
