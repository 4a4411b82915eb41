"""An OpenAPI document as a page that people can read: a block for each call, plain HTML, nothing to load but its looks."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from smartoken.web.openapi import REF

_CODE = re.compile("`([^`]+)`")
DEEP = 3                 # levels of fields that are listed; what lies below shows in the example
STYLE = """\
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent); --accent: light-dark(#2563eb, #8ab4ff); }
* { box-sizing: border-box; }
body { font: 16px/1.6 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; overflow-wrap: anywhere;
  padding: 2rem 1rem 6rem; }
h1 { font-size: 2rem; margin: 0; } h2 { border-bottom: 1px solid var(--line); margin: 3rem 0 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
details { border: 1px solid var(--line); border-radius: .6rem; margin: .6rem 0; }
summary { align-items: baseline; cursor: pointer; display: flex; flex-wrap: wrap; gap: .2rem .8rem;
  padding: .6rem 1rem; }
summary b { color: var(--accent); font: 600 .8rem ui-monospace, monospace; min-width: 6ch; text-transform: uppercase; }
summary span { opacity: .75; }
section { border-top: 1px solid var(--line); padding: .4rem 1rem 1rem; }
h3 { font-size: .8rem; letter-spacing: .06em; margin: 1.4rem 0 .3rem; text-transform: uppercase; }
pre { background: var(--soft); border-radius: .4rem; margin: .4rem 0; max-height: 24rem; overflow: auto; padding: .8rem;
  white-space: pre-wrap; }
code, pre { font: .85rem/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; } th { font-size: .8rem; text-align: left; }
td { border-top: 1px solid var(--line); padding: .3rem .8rem .3rem 0; vertical-align: top; }
td:first-child { min-width: 9rem; } td i { font-style: normal; opacity: .7; } td .in { padding-left: 1rem; }
td .in .in { padding-left: 1rem; }
section details { margin: .4rem 0; } section details summary { padding: .3rem .8rem; }
section details p { margin: .4rem .8rem; }
section details table { margin: 0 .8rem .6rem; width: calc(100% - 1.6rem); }
a { color: var(--accent); }
"""


def page_of(document: Mapping[str, Any]) -> str:
    """The page. Everything that is not ours to write is escaped."""
    info, server, schemas = document["info"], document["servers"][0]["url"], document["components"]["schemas"]
    tags: dict[str, list[str]] = {one["name"]: [] for one in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            block = _block(schemas, server, path, method, operation)
            tags.setdefault(next(iter(operation.get("tags", ())), "Other"), []).append(block)
    tags = {tag: found for tag, found in tags.items() if found}
    blocks = "".join(f'<h2 id="{_anchor(tag)}">{_text(tag)}</h2>{"".join(found)}' for tag, found in tags.items())
    links = "".join(f'<a href="#{_anchor(tag)}">{_text(tag)}</a>' for tag in tags)
    return ("<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{_text(info['title'])} API</title><link rel=stylesheet href=/docs.css>"
            f"<h1>{_text(info['title'])} API</h1><p>{_says(info['description'])}</p>"
            f"<p>Base URL <code>{_text(server)}</code> · key: <code>Authorization: Bearer …</code> · "
            f"<a href=/openapi.json>openapi.json</a> · version {_text(info['version'])}</p>"
            f"<nav>{links}</nav>{blocks}</html>")


def _block(schemas: Mapping[str, Any], server: str, path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<p>{_says(operation['description'])}</p>"] if operation.get("description") else []
    if operation["parameters"]:
        parts.append("<h3>Parameters</h3><table>" + "".join(
            _row(one["name"], f"{one['in']}, {_kind(schemas, one['schema'])}", one.get("description", ""),
                 one.get("required"), 0) for one in operation["parameters"]) + "</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Body · {_text(kind)}</h3>{_schema(schemas, content['schema'])}")
        if "example" in content:
            sent = json.dumps(content["example"], ensure_ascii=False)
            key = "" if operation.get("security") == [] else " -H 'Authorization: Bearer $KEY'"
            parts.append(f"<pre>curl {_text(server)}{_text(path)}{_text(key)} \\\n"
                         f"  -H 'Content-Type: application/json' \\\n  -d '{_text(sent)}'</pre>")
    answers = operation["responses"].items()
    parts += [_answer(schemas, status, answer) for status, answer in answers if status[0] in "123"]
    parts.append(_refusals({status: answer for status, answer in answers if status[0] in "45"}))
    return (f"<details><summary><b>{_text(method)}</b><code>{_text(path)}</code>"
            f"<span>{_text(operation['summary'])}</span></summary><section>{''.join(parts)}</section></details>")


def _answer(schemas: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> str:
    parts = [f"<h3>{_text(status)} · {_text(answer['description'])}</h3>"]
    for kind, content in answer.get("content", {}).items():
        shown = content.get("x-event", content["schema"])
        fields = _schema(schemas, shown) if "$ref" in shown or "properties" in shown or "anyOf" in shown else ""
        example = content.get("example", "")
        example = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
        parts.append(f"<details><summary><code>{_text(kind)}</code><span>{_text(_name(shown))}</span></summary>"
                     f"{fields}</details>" + (f"<pre>{_text(example.strip())}</pre>" if example else ""))
    return "".join(parts)


def _refusals(answers: Mapping[str, Mapping[str, Any]]) -> str:
    """Status, code and an example's message of each."""
    rows = []
    for status, answer in answers.items():
        for code, example in answer["content"]["application/json"].get("examples", {}).items():
            rows.append(f"<tr><td>{_text(status)} <code>{_text(code)}</code><td>{_text(example['value']['error']['message'])}")
    if not rows:
        return ""
    return ("<h3>Refusals</h3><details><summary><span>By status and code</span></summary>"
            f"<table>{''.join(rows)}</table></details>")


def _schema(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema as a table of its fields; the shapes of an anyOf one after the other."""
    schema = _resolved(schemas, schema)
    shapes = [shape for shape in (_resolved(schemas, one) for one in schema.get("anyOf", (schema,)))
              if "properties" in shape]
    says = f"<p>{_says(schema['description'])}</p>" if schema.get("description") else ""
    tables = "".join(f"<table>{''.join(_rows(schemas, shape, 0))}</table>" for shape in shapes)
    return says + (tables or "<p>Any object.</p>")


def _rows(schemas: Mapping[str, Any], schema: Mapping[str, Any], level: int) -> Iterator[str]:
    required = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        inner = _resolved(schemas, given)
        yield _row(name, _kind(schemas, given), inner.get("description", ""), name in required, level)
        if level + 1 < DEEP:
            for one in (inner, inner.get("items"), *inner.get("anyOf", ())):
                found = _resolved(schemas, one or {})
                found = _resolved(schemas, found["items"]) if "items" in found and found is not inner else found
                for shape in found.get("oneOf", (found,)):
                    yield from _rows(schemas, shape, level + 1)


def _row(name: str, kind: str, says: str, required: Any, level: int) -> str:
    shown = f"<code>{_text(name)}</code>{' *' if required else ''}"
    for _ in range(level):
        shown = f"<div class=in>{shown}</div>"
    return f"<tr><td>{shown}<td>{_text(kind)}{f' <i>· {_says(says)}</i>' if says else ''}"


def _resolved(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return schemas[schema["$ref"].removeprefix(REF)] if "$ref" in schema else schema


def _name(schema: Mapping[str, Any]) -> str:
    return schema["$ref"].removeprefix(REF) if "$ref" in schema else schema.get("description", "")


def _kind(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    schema = _resolved(schemas, schema)
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return " or ".join(dict.fromkeys(_kind(schemas, one) for one in schema[name]))
    kind = schema.get("type", "anything")
    words = [" or ".join(kind) if isinstance(kind, list) else kind]
    if kind == "array" and "items" in schema:
        words = [f"list of {_kind(schemas, schema['items'])}"]
    bounds = ("minimum", "maximum", "minLength", "maxLength", "minItems", "default", "format")
    words += [f"{name} {schema[name]}" for name in bounds if name in schema]
    return ", ".join(words)


def _anchor(tag: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in tag.lower())


def _says(text: str) -> str:
    """A sentence of ours, with its `words` as code."""
    return _CODE.sub(r"<code>\1</code>", _text(text))


def _text(value: Any) -> str:
    return html.escape(str(value))
