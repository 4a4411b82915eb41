"""The loaded plugins and their life: open in order, close in reverse, and the hooks that are called while running."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smartoken.domain.documents import SECRET_REFS
from smartoken.domain.usage import UsageRecord
from smartoken.errors import ConfigError
from smartoken.plugin.registry import Registry
from smartoken.plugin.types import Provider
from smartoken.secrets import resolve

USAGE_S = 30             # for one plugin to take one batch of usage

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

    @property
    def listens(self) -> bool:
        """Whether a plugin wants to be told of usage."""
        return any("smartoken_usage" in plugin.hooks for plugin in self.plugins)

    async def usage(self, records: Sequence[UsageRecord]) -> None:
        """Tell the plugins of stored usage, one after the other; a failure, or more than USAGE_S, is logged with the
        plugin's name."""
        for plugin in self.plugins:
            try:
                async with asyncio.timeout(USAGE_S):
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

    def secret(self, ref: str) -> str:
        """The secret behind a reference: `env:` and `file:` by smartoken/secrets.py, all else by the first plugin that
        answers. ConfigError when it is not to be had; one plugin's failure keeps no other from answering."""
        if ref.startswith(SECRET_REFS):
            return resolve(ref)
        failure: ConfigError | None = None
        for plugin in self.plugins:
            try:
                answer = plugin.call("smartoken_secret", ref=ref)
                if answer is None:
                    continue
                if isinstance(answer, str) and answer:
                    return answer
                raise TypeError(f"gave {type(answer).__name__} where a text that is not empty belongs, or None")
            except ConfigError as err:         # its own sentence, for the operator
                failure = failure or err
            except Exception as err:           # whatever ails a vault, only the channels of its own are left out
                failure = failure or plugin.failed("smartoken_secret", err)
        raise failure or ConfigError(f"no enabled plugin knows a secret '{ref.partition(':')[0]}:…'; name its plugin in "
                                     "[plugins] enabled, or write env:NAME or file:path")

    def commands(self, cli: Any, books: Any) -> None:
        """Let the plugins add their subcommands."""
        for plugin in self.plugins:
            try:
                plugin.call("smartoken_commands", cli=cli, books=books)
            except Exception as err:
                raise plugin.failed("smartoken_commands", err) from err
