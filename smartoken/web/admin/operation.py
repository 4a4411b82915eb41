"""One operation of the admin API as a value, and the one handler that carries them out."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel
from tornado.web import HTTPError

from smartoken.domain.account import Declined
from smartoken.engine.changes import Conflict
from smartoken.errors import ConfigError, Refusal, StoreAway, refuse
from smartoken.strict import Strict, decode
from smartoken.web.admin.desk import Desk, conflict, unsound
from smartoken.web.app import ApiHandler
from smartoken.web.signed import HEADERS, SAFE, Signed

log = logging.getLogger("smartoken.admin")


class Nothing(Strict):
    """No body, or an empty object."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`work(desk, **path parameters[, body][, query])` gives what is answered as JSON (None: 204).

    `body` and `query` are pydantic models; a query's values come as text. `needs`: a table of the registry; while no
    plugin puts anything into it, the operation is not there.
    """

    method: str
    path: str
    permission: str
    summary: str
    work: Callable[..., Awaitable[Any]]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    needs: str = ""


def refusal_of(error: Exception) -> Refusal | None:
    """What a failure of an operation is for whoever asked; None for a fault of ours."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ConfigError):
        return unsound(error)
    if isinstance(error, Conflict):
        return conflict(error)
    if isinstance(error, Declined):
        return refuse("invalid_request", f"The books do not take it: {error}.", code=error.code)
    if isinstance(error, StoreAway):
        return refuse("upstream", "The store is away; nobody knows whether it was done. Look before you try again.",
                      code="store_away", retry_after_s=5)
    return None


class AdminHandler(Signed, ApiHandler):
    """JSON in and out; refusals in the contract's shape."""

    by_method: dict[str, Operation]

    def initialize(self, gateway: Any, by_method: dict[str, Operation]) -> None:
        super().initialize(gateway)
        self.by_method = by_method

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for name, value in HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        if self.request.method not in self.by_method:
            raise HTTPError(405)
        if self.request.method not in SAFE and not self.request.headers.get("X-CSRF-Token"):
            raise refuse("permission", "Changes bring the header X-CSRF-Token (see GET /admin/api/me).", code="csrf")
        self.permission = self.by_method[self.request.method].permission
        await super().prepare()

    async def _carry_out(self, **path: str) -> None:
        operation = self.by_method[self.request.method]
        given: dict[str, Any] = dict(path)
        try:
            if operation.body is not None:
                given["body"] = decode(operation.body, self._json(), "the body")
            if operation.query is not None:
                texts = {name: values[-1].decode() for name, values in self.request.query_arguments.items()}
                given["query"] = decode(operation.query, texts, "the query")
            value = await operation.work(Desk(self.gateway, self.who, self.ip), **given)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            raise refusal from error
        if value is None:
            self.set_status(204)
            await self.finish()
        elif isinstance(value, File):
            await value.send(self)
        else:
            self.send(value, operation.status)

    get = post = put = patch = delete = _carry_out

    def methods(self) -> list[str]:
        return sorted(self.by_method)

    def _json(self) -> dict[str, Any]:
        if not self.request.body:
            return {}
        try:
            value = msgspec.json.decode(self.request.body)
        except msgspec.DecodeError as error:
            raise refuse("invalid_request", f"The body is not JSON: {error}.", code="invalid_json") from None
        if not isinstance(value, dict):
            raise refuse("invalid_request", "The body is a JSON object.", code="invalid_json")
        return value


@dataclass(frozen=True, slots=True)
class File:
    """An answer that is a file to keep: `pieces` is an async iterator of text."""

    name: str
    content_type: str
    pieces: Any

    async def send(self, handler: Any) -> None:
        """Stream it."""
        handler.set_header("Content-Type", self.content_type)
        handler.set_header("Content-Disposition", f'attachment; filename="{self.name}"')
        async for piece in self.pieces:
            handler.write(piece)
            await handler.flush()
        await handler.finish()
