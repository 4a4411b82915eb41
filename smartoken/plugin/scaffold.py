"""`smartoken plugin new`: a provider in one file, and its test."""

from pathlib import Path

from smartoken.errors import ConfigError
from smartoken.plugin.loader import available, from_file

PROVIDER = '''"""{title}: what it speaks and where it is. The manual for plugins is plugins/README.md of Smartoken."""

from smartoken.plugin import COOL, PluginConf, Provider, bearer, hookimpl


class Conf(PluginConf):
    """The table [plugins.{name}] of conf/smartoken.toml; here with defaults only, so that it may be left out."""

    base_url: str = "https://api.{host}.example/v1"


conf: Conf  # set by Smartoken before it calls a hook


@hookimpl
def smartoken_providers():
    return [Provider("{name}", title="{title}", base_url=conf.base_url, auth=bearer,
                     speaks={{"openai.chat": "/chat/completions"}},
                     errors={{"rate_limit_exceeded": COOL}})]
'''

TEST = '''"""Run with pytest: proves that Smartoken would accept the plugin beside this file."""

from pathlib import Path

from smartoken.plugin.check import check


def test_smartoken_accepts_it():
    report = check(Path(__file__).with_name("{name}.py"))
    assert report.problems == ()
    assert "provider {name}" in report.gave
'''


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a folder (made if needed) and say where. ConfigError if one is there, or an
    installed plugin has that name."""
    file, test = folder / f"{name}.py", folder / f"test_{name}.py"
    from_file(file)
    if name.startswith(("_", "test_")):
        raise ConfigError(f"'{name}' would never be loaded: files that begin with '_' or 'test_' are left out")
    if taken := available().get(name):
        raise ConfigError(f"a plugin is named '{name}' already ({taken.source}); choose another name, such as my_{name}")
    for path in (file, test):
        if path.exists():
            raise ConfigError(f"{path} is there already; choose another name or folder")
    folder.mkdir(parents=True, exist_ok=True)
    words = {"name": name, "title": name.replace("_", " ").capitalize(), "host": name.replace("_", "-")}
    file.write_text(PROVIDER.format(**words), encoding="utf-8")
    test.write_text(TEST.format(**words), encoding="utf-8")
    return file, test
