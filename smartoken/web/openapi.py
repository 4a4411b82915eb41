"""One OpenAPI document of everything that a client can call: each wire and each file of handlers brings its own piece.

A piece is a table {path: {method: operation}}: a wire's `openapi`, a handler file's OPENAPI. Headers, keys, operation
ids and refusals (refusals.py) are the same everywhere and are added here; schemas with a title become components.
"""

import copy
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import smartoken
from smartoken.errors import Refusal
from smartoken.plugin.types import JobWire
from smartoken.web import handlers
from smartoken.web.answers import refusal_body
from smartoken.web.refusals import responses_of

ERROR = {
    "type": "object", "title": "Error", "required": ["error"], "additionalProperties": False, "properties": {"error": {
        "type": "object", "required": ["message", "type", "code", "param"], "additionalProperties": False, "properties": {
            "message": {"type": "string"}, "type": {"type": "string"}, "code": {"type": ["string", "null"]},
            "param": {"type": ["string", "null"]}}}}}
REF = "#/components/schemas/"
TAGS = ("Text", "Audio", "Images and videos", "Models", "Storefront", "Money", "Other dialects", "About")
_PARAMETER = re.compile(r"\{(\w+)\}")
_EXAMPLE = re.compile(r"\{(\w+)\}")
_EXAMPLES = frozenset({"example", "examples", "enum", "const", "default"})     # values, whatever they look like

Piece = tuple[str, str, Mapping[str, Any], str, Callable[[Refusal, str], bytes]]


def document(gateway: Any, base_url: str) -> dict[str, Any]:
    """The document as it is now: examples name models that are really there."""
    names = _names(gateway)
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation, header, render in _pieces(gateway.registry):
        paths.setdefault(path, {})[method] = _operation(path, method, operation, header, render, names)
    schemas: dict[str, Any] = {}
    paths = _shared(paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Smartoken", "version": smartoken.__version__,
                 "description": "Two surfaces over one catalog and ledger: `/v1` (OpenAI, Anthropic, Gemini) and "
                                "`/api/v1` (Solquir)."},
        "servers": [{"url": base_url}], "security": [{"key": []}], "tags": [{"name": name} for name in TAGS],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())),
                       "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def handler_files() -> list[ModuleType]:
    """The modules of handlers/, by name."""
    return [importlib.import_module(f"{handlers.__name__}.{module.name}")
            for module in sorted(pkgutil.iter_modules(handlers.__path__), key=lambda module: module.name)]


def _pieces(registry: Any) -> Iterator[Piece]:
    """(path, method, operation, a header of its own, how it refuses) of everything."""
    for _, wire in sorted(registry.wires.items()):
        works = isinstance(wire, JobWire)
        render, header = (_plainly, "") if works else (wire.refuse, wire.rid_header)
        for path, operations in (wire.openapi or {path: _plain(wire.name) for path in _paths(wire)}).items():
            for method, operation in operations.items():
                yield path, method, operation, header, render
    for module in handler_files():
        for path, operations in getattr(module, "OPENAPI", {}).items():
            header = "X-Solquir-Trace-Id" if path.startswith("/api/v1/") else ""
            for method, operation in operations.items():
                yield path, method, operation, header, _plainly


def _paths(wire: Any) -> list[str]:
    return [door.path for door in wire.doors] if isinstance(wire, JobWire) else list(wire.paths)


def _plainly(refusal: Refusal, rid: str) -> bytes:
    return refusal_body(refusal)


def _names(gateway: Any) -> Mapping[str, str]:
    """{type: a listed model of it}."""
    names: dict[str, str] = {}
    for slug, model in sorted(gateway.snapshots.current.models.items()):
        if model.public and model.routes:
            names.setdefault(model.type, slug)
    return names


def _plain(name: str) -> dict[str, Any]:
    """For a wire that says nothing of itself."""
    body = {"application/json": {"schema": {"type": "object", "additionalProperties": True}}}
    return {"post": {"summary": f"The dialect {name}", "tags": ["Other dialects"], "errors": ("key", "relayed"),
                     "description": "Passed through untouched; its plugin does not describe it.",
                     "requestBody": {"required": True, "content": body},
                     "responses": {"200": {"description": "The answer in that dialect"}}}}


def _operation(path: str, method: str, operation: Mapping[str, Any], own_header: str,
               render: Callable[[Refusal, str], bytes], names: Mapping[str, str]) -> dict[str, Any]:
    made = copy.deepcopy(dict(operation))
    made["operationId"] = re.sub(r"\W+", "_", f"{method}{path}").strip("_")
    given = {one["name"] for one in made.get("parameters", ())}
    made["parameters"] = [*({"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                            for name in _PARAMETER.findall(path) if name not in given), *made.get("parameters", ())]
    refused = made["responses"].pop("default", None) or {
        "description": "", "content": {"application/json": {"schema": ERROR}}}
    schema = refused["content"]["application/json"]["schema"]
    made["responses"] |= responses_of(made.pop("errors", ()), render, schema)
    made["responses"]["default"] = {**refused, "description": "Any other refusal, in the same shape; an upstream's own "
                                    "about the request keeps its status, code and message."}
    headers = {name: {"schema": {"type": "string"}, "description": "Finds this call in records and logs."}
               for name in dict.fromkeys(("X-Request-Id", own_header)) if name}
    for answer in made["responses"].values():
        answer.setdefault("headers", {}).update(headers)
    for content in made.get("requestBody", {}).get("content", {}).values():
        _fill_in(content, names)
    return made


def _fill_in(content: dict[str, Any], names: Mapping[str, str]) -> None:
    """Put a real model's name into an example; leave the example out where there is no such model."""
    example = content.get("example")
    kind = _EXAMPLE.fullmatch(str(example.get("model"))) if isinstance(example, dict) else None
    if kind is None:
        return
    if kind[1] in names:
        example["model"] = names[kind[1]]
    else:
        del content["example"]


def _shared(part: Any, schemas: dict[str, Any]) -> Any:
    """The same with every titled schema replaced by a reference to it in `schemas`."""
    if isinstance(part, list | tuple):
        return [_shared(one, schemas) for one in part]
    if not isinstance(part, dict):
        return part
    made = {name: value if name in _EXAMPLES else _shared(value, schemas) for name, value in part.items()}
    title = part.get("title")
    if not isinstance(title, str):
        return made
    if schemas.setdefault(title, made) != made:
        raise ValueError(f"two schemas are called {title}")
    return {"$ref": REF + title}
