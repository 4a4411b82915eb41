"""Who asks, for Tornado handlers: key and account of the request, or the refusal that the hot door would give."""

from typing import Any

from smartoken.domain.catalog import Account, Key
from smartoken.engine.keytext import credentials_of


async def caller_of(gateway: Any, request: Any) -> tuple[Key, Account]:
    """Key and account; Refusal 401, 403 or 503. `request` is a tornado HTTPServerRequest."""
    headers = {name.lower().encode(): value.encode("latin-1") for name, value in request.headers.items()}
    token = credentials_of(headers)
    return gateway.keys.find(token) or await gateway.keys.fetch(token)
