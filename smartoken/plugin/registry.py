"""What the plugins gave, by name: hooks fill it once when the gateway starts, then it is frozen and only read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from smartoken.domain.people import PERMISSIONS
from smartoken.errors import ConfigError
from smartoken.plugin.sane import faults, is_async
from smartoken.plugin.sign_in import SignIn
from smartoken.plugin.types import Bridge, JobDoor, JobWire, Provider, Tool, Wire
from smartoken.strict import nearest

PORTS = ("store", "media", "limiter")
BEHIND = ("/console", "/admin")
"""How the addresses begin that are behind the sign-in, and on the admin port where there is one."""


@dataclass(frozen=True, slots=True)
class Registry:
    """Read-only maps. `gave` is {plugin: its gifts as people read them}."""

    providers: Mapping[str, Provider]
    wires: Mapping[str, Wire | JobWire]
    paths: Mapping[str, Wire]                      # client path -> the wire served there
    job_paths: Mapping[str, tuple[JobWire, JobDoor]]
    bridges: Mapping[tuple[str, str], Bridge]      # (source, target)
    adapters: Mapping[str, Mapping[str, Callable[[str], Any]]]     # port -> scheme -> factory(url)
    gates: tuple[Callable[..., Any], ...]
    routers: Mapping[str, Callable[..., Any]]
    tools: Mapping[str, Tool]
    sign_ins: Mapping[str, SignIn]
    handlers: tuple[tuple, ...]
    gave: Mapping[str, tuple[str, ...]]

    def adapter(self, port: str, url: str, where: str = "the configuration") -> Any:
        """The adapter of a port (store, media, limiter) for a URL, not opened yet. ConfigError names known schemes."""
        scheme = url.partition("://")[0]
        known = self.adapters[port]
        if scheme not in known:
            raise ConfigError(f"{where}: '{port}.url': no enabled plugin brings the scheme '{scheme}'"
                              f"{nearest(scheme, known)}")
        return known[scheme](url)


@dataclass
class Filling:
    """The registry while hooks fill it. `add` takes one plugin's answer to one hook; `freeze` ends it."""

    tables: dict[str, dict] = field(default_factory=lambda: {name: {} for name in (
        "providers", "wires", "paths", "job_paths", "bridges", "routers", "tools", "sign_ins",
        *(f"adapters.{port}" for port in PORTS))})
    lists: dict[str, list] = field(default_factory=lambda: {"gates": [], "handlers": []})
    owners: dict[tuple[str, Any], str] = field(default_factory=dict)
    gave: dict[str, list[str]] = field(default_factory=dict)

    def add(self, plugin: str, hook: str, answer: Any) -> None:
        """ConfigError (without the plugin's name, which the loader puts in front) when a gift is unfit or taken."""
        self.gave.setdefault(plugin, [])
        if answer is None:
            return
        try:
            FILL[hook](self, plugin, answer)
        except (TypeError, AttributeError) as err:
            raise ConfigError(f"gave {type(answer).__name__} where its docstring in spec.py wants another shape: "
                              f"{err}") from err

    def put(self, plugin: str, table: str, what: str, key: Any, value: Any, note: bool = True) -> None:
        owner = self.owners.get((table, key))
        if owner is not None:
            raise ConfigError(f"gives {what} '{_show(key)}', which plugin '{owner}' gave already; "
                              "rename it or leave one of the two out of 'plugins.enabled'")
        self.owners[table, key] = plugin
        self.tables[table][key] = value
        if note:
            self.gave[plugin].append(f"{what} {_show(key)}")

    def freeze(self) -> Registry:
        frozen = {name: MappingProxyType(dict(table)) for name, table in self.tables.items()}
        adapters = MappingProxyType({port: frozen.pop(f"adapters.{port}") for port in PORTS})
        return Registry(**frozen, adapters=adapters, gates=tuple(self.lists["gates"]),
                        handlers=tuple(self.lists["handlers"]),
                        gave=MappingProxyType({plugin: tuple(gifts) for plugin, gifts in self.gave.items()}))


def _show(key: Any) -> str:
    return " -> ".join(key) if isinstance(key, tuple) else str(key)


def _each(kind: type | tuple[type, ...], values: Iterable[Any]) -> Iterable[Any]:
    """The values, each checked to be a `kind` with sane contents."""
    name = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ConfigError(f"must give a list of {name}, not {type(values).__name__}")
    for value in values:
        if not isinstance(value, kind):
            raise ConfigError(f"must give a list of {name}; one is {type(value).__name__}")
        if found := faults(value):
            raise ConfigError("; ".join(found))
        yield value


