"""The application's own promises: JSON on every path, an id on every answer, routes found by file."""

import asyncio
import importlib
import json
import pkgutil

import pytest
from web_kit import Client, served

from smartoken.errors import KINDS
from smartoken.web import handlers
from smartoken.web.answers import refusal_of_status


def test_healthz():
    async def main():
        async with served() as (_, port), Client(port) as client:
            client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            status, headers, body = await client.answer()
            assert (status, json.loads(body)) == (200, {"status": "ok"})
            assert headers["content-type"] == "application/json" and len(headers["x-request-id"]) == 31

    asyncio.run(main())


@pytest.mark.parametrize(("method", "path", "status", "kind"), [
    ("GET", "/nothing", 404, "not_found_error"), ("POST", "/", 404, "not_found_error"),
    ("PATCH", "/a/../b", 404, "not_found_error"), ("POST", "/healthz", 405, "invalid_request_error"),
    ("OPTIONS", "/healthz", 405, "invalid_request_error"), ("FOO", "/healthz", 400, "invalid_request_error"),
    ("PROPFIND", "/healthz", 405, "invalid_request_error"), ("GET", "/healthz%00", 404, "not_found_error")])
def test_every_refusal_is_json(method, path, status, kind):
    async def main():
        async with served() as (_, port), Client(port) as client:
            client.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
            got, headers, body = await client.answer()
            assert got == status and headers["content-type"] == "application/json" and headers["x-request-id"]
            error = json.loads(body)["error"]
            assert error["type"] == kind and error["message"] and set(error) == {"message", "type", "code", "param"}
            assert got != 405 or headers["allow"] == "GET, HEAD"

    asyncio.run(main())


def test_statuses_of_tornado_become_refusals_of_ours():
    for kind, (status, type_) in KINDS.items():
        if status < 500:
            assert refusal_of_status(status).type == type_, kind
    assert refusal_of_status(418).status == 418 and refusal_of_status(499).type == "invalid_request_error"
    assert refusal_of_status(502).status == 500
    assert [refusal_of_status(status).code for status in (400, 404, 405)] == [
        "unreadable_request", "unknown_route", "method_not_allowed"]


def test_each_file_of_handlers_brings_its_routes():
    names = [module.name for module in pkgutil.iter_modules(handlers.__path__)]
    assert "healthz" in names
    for name in names:
        assert callable(importlib.import_module(f"{handlers.__name__}.{name}").routes), name
