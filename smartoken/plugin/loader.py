"""From names to running plugins: list without importing, keep the enabled, import, register, fill, freeze.

Whatever fails says plugin, file, hook and remedy in one ConfigError; nothing of a plugin runs before it was enabled.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from smartoken.conf import Conf
from smartoken.errors import ConfigError
from smartoken.plugin import PluginConf, builtin, spec
from smartoken.plugin.host import Host, Loaded
from smartoken.plugin.registry import FILL, Filling
from smartoken.strict import decode, missing, nearest

GROUP = "smartoken"
SPECS = {name: tuple(inspect.signature(value).parameters) for name, value in vars(spec).items()
         if name.startswith("smartoken_")}


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that is there, imported or not. `source` is a file or an entry point, for people."""

    name: str
    source: str
    first_party: bool
    entry: EntryPoint | None = None
    file: Path | None = None


BY_NAME = frozenset({"chatgpt_oauth"})
"""First-party plugins that '*' leaves out: an operator must have read what they do, and say their name."""

BUILT_IN = Found("built-in", "smartoken/plugin/builtin.py", True)


def available(paths: Sequence[str] = ()) -> dict[str, Found]:
    """Everything that could be enabled, by name, without importing any of it. ConfigError when two share a name."""
    found: dict[str, Found] = {}
    for plugin in (*_installed(), *_files(paths)):
        if other := found.get(plugin.name):
            raise ConfigError(f"two plugins are named '{plugin.name}': {other.source} and {plugin.source}; "
                              "rename one of them")
        found[plugin.name] = plugin
    return dict(sorted(found.items()))


def choose(conf: Conf, found: dict[str, Found]) -> list[Found]:
    """The enabled ones, in order: '*' is every first-party plugin but those of BY_NAME, '-name' leaves one out.
    ConfigError if unknown."""
    chosen: dict[str, Found] = {}
    left_out = {word[1:] for word in conf.plugins.enabled if word.startswith("-")}
    for name in (*(word.removeprefix("-") for word in conf.plugins.enabled if word != "*"), *conf.plugins.settings):
        if name not in found:
            key = f"plugins.{name}" if name in conf.plugins.settings else "plugins.enabled"
            raise ConfigError(f"{conf.file}: '{key}': no plugin '{name}' is installed or in 'plugins.paths'"
                              f"{nearest(name, found)}")
    all_ours = [plugin.name for plugin in found.values() if plugin.first_party and plugin.name not in BY_NAME]
    for word in conf.plugins.enabled:
        for name in all_ours if word == "*" else [word]:
            if not name.startswith("-") and name not in left_out:
                chosen[name] = found[name]
    return list(chosen.values())


def load(conf: Conf) -> Host:
    """The enabled plugins, registered and their registry filled, not opened. ConfigError as the module says."""
    return assemble(conf, choose(conf, available(conf.plugins.paths)))


