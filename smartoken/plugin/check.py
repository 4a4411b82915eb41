"""`smartoken plugin check`: one plugin, loaded alone and strictly, and everything about it that would fail later."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smartoken.conf import Conf
from smartoken.errors import ConfigError
from smartoken.plugin import loader
from smartoken.plugin.sane import unknown_wires


@dataclass(frozen=True, slots=True)
class Report:
    """What a plugin gives and implements, and what is wrong with it. No problems: it is fit to be enabled."""

    name: str
    source: str
    gave: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def check(target: str | Path, conf: Conf | None = None) -> Report:
    """Prove the plugin of that name, or in that file. Its settings are those of `conf` (default: none at all), and so
    are the plugins that it will stand beside.

    A plugin that does not load is a report with one problem; ConfigError only when there is no such plugin.
    """
    conf = conf or Conf()
    found = loader.available(conf.plugins.paths)
    plugin = _find(str(target), found)
    try:
        host = loader.assemble(conf, [plugin])
    except ConfigError as err:
        return Report(plugin.name, plugin.source, problems=(str(err),))
    own = next(loaded for loaded in host.plugins if loaded.name == plugin.name)
    values = [*host.registry.providers.values(), *host.registry.bridges.values()]
    wires = set(host.registry.wires) | set(_first_party_wires(found)) if values else ()
    problems = [problem for value in values for problem in unknown_wires(value, wires)]
    for provider in host.registry.providers.values():
        problems += _auth(provider.slug, provider.auth)
    problems += _name(plugin, found) + _beside(plugin, conf, found)
    return Report(plugin.name, plugin.source, host.registry.gave[plugin.name], tuple(sorted(own.hooks)),
                  tuple(problems))


def _name(plugin: loader.Found, found: dict[str, loader.Found]) -> list[str]:
    """A file of a name that another plugin has: with its folder in 'plugins.paths' no gateway would start."""
    other = found.get(plugin.name)
    if other is None or other == plugin or (other.file and other.file.samefile(plugin.file)):
        return []
    return [f"a plugin is named '{plugin.name}' already ({other.source}); rename the file, and its settings with it"]


def _beside(plugin: loader.Found, conf: Conf, found: dict[str, loader.Found]) -> list[str]:
    """What it gives that an enabled plugin gives already. The others' own faults are not its."""
    try:
        others = [other for other in loader.choose(conf, found) if other.name != plugin.name]
        loader.assemble(conf, [*others, plugin])
    except ConfigError as err:
        return [str(err)] if str(err).startswith(f"plugin '{plugin.name}' ") else []
    return []


def _find(target: str, found: dict[str, loader.Found]) -> loader.Found:
    if target.endswith(".py"):
        if not Path(target).is_file():
            raise ConfigError(f"{target}: there is no such file; `smartoken plugin new NAME` writes one")
        return loader.from_file(target)
    if target not in found:
        raise ConfigError(f"no plugin '{target}' is installed or in 'plugins.paths'{loader.nearest(target, found)}")
    return found[target]


def _first_party_wires(found: dict[str, loader.Found]) -> list[str]:
    """The wires that come with Smartoken: what a stranger's provider may speak."""
    own = [plugin for plugin in found.values() if plugin.first_party and plugin.name.startswith("wire_")]
    return list(loader.assemble(Conf(), own).registry.wires)


def _auth(slug: str, auth: Callable[[str], tuple]) -> list[str]:
    """Its header function, tried with a credential and with none."""
    for credential in ("a-credential", ""):
        try:
            fit = all(isinstance(name, str) and isinstance(value, str) for name, value in auth(credential))
        except (TypeError, ValueError) as err:
            return [f"provider '{slug}': auth({credential!r}) must give ((name, value), …): {err}"]
        if not fit:
            return [f"provider '{slug}': auth({credential!r}) must give names and values as text"]
    return []
