"""A multipart/form-data body as {field: bytes}, by Tornado's own parser."""

from tornado.httputil import HTTPFile, HTTPInputError, parse_body_arguments

from smartoken.errors import refuse


def fields_of(body: bytes, content_type: str) -> dict[str, bytes]:
    """The last value of each field, a file's as well as a text's. Refusal 400."""
    if not content_type.startswith("multipart/form-data"):
        raise refuse("invalid_request", "The body must be multipart/form-data.", code="not_multipart")
    texts: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, body, texts, files)
    except HTTPInputError as error:
        raise refuse("invalid_request", f"The multipart body cannot be read: {error}.", code="not_multipart") from None
    return {name: values[-1] for name, values in texts.items()} | {name: found[-1]["body"]
                                                                  for name, found in files.items()}
