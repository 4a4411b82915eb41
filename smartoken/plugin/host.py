"""The loaded plugins and their life: open in order, close in reverse, and the hooks that are called while running."""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy

from smartoken.domain.usage import UsageRecord
from smartoken.errors import ConfigError
from smartoken.plugin.registry import Registry
from smartoken.plugin.types import Provider

log = logging.getLogger("smartoken.plugin")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One plugin: `source` is where it came from, `hooks` its implementations by hook."""

    name: str
    source: str
    hooks: Mapping[str, Callable[..., Any]]

    def call(self, hook: str, **given: Any) -> Any:
        """What it answers to a hook; None when it does not implement it. Errors of the plugin come through."""
        implementation = self.hooks.get(hook)
        if implementation is None:
            return None
        wanted = inspect.signature(implementation).parameters
        return implementation(**{name: value for name, value in given.items() if name in wanted})

    def failed(self, hook: str, err: BaseException) -> ConfigError:
        """The one sentence for a hook of this plugin that raised."""
        return ConfigError(f"plugin '{self.name}' ({self.source}): hook {hook} failed: {type(err).__name__}: {err}; "
                           "mend it, or leave it out of 'plugins.enabled'")

    async def call_async(self, hook: str, **given: Any) -> Any:
        """The same for hooks that may be async."""
        answer = self.call(hook, **given)
        return await answer if inspect.isawaitable(answer) else answer


@dataclass
class Host:
    """What main.py holds: `registry` for the engine, `open` and `close` around serving."""

    manager: pluggy.PluginManager
    plugins: tuple[Loaded, ...]
    registry: Registry
    _begun: list[Loaded] = field(default_factory=list)

    async def open(self, gateway: Any) -> None:
        """Call smartoken_open in order. When one fails, close it and those before it, then raise ConfigError."""
        for plugin in self.plugins:
            self._begun.append(plugin)
            try:
                await plugin.call_async("smartoken_open", gateway=gateway)
            except BaseException as err:
                await self.close(gateway)
                if not isinstance(err, Exception):
                    raise
                raise plugin.failed("smartoken_open", err) from err

    async def close(self, gateway: Any) -> None:
        """Call smartoken_close in reverse, for every plugin whose opening was begun; one failure stops no other."""
        while self._begun:
            plugin = self._begun.pop()
            try:
                await plugin.call_async("smartoken_close", gateway=gateway)
            except Exception:
                log.exception("plugin '%s': hook smartoken_close failed", plugin.name)

    async def usage(self, records: Sequence[UsageRecord]) -> None:
        """Tell the plugins of stored usage; a failure is logged with the plugin's name."""
        for plugin in self.plugins:
            try:
                await plugin.call_async("smartoken_usage", records=records)
            except Exception:
                log.exception("plugin '%s': hook smartoken_usage failed", plugin.name)

    async def models(self, provider: Provider) -> list[dict[str, Any]]:
        """What the plugins say that a provider offers. Errors come through as ConfigError with the plugin's name."""
        offers: list[dict[str, Any]] = []
        for plugin in self.plugins:
            try:
                offers += [dict(row) for row in await plugin.call_async("smartoken_models", provider=provider) or ()]
            except Exception as err:
                raise plugin.failed("smartoken_models", err) from err
        return offers

    def secret(self, ref: str) -> str | None:
        """The first plugin's answer to a reference, None when no vault knows its prefix."""
        return self.manager.hook.smartoken_secret(ref=ref)

    def commands(self, cli: Any, books: Any) -> None:
        """Let the plugins add their subcommands."""
        for plugin in self.plugins:
            try:
                plugin.call("smartoken_commands", cli=cli, books=books)
            except Exception as err:
                raise plugin.failed("smartoken_commands", err) from err