def _named(what: str, table: Any) -> Iterable[tuple[str, Callable[..., Any]]]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"must give {{name: {what}}}, not {type(table).__name__}")
    for name, value in table.items():
        if not isinstance(name, str) or not callable(value):
            raise ConfigError(f"must give {{name: {what}}} with a function for each name; '{name}' is not so")
        yield name, value


def _providers(filling: Filling, plugin: str, answer: Any) -> None:
    for provider in _each(Provider, answer):
        filling.put(plugin, "providers", "provider", provider.slug, provider)


def _wires(filling: Filling, plugin: str, answer: Any) -> None:
    for wire in _each((Wire, JobWire), answer):
        filling.put(plugin, "wires", "wire", wire.name, wire)
        if isinstance(wire, JobWire):
            for door in wire.doors:
                filling.put(plugin, "job_paths", "path", door.path, (wire, door), note=False)
            continue
        for path in (*wire.paths, *wire.prefixes):
            filling.put(plugin, "paths", "path", path, wire, note=False)


def _bridges(filling: Filling, plugin: str, answer: Any) -> None:
    for bridge in _each(Bridge, answer):
        filling.put(plugin, "bridges", "bridge", (bridge.source, bridge.target), bridge)


def _tools(filling: Filling, plugin: str, answer: Any) -> None:
    for tool in _each(Tool, answer):
        filling.put(plugin, "tools", "tool", tool.name, tool)


def _sign_ins(filling: Filling, plugin: str, answer: Any) -> None:
    for sign_in in _each(SignIn, answer):
        filling.put(plugin, "sign_ins", "sign-in", sign_in.name, sign_in)


def _routers(filling: Filling, plugin: str, answer: Any) -> None:
    for name, pick in _named("pick function", answer):
        if is_async(pick):
            raise ConfigError(f"router '{name}' is asked in every request and never awaited; write `def`, not "
                              "`async def`")
        filling.put(plugin, "routers", "router", name, pick)


def _adapters(filling: Filling, plugin: str, answer: Any) -> None:
    if not isinstance(answer, Mapping):
        raise ConfigError(f"must give {{port: {{scheme: factory}}}}, not {type(answer).__name__}")
    for port, schemes in answer.items():
        if port not in PORTS:
            raise ConfigError(f"gives adapters for the unknown port '{port}'{nearest(str(port), PORTS)}")
        for scheme, factory in _named("factory", schemes):
            filling.put(plugin, f"adapters.{port}", port, scheme, factory)


def _gates(filling: Filling, plugin: str, answer: Any) -> None:
    for gate in answer:
        if not callable(gate):
            raise ConfigError(f"must give a list of functions; one is {type(gate).__name__}")
        if is_async(gate):
            raise ConfigError(f"gate {getattr(gate, '__name__', gate)} is asked in every request and never awaited; "
                              "write `def`, not `async def`")
        filling.lists["gates"].append(gate)
        filling.gave[plugin].append(f"gate {getattr(gate, '__name__', gate)}")


def permission_of(page: type) -> str:
    """What it takes to see a plugin's page that is behind the sign-in: its class's attribute of that name."""
    return getattr(page, "permission", "system.read")


def _handlers(filling: Filling, plugin: str, answer: Any) -> None:
    for row in answer:
        if len(row) not in (2, 3) or not isinstance(row[0], str) or not isinstance(row[1], type):
            raise ConfigError("must give a list of (pattern, handler class[, arguments])")
        if row[0].startswith(BEHIND) and permission_of(row[1]) not in PERMISSIONS:
            raise ConfigError(f"page '{row[0]}': there is no permission '{permission_of(row[1])}'"
                              f"{nearest(str(permission_of(row[1])), PERMISSIONS)}")
        filling.lists["handlers"].append(tuple(row))
        filling.gave[plugin].append(f"page {row[0]}")


FILL: Mapping[str, Callable[[Filling, str, Any], None]] = MappingProxyType({
    "smartoken_providers": _providers, "smartoken_wires": _wires, "smartoken_bridges": _bridges,
    "smartoken_adapters": _adapters, "smartoken_gates": _gates, "smartoken_routers": _routers,
    "smartoken_tools": _tools, "smartoken_handlers": _handlers, "smartoken_sign_ins": _sign_ins,
})
"""The hooks that fill the registry, in the order in which they are asked."""