def assemble(conf: Conf, chosen: Iterable[Found]) -> Host:
    """As `load`, for these plugins only (and the built-in adapters)."""
    manager = pluggy.PluginManager(spec.PROJECT)
    manager.add_hookspecs(spec)
    loaded = []
    for plugin in (BUILT_IN, *chosen):
        thing = builtin if plugin is BUILT_IN else _import(plugin)
        _settle_conf(plugin, thing, conf)
        loaded.append(Loaded(plugin.name, plugin.source, _hooks(plugin, thing)))
        try:
            manager.register(thing, name=plugin.name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as err:
            raise ConfigError(f"{_who(plugin)}: {' '.join(str(err).split())}") from err
    filling = Filling()
    for hook in FILL:
        for plugin in loaded:
            _fill(filling, plugin, hook)
    return Host(tuple(loaded), filling.freeze())


def from_file(path: str | Path) -> Found:
    """A plugin in one file; its name is the file's."""
    file = Path(path)
    name = file.stem
    if not name.isidentifier() or name != name.lower():
        raise ConfigError(f"{file}: a plugin's file is named in small letters, digits and '_', such as acme.py")
    return Found(name, str(file), False, file=file)


def _installed() -> Iterable[Found]:
    for entry in entry_points(group=GROUP):
        first_party = entry.dist is not None and entry.dist.name == "smartoken"
        yield Found(entry.name, f"entry point {entry.value}", first_party, entry=entry)


def _files(paths: Sequence[str]) -> Iterable[Found]:
    for folder in map(Path, paths):
        if not folder.is_dir():
            raise ConfigError(f"'plugins.paths': {folder} is not a folder; make it, or take it out of the list")
        for file in sorted(folder.glob("*.py")):
            if not file.name.startswith(("_", "test_")):
                yield from_file(file)


def _import(plugin: Found) -> Any:
    try:
        return plugin.entry.load() if plugin.entry else _import_file(plugin)
    except (Exception, SystemExit) as err:
        raise ConfigError(f"{_who(plugin)}: importing it failed: {type(err).__name__}: {err}; mend it, or leave it "
                          "out of 'plugins.enabled'") from err


def _import_file(plugin: Found) -> ModuleType:
    name = f"smartoken_plugin_file_{plugin.name}"
    module_spec = importlib.util.spec_from_file_location(name, plugin.file)
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up here
    try:
        module_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _settle_conf(plugin: Found, thing: Any, conf: Conf) -> None:
    """Decode [plugins.<name>] by the plugin's Conf and leave it as its attribute `conf`."""
    table = conf.plugins.settings.get(plugin.name)
    model = getattr(thing, "Conf", None)
    if model is None or model is PluginConf:
        if table:
            raise ConfigError(f"{conf.file}: plugin '{plugin.name}' has no settings; remove [plugins.{plugin.name}]")
        return
    if not (isinstance(model, type) and issubclass(model, PluginConf)):
        raise ConfigError(f"{_who(plugin)}: its Conf must be `class Conf(PluginConf)` from smartoken.plugin")
    if model.model_config.get("extra") != "forbid":
        raise ConfigError(f"{_who(plugin)}: its Conf must keep extra='forbid', so that a misspelt key is an error")
    if table is None and (needed := missing(model)):
        raise ConfigError(f"{conf.file}: plugin '{plugin.name}' needs [plugins.{plugin.name}] with "
                          f"{', '.join(needed)}")
    thing.conf = decode(model, table or {}, conf.file, f"plugins.{plugin.name}")


def _hooks(plugin: Found, thing: Any) -> dict[str, Callable[..., Any]]:
    """Its implementations by hook. Misspelt hooks, wrong arguments and forgotten marks stop here: pluggy finds only
    some of them, and late.
    """
    hooks: dict[str, Callable[..., Any]] = {}
    for name, value in inspect.getmembers(thing, inspect.isroutine):
        options = getattr(value, f"{spec.PROJECT}_impl", None)
        if options is None:
            if name in SPECS:
                raise ConfigError(f"{_who(plugin)}: hook {name}: the mark @hookimpl is missing above it")
            continue
        hook = options.get("specname") or name
        if hook not in SPECS:
            raise ConfigError(f"{_who(plugin)}: there is no hook '{hook}'{nearest(hook, SPECS)}")
        if hook in hooks:
            raise ConfigError(f"{_who(plugin)}: hook {hook}: two functions implement it; make them one")
        unknown = [arg for arg in inspect.signature(value).parameters if arg not in SPECS[hook]]
        if unknown:
            raise ConfigError(f"{_who(plugin)}: hook {hook}: there is no argument '{unknown[0]}'; write "
                              f"{hook}({', '.join(SPECS[hook])})")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise ConfigError(f"{_who(plugin)}: hook {hook}: wrappers are not supported; write a plain function")
        if inspect.iscoroutinefunction(value) and hook not in spec.MAY_BE_ASYNC:
            raise ConfigError(f"{_who(plugin)}: hook {hook}: write `def`, not `async def`")
        hooks[hook] = value
    if not hooks:
        raise ConfigError(f"{_who(plugin)}: it gives nothing; mark its hooks with @hookimpl from smartoken.plugin")
    return hooks


def _fill(filling: Filling, plugin: Loaded, hook: str) -> None:
    try:
        filling.add(plugin.name, hook, plugin.call(hook))
    except ConfigError as err:
        raise ConfigError(f"plugin '{plugin.name}' ({plugin.source}): hook {hook}: {err}") from err
    except Exception as err:
        raise plugin.failed(hook, err) from err


def _who(plugin: Found) -> str:
    return f"plugin '{plugin.name}' ({plugin.source})"
