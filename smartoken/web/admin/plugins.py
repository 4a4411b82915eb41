"""Plugins: what is loaded, from where, what each gave, and a form for its settings from its own schema."""

import sys
from typing import Any

import tomli_w
from pydantic import BaseModel

from smartoken.plugin import PluginConf
from smartoken.strict import Strict, decode
from smartoken.web.admin.desk import Desk, missing
from smartoken.web.admin.operation import Operation


class SettingsBody(Strict):
    """Settings to try, as [plugins.NAME] would hold them."""

    settings: dict[str, Any]


async def list_plugins(desk: Desk) -> dict[str, Any]:
    """Loaded plugins in their order. One that cannot be loaded stops the start, so none is half there."""
    gave = desk.gateway.registry.gave
    return {"plugins": [{"name": one.name, "source": one.source, "hooks": sorted(one.hooks),
                         "gave": list(gave.get(one.name, ())), "schema": _schema(one),
                         "settings": desk.gateway.conf.plugins.settings.get(one.name, {})}
                        for one in desk.gateway.plugins]}


async def check(desk: Desk, name: str, body: SettingsBody) -> dict[str, Any]:
    """The table for smartoken.toml, once the plugin's own schema takes it. Settings are read at the start."""
    plugin = next((one for one in desk.gateway.plugins if one.name == name), None)
    model = _model(plugin) if plugin else None
    if model is None:
        raise missing("plugin with settings", name)
    decode(model, body.settings, "the settings", f"plugins.{name}")
    return {"toml": tomli_w.dumps({"plugins": {name: body.settings}})}


def _model(plugin: Any) -> type[BaseModel] | None:
    """The plugin's Conf: an attribute of the module that its hooks come from."""
    for hook in plugin.hooks.values():
        model = getattr(sys.modules.get(hook.__module__), "Conf", None)
        if isinstance(model, type) and issubclass(model, PluginConf) and model is not PluginConf:
            return model
    return None


def _schema(plugin: Any) -> dict[str, Any] | None:
    model = _model(plugin)
    return None if model is None else model.model_json_schema()


OPERATIONS = [
    Operation("GET", "/plugins", "system.read", "Loaded plugins, what each gave, its settings' schema", list_plugins),
    Operation("POST", "/plugins/{name}/settings", "system.read", "Try settings against the plugin's schema", check,
              SettingsBody),
]
