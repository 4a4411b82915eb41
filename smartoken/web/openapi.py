"""One OpenAPI document of everything that a client can call: each wire and each file of handlers brings its own piece.

A wire's piece is its `openapi`, one operation for all of its paths; a file of handlers has a table OPENAPI
{path: {method: operation}}. Errors, headers, keys and operation ids are the same everywhere and are added here.
"""

import copy
import importlib
import pkgutil
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import smartoken
from smartoken.web import handlers

ERROR = {
    "type": "object", "required": ["error"], "properties": {"error": {
        "type": "object", "required": ["message", "type"], "properties": {
            "message": {"type": "string"}, "type": {"type": "string"}, "code": {"type": ["string", "null"]},
            "param": {"type": ["string", "null"]}}}}}
PUBLIC: list[dict[str, Any]] = []          # an operation's `security` where no key is needed
_PARAMETER = re.compile(r"\{(\w+)\}")
_EXAMPLE = re.compile(r"\{(llm|embedding|speech|transcription)\}")


def document(gateway: Any, base_url: str) -> dict[str, Any]:
    """The document as it is now: examples name models that are really there."""
    names = _names(gateway)
    paths: dict[str, dict[str, Any]] = {}
    for path, wire in sorted(gateway.registry.paths.items()):
        if not path.endswith("/"):
            paths[path] = {"post": _operation(path, "post", wire.openapi or _plain(wire.name), wire.rid_header, names)}
    for path, (wire, _) in sorted(gateway.registry.job_paths.items()):
        paths[path] = {"post": _operation(path, "post", _plain(wire.name, "Images and videos"), "", names)}
    for module in handler_files():
        for path, operations in getattr(module, "OPENAPI", {}).items():
            own = "X-Solquir-Trace-Id" if path.startswith("/api/v1/") else ""
            paths.setdefault(path, {}).update(
                {method: _operation(path, method, operation, own, names) for method, operation in operations.items()})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Smartoken", "version": smartoken.__version__,
                 "description": "Two surfaces over one catalog and ledger: `/v1` (OpenAI) and `/api/v1` (Solquir)."},
        "servers": [{"url": base_url}], "security": [{"key": []}], "paths": paths,
        "components": {"schemas": {"Error": ERROR},
                       "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def handler_files() -> list[ModuleType]:
    """The modules of handlers/, by name."""
    return [importlib.import_module(f"{handlers.__name__}.{module.name}")
            for module in sorted(pkgutil.iter_modules(handlers.__path__), key=lambda module: module.name)]


def _names(gateway: Any) -> Mapping[str, str]:
    """{type: a listed model of it}."""
    names: dict[str, str] = {}
    for slug, model in sorted(gateway.snapshots.current.models.items()):
        if model.public and model.routes:
            names.setdefault(model.type, slug)
    return names


def _plain(name: str, tag: str = "Other dialects") -> dict[str, Any]:
    """For a wire that says nothing of itself."""
    return {"summary": f"The dialect {name}", "tags": [tag], "requestBody": {
        "required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {"200": {"description": "The answer in that dialect"}}}


def _operation(path: str, method: str, operation: Mapping[str, Any], own_header: str,
               names: Mapping[str, str]) -> dict[str, Any]:
    made = copy.deepcopy(dict(operation))
    made["operationId"] = re.sub(r"\W+", "_", f"{method}{path}").strip("_")
    given = {one["name"] for one in made.get("parameters", ())}
    made["parameters"] = [*made.get("parameters", ()),
                          *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                            for name in _PARAMETER.findall(path) if name not in given)]
    headers = {name: {"schema": {"type": "string"}, "description": "Finds this call in records and logs."}
               for name in ("X-Request-Id", own_header) if name}
    made["responses"]["default"] = {"description": "A refusal", "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
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
