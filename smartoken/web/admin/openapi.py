"""The admin API as an OpenAPI 3.1 document, made from the operations themselves."""

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import smartoken
from smartoken.errors import KINDS

REF = "#/components/schemas/{model}"
_REFUSAL = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["message", "type", "code", "param"],
    "properties": {"message": {"type": "string"}, "type": {"type": "string", "enum": sorted(
        {type_ for _, type_ in KINDS.values()} | {"conflict_error"})},
        "code": {"type": ["string", "null"]}, "param": {"type": ["string", "null"]}}}}}


def document(operations: list[Any], base: str) -> dict[str, Any]:
    """The document over `operations` (operation.Operation), below the path `base`."""
    bodies: list[type[BaseModel]] = [one.body for one in operations if one.body is not None]
    by_model, shared = models_json_schema([(body, "validation") for body in dict.fromkeys(bodies)], ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(base + one.path, {})[one.method.lower()] = _operation(one, by_model)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Smartoken admin API", "version": smartoken.__version__,
                 "description": "Signed in by the console's session cookie; changes bring the header X-CSRF-Token "
                                "(its value stands in GET /me). Amounts end in _u (µUSD) or _p (pUSD), times in _ms."},
        "paths": paths,
        "components": {"schemas": {**shared.get("$defs", {}), "Refusal": _REFUSAL},
                       "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "smartoken"}}},
        "security": [{"session": []}]}


def _operation(one: Any, by_model: dict[Any, Any]) -> dict[str, Any]:
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                  for name in re.findall(r"\{(\w+)\}", one.path)]
    if one.query is not None:
        schema = one.query.model_json_schema()
        parameters += [{"name": name, "in": "query", "required": False, "schema": field}
                       for name, field in schema["properties"].items()]
    if one.method != "GET":
        parameters.append({"name": "X-CSRF-Token", "in": "header", "required": True, "schema": {"type": "string"}})
    refusal = {"description": "Refused",
               "content": {"application/json": {"schema": {"$ref": REF.format(model="Refusal")}}}}
    found: dict[str, Any] = {
        "operationId": one.work.__module__.rpartition(".")[2] + "." + one.work.__name__, "summary": one.summary,
        "description": f"{(one.work.__doc__ or '').strip()} Needs the permission `{one.permission}`.".strip(),
        "tags": [one.work.__module__.rpartition(".")[2]], "parameters": parameters,
        "responses": {str(one.status): {"description": "Done"}, "4XX": refusal, "5XX": refusal}}
    if one.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {
            "schema": by_model[one.body, "validation"]}}}
    return found
