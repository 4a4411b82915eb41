"""The catalog as a TOML file of [[models]], [[channels]], [[categories]] and [[listings]]: read, compared with the
store, applied, written."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tomli_w

from smartoken.domain.documents import (
    DOCUMENTS,
    ChannelDoc,
    Document,
    ModelDoc,
    from_store,
    id_of,
    is_clear,
    to_store,
)
from smartoken.domain.pricing import jumps
from smartoken.engine.changes import Catalog
from smartoken.errors import ConfigError
from smartoken.strict import decode, nearest

TABLES = ("models", "channels", "categories", "listings")
WRITERS_OWN = ("_id", "rev", "price_rev", "created")   # fields that the catalog's writer sets, not the file
ADD, CHANGE, REMOVE = "add", "change", "remove"


@dataclass(frozen=True, slots=True)
class Difference:
    """One document that the file and the store say differently. `fields`: (field, stored, wanted), both as shown.

    `rev` is the stored revision that was compared (0: none); `jumps` are the prices that need a second look.
    """

    action: str
    collection: str
    id: str
    doc: Document | None
    rev: int
    fields: tuple[tuple[str, str, str], ...] = ()
    jumps: tuple[str, ...] = ()


def read(text: str, where: str) -> dict[str, list[Document]]:
    """{"models": [...], "channels": [...], ...} of a TOML text, which errors call `where`: the tables that stand there,
    be they empty. ConfigError names the key."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: this is not TOML: {error}") from None
    for name, rows in tables.items():
        if name not in TABLES:
            raise ConfigError(f"{where}: unknown key '{name}'{nearest(name, TABLES)}")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigError(f"{where}: '{name}' is a list of tables; begin each with [[{name}]]")
    return {name: _documents(name, tables[name], where) for name in TABLES if name in tables}


async def compare(catalog: Catalog, wanted: dict[str, list[Document]], *, prune: bool = False) -> list[Difference]:
    """What must be written so that the store says what the file says; `prune` also removes what it does not name, in
    the tables that stand there: a file of models and channels says nothing of the shop window.

    A credential that the file leaves out stays as the store has it: it may have been entered in the console.
    """
    found: list[Difference] = []
    for name in wanted:
        stored = {row["_id"]: row for row in await catalog.all(name)}
        found += [difference for doc in wanted[name] if (difference := _compared(name, doc, stored.get(id_of(doc))))]
        if prune:
            named = {id_of(doc) for doc in wanted[name]}
            found += [Difference(REMOVE, name, id, None, row["rev"]) for id, row in stored.items() if id not in named]
    return found


async def apply(catalog: Catalog, differences: Iterable[Difference]) -> None:
    """Write them; Conflict when a document is no longer at the revision that was compared."""
    for difference in differences:
        if difference.doc is None:
            await catalog.remove(difference.collection, difference.id, difference.rev)
        else:
            await catalog.put(difference.collection, difference.doc, difference.rev)


async def export(catalog: Catalog) -> str:
    """The stored catalog as such a file: credentials as references or sealed, defaults left out."""
    return written({name: [from_store(DOCUMENTS[name], row) for row in await catalog.all(name)] for name in TABLES})


def written(documents: Mapping[str, Iterable[Document]]) -> str:
    """Documents by table, as such a file."""
    tables = []
    for name, docs in documents.items():
        for doc in docs:
            fields = {doc.ID: id_of(doc), **_written(doc)}
            tables.append("".join([f"[[{name}]]\n", *(f"{key} = {_toml(value)}\n" for key, value in fields.items())]))
    return "\n".join(tables)


def offered(rows: Iterable[Mapping[str, Any]], where: str) -> str:
    """Models that a plugin tells of (hook smartoken_models), as such a file; ConfigError names the unsound one."""
    return written({"models": _documents("models", [dict(row) for row in rows], where)})


def _documents(name: str, rows: list[dict[str, Any]], where: str) -> list[Document]:
    cls, found = DOCUMENTS[name], {}
    for number, row in enumerate(rows, 1):
        id = row.get(cls.ID)
        doc = decode(cls, row, where, prefix=f"{name}.{id if isinstance(id, str) else number}")
        if id_of(doc) in found:
            raise ConfigError(f"{where}: '{name}.{id_of(doc)}' stands there twice; remove one")
        if isinstance(doc, ChannelDoc) and is_clear(doc.credential):
            raise ConfigError(f"{where}: '{name}.{doc.name}.credential' is the secret itself; write env:NAME or "
                              "file:path, and put the secret there")
        found[id_of(doc)] = doc
    return list(found.values())


def _compared(name: str, doc: Document, stored: dict[str, Any] | None) -> Difference | None:
    if stored is None:
        return Difference(ADD, name, id_of(doc), doc, 0, tuple(_fields({}, _shown(_written(doc)))))
    try:
        old = from_store(type(doc), stored)
    except ConfigError:
        return Difference(CHANGE, name, id_of(doc), doc, stored["rev"], (("the stored document", "broken", "sound"),))
    if isinstance(doc, ChannelDoc) and not doc.credential:
        doc = doc.model_copy(update={"credential": old.credential})
    fields = tuple(_fields(_shown(to_store(old)), _shown(to_store(doc))))
    if not fields:
        return None
    steep = tuple(jumps(old.pricing, doc.pricing)) if isinstance(doc, ModelDoc) else ()
    return Difference(CHANGE, name, id_of(doc), doc, stored["rev"], fields, steep)


def _written(doc: Document) -> dict[str, Any]:
    """What a person would write of a document: neither defaults nor what is the writer's own, nor its id."""
    return doc.model_dump(mode="json", exclude_defaults=True, exclude={doc.ID, *WRITERS_OWN})


def _toml(value: Any) -> str:
    """A value on the right of a TOML key; tables stay in one line, so that a document is one block."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {_toml(inner)}" for key, inner in value.items()
                                if inner is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return tomli_w.dumps({"_": value})[len("_ = "):].rstrip("\n")


def _toml_key(key: str) -> str:
    return tomli_w.dumps({key: 0})[:-len(" = 0\n")]


def _fields(old: dict[str, str], new: dict[str, str]) -> Iterable[tuple[str, str, str]]:
    return ((key, old.get(key, ""), new.get(key, "")) for key in {**old, **new} if old.get(key) != new.get(key))


def _shown(stored: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{dotted field: text}, without what is empty or the writer's own."""
    flat: dict[str, str] = {}
    for key, value in stored.items():
        if not prefix and key in WRITERS_OWN:
            continue
        if isinstance(value, dict) and value:
            flat |= _shown(value, f"{prefix}{key}.")
        elif value not in ("", [], {}):
            flat[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
