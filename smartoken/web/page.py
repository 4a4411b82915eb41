"""An OpenAPI document as a page that people can read: a block for each call, plain HTML, nothing to load but its looks."""

import html
import json
from collections.abc import Mapping
from typing import Any

STYLE = """\
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent); --accent: #2563eb; }
* { box-sizing: border-box; }
body { font: 16px/1.6 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 2rem 1rem 6rem; }
h1 { font-size: 2rem; margin: 0; } h2 { border-bottom: 1px solid var(--line); margin: 3rem 0 1rem; }
details { border: 1px solid var(--line); border-radius: .6rem; margin: .6rem 0; }
summary { align-items: baseline; cursor: pointer; display: flex; flex-wrap: wrap; gap: .2rem .8rem;
  padding: .6rem 1rem; }
summary b { color: var(--accent); font: 600 .8rem ui-monospace, monospace; min-width: 4ch; text-transform: uppercase; }
summary code { overflow-wrap: anywhere; } summary span { opacity: .75; }
section { border-top: 1px solid var(--line); padding: .4rem 1rem 1rem; }
h3 { font-size: .8rem; letter-spacing: .06em; margin: 1.2rem 0 .3rem; opacity: .7; text-transform: uppercase; }
pre { background: var(--soft); border-radius: .4rem; margin: 0; overflow: auto; padding: .8rem; }
code, pre { font: .85rem/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: .3rem .6rem .3rem 0;
  vertical-align: top; } td:first-child { white-space: nowrap; }
a { color: var(--accent); }
"""


def page_of(document: Mapping[str, Any]) -> str:
    """The page. Everything that is not ours to write is escaped."""
    info, server = document["info"], document["servers"][0]["url"]
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            block = _block(server, path, method, operation)
            tags.setdefault(next(iter(operation.get("tags", ())), "Other"), []).append(block)
    blocks = "".join(f"<h2>{_text(tag)}</h2>{''.join(found)}" for tag, found in tags.items())
    return ("<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{_text(info['title'])} API</title><link rel=stylesheet href=/docs.css>"
            f"<h1>{_text(info['title'])} API</h1><p>{_text(info['description'])}</p>"
            f"<p>Base URL <code>{_text(server)}</code> · key: <code>Authorization: Bearer …</code> · "
            f"<a href=/openapi.json>openapi.json</a> · version {_text(info['version'])}</p>{blocks}</html>")


def _block(server: str, path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<p>{_text(operation['description'])}</p>"] if operation.get("description") else []
    rows = [(one["name"], one["in"], one.get("schema", {}), one.get("required")) for one in operation["parameters"]]
    if rows:
        parts.append("<h3>Parameters</h3>" + _table(rows))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        required = schema.get("required", ())
        fields = [(name, "", inner, name in required) for name, inner in schema.get("properties", {}).items()]
        parts.append(f"<h3>Body · {_text(kind)}</h3>" + (_table(fields) if fields else "<p>Any object.</p>"))
        if "example" in content:
            sent = json.dumps(content["example"], ensure_ascii=False)
            key = "" if operation.get("security") == [] else " -H 'Authorization: Bearer $KEY'"
            parts.append(f"<h3>Example</h3><pre>curl {_text(server)}{_text(path)}{_text(key)} \\\n"
                         f"  -H 'Content-Type: application/json' \\\n  -d '{_text(sent)}'</pre>")
    for status, answer in operation["responses"].items():
        if status == "default":
            continue
        kinds = ", ".join(answer.get("content", {}))
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        shown = f"<pre>{_text(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>" if schema else ""
        parts.append(f"<h3>{_text(status)} · {_text(kinds)}</h3><p>{_text(answer['description'])}</p>{shown}")
    return (f"<details><summary><b>{_text(method)}</b><code>{_text(path)}</code>"
            f"<span>{_text(operation['summary'])}</span></summary><section>{''.join(parts)}</section></details>")


def _table(rows: list[tuple[str, str, Mapping[str, Any], Any]]) -> str:
    return "<table>" + "".join(
        f"<tr><td><code>{_text(name)}</code>{' *' if required else ''}<td>{_text(where)} {_text(_kind(schema))}"
        for name, where, schema, required in rows) + "</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    kind = schema.get("type", "anything")
    words = [" or ".join(kind) if isinstance(kind, list) else kind]
    bounds = ("minimum", "maximum", "minLength", "maxLength", "minItems", "default", "format")
    words += [f"{name} {schema[name]}" for name in bounds if name in schema]
    return ", ".join(words)


def _text(value: Any) -> str:
    return html.escape(str(value))
