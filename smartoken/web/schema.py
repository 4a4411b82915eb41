"""Words in which files of handlers describe what they take and give, for /openapi.json."""

from typing import Any

TEXT = {"type": "string", "minLength": 1}
STRING = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
AMOUNT = {"type": "number", "minimum": 0}
PUBLIC: list[dict[str, Any]] = []          # an operation's `security` where no key is needed


def ours(title: str, properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """An object of ours: nothing else is ever in it, and all but the `optional` always is. '' names no component."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False,
              "required": [name for name in properties if name not in optional]}
    return schema | ({"title": title} if title else {})


def many(item: dict[str, Any]) -> dict[str, Any]:
    """A list of them."""
    return {"type": "array", "items": item}


def amounts() -> dict[str, Any]:
    """{size, resolution or the like: µUSD}."""
    return {"type": "object", "additionalProperties": COUNT}


def or_null(kind: str) -> dict[str, Any]:
    """A value that may be null."""
    return {"type": [kind, "null"]}


def list_of(title: str, item: dict[str, Any], **more: Any) -> dict[str, Any]:
    """{"object": "list", "data": […]}."""
    return ours(title, {"object": {"const": "list"}, "data": many(item), **more})


def answer(schema: dict[str, Any], description: str, example: Any, status: str = "200") -> dict[str, Any]:
    """An answer as JSON."""
    return {status: {"description": description, "content": {"application/json": {"schema": schema,
                                                                                  "example": example}}}}


WORK_QUOTE = ours("WorkQuote", {"object": {"const": "quote"}, "model": STRING, "cost_micro_usd": COUNT})
