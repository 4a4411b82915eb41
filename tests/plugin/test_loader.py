"""Plugins in real files, loaded as a gateway loads them; every mistake names plugin, file, hook and remedy."""

import sys

import pytest

from smartoken.conf import parse
from smartoken.errors import ConfigError
from smartoken.plugin import loader

HEAD = "from smartoken.plugin import *\n"
ACME = HEAD + """
@hookimpl
def smartoken_providers():
    return [Provider("acme", base_url="https://api.acme.ai/v1", speaks={"openai.chat": "/chat/completions"})]
"""


@pytest.fixture
def folder(tmp_path):
    """folder(name=text, …) writes plugins and returns a function that loads them, '*' left out."""

    def write(extra: str = "", enabled=None, **files: str):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        names = list(files) if enabled is None else enabled
        conf = f"[plugins]\npaths = ['{tmp_path}']\nenabled = {names}\n{extra}"
        return loader.load(parse(conf, "f.toml"))

    return write


def fails(folder, *parts, **given):
    with pytest.raises(ConfigError) as caught:
        folder(**given)
    for part in parts:
        assert part in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def test_a_third_party_provider_is_one_file(folder):
    host = folder(acme=ACME)
    provider = host.registry.providers["acme"]
    assert (provider.base_url, dict(provider.speaks)) == ("https://api.acme.ai/v1",
                                                          {"openai.chat": "/chat/completions"})
    assert host.registry.gave["acme"] == ("provider acme",)


def test_first_party_plugins_come_by_entry_point_and_by_star():
    registry = loader.load(parse("", "f.toml")).registry
    assert {"openai", "deepseek", "dashscope", "zhipu", "vllm"} <= set(registry.providers)
    assert registry.paths["/v1/chat/completions"] is registry.wires["openai.chat"]
    fewer = loader.load(parse("[plugins]\nenabled = ['*', '-deepseek']", "f.toml")).registry
    assert set(registry.providers) - set(fewer.providers) == {"deepseek"}


def test_star_never_enables_a_stranger(folder, tmp_path):
    host = folder(enabled=["*"], acme=ACME)
    assert "acme" not in host.registry.providers and "openai" in host.registry.providers


def test_nothing_is_imported_before_it_is_enabled(folder, tmp_path):
    mark = tmp_path / "imported"
    folder(enabled=["acme"], acme=ACME, other=f"open({str(mark)!r}, 'w')")
    assert not mark.exists()
    assert set(loader.available([str(tmp_path)])) >= {"acme", "other", "openai"} and not mark.exists()


def test_tests_and_private_files_are_no_plugins(folder, tmp_path):
    for name in ("test_acme", "_helper"):
        (tmp_path / f"{name}.py").write_text(ACME)
    assert not {"test_acme", "_helper"} & set(loader.available([str(tmp_path)]))


def test_settings_arrive_decoded_as_the_module_s_conf(folder):
    text = HEAD + """
class Conf(PluginConf):
    region: str
    retries: Whole = 2

conf: Conf

@hookimpl
def smartoken_providers():
    return [Provider("acme", base_url=f"https://{conf.region}.acme.ai/v1", speaks={"w": "/x"},
                     quirks={"n": conf.retries})]
"""
    provider = folder("[plugins.acme]\nregion = 'eu'", acme=text).registry.providers["acme"]
    assert (provider.base_url, provider.quirks) == ("https://eu.acme.ai/v1", {"n": 2})
    fails(folder, "f.toml: plugin 'acme' needs [plugins.acme] with region", acme=text)
    fails(folder, "f.toml: unknown key 'plugins.acme.regoin'; did you mean 'region'?",
          extra="[plugins.acme]\nregion = 'eu'\nregoin = 1", acme=text)
    fails(folder, "'plugins.acme.retries': write a whole number", extra="[plugins.acme]\nregion = 'eu'\nretries = '1'",
          acme=text)


def test_settings_for_a_plugin_without_any_are_refused(folder):
    fails(folder, "plugin 'acme' has no settings; remove [plugins.acme]", extra="[plugins.acme]\nx = 1", acme=ACME)


def test_settings_must_be_strict(folder):
    loose = ACME + "\nclass Conf(PluginConf):\n    model_config = {'extra': 'allow'}\n"
    fails(folder, "acme.py", "keep extra='forbid'", acme=loose)
    fails(folder, "acme.py", "class Conf(PluginConf)", acme=ACME + "\nclass Conf:\n    pass\n")


def test_a_secret_in_settings_is_not_repeated(folder):
    text = ACME + "\nclass Conf(PluginConf):\n    secret: Whole\n"
    with pytest.raises(ConfigError) as caught:
        folder("[plugins.acme]\nsecret = 'hunter2'", acme=text)
    assert "plugins.acme.secret" in str(caught.value)
    fails(folder, "plugins.acme.secret", extra="[plugins.acme]\nsecret = 'hunter2'", acme=text)


@pytest.mark.parametrize("enabled, extra, says", [
    (["acmee"], "", "f.toml: 'plugins.enabled': no plugin 'acmee' is installed or in 'plugins.paths'; did you mean "
                    "'acme'?"),
    (["-depseek", "*"], "", "no plugin 'depseek' is installed or in 'plugins.paths'; did you mean 'deepseek'?"),
    (["acme"], "[plugins.acne]\nx = 1", "f.toml: 'plugins.acne': no plugin 'acne'"),
])
def test_an_unknown_name_names_the_nearest(folder, enabled, extra, says):
    fails(folder, says, enabled=enabled, extra=extra, acme=ACME)


def test_a_missing_folder_is_named():
    with pytest.raises(ConfigError, match=r"'plugins\.paths': nowhere is not a folder"):
        loader.load(parse("[plugins]\npaths = ['nowhere']", "f.toml"))


def test_two_plugins_of_one_name_are_named_both(folder):
    fails(folder, "two plugins are named 'openai'", "entry point smartoken_plugins.openai", "openai.py", openai=ACME)


@pytest.mark.parametrize("text, says", [
    ("raise RuntimeError('no luck')", "importing it failed: RuntimeError: no luck"),
    ("import sys; sys.exit(3)", "importing it failed: SystemExit: 3"),
    ("def broken(:", "importing it failed: SyntaxError"),
    (HEAD, "it gives nothing; mark its hooks with @hookimpl"),
    (ACME.replace("@hookimpl\n", ""), "hook smartoken_providers: the mark @hookimpl is missing"),
    (ACME.replace("smartoken_providers", "smartoken_provider"), "there is no hook 'smartoken_provider'; did you mean "
                                                                "'smartoken_providers'?"),
    (ACME.replace("providers()", "providers(conf)"), "hook smartoken_providers: there is no argument 'conf'; write "
                                                     "smartoken_providers()"),
    (HEAD + "@hookimpl\ndef smartoken_models(provder):\n    return []", "no argument 'provder'; write "
                                                                         "smartoken_models(provider)"),
    (ACME.replace("def ", "async def "), "hook smartoken_providers: write `def`, not `async def`"),
    (ACME.replace("@hookimpl", "@hookimpl(wrapper=True)"), "wrappers are not supported"),
    (ACME + "\n@hookimpl(specname='smartoken_providers')\ndef more():\n    return []", "two functions implement it"),
    (ACME.replace("return [", "return 1 / 0 + ["), "hook smartoken_providers failed: ZeroDivisionError"),
    (ACME.replace("return [", "return ([").replace("]\n", "], 1)\n"), "must give a list of Provider; one is list"),
    (ACME.replace("return [", "return {'acme': ").replace("]\n", "}\n"), "must give a list of Provider, not dict"),
    (ACME.replace("'acme'", "'Acme!'").replace('"acme"', '"Acme!"'), "provider 'Acme!': slug must be"),
    (ACME.replace("https://api.acme.ai", "api.acme.ai"), "provider 'acme': base_url must look like https://"),
    (ACME.replace("/v1", "/v1/"), "no slash at its end"),
    (ACME.replace("/chat", "chat"), "the path of wire 'openai.chat' must start with '/'"),
    (ACME.replace("speaks=", "errors={'x': 'retri'}, speaks="), "error 'x' has the unknown meaning 'retri'; did you "
                                                                "mean 'retry'?"),
    (ACME.replace("speaks={", "speaks={}, quirks={"), "speaks must be {wire: path} with at least one wire"),
    (ACME.replace('speaks=', 'headers=(("x", "a\\r\\nb"),), speaks='), "holds a control character"),
    (HEAD + "@hookimpl\ndef smartoken_adapters():\n    return {'stor': {}}",
     "unknown port 'stor'; did you mean 'store'?"),
    (HEAD + "@hookimpl\ndef smartoken_adapters():\n    return {'store': {'x': 1}}", "with a function for each name"),
    (HEAD + "@hookimpl\ndef smartoken_gates():\n    return [1]", "must give a list of functions; one is int"),
    (HEAD + "@hookimpl\ndef smartoken_gates():\n    return 1", "hook smartoken_gates: gave int"),
    (HEAD + "async def deny(key, ask): pass\n@hookimpl\ndef smartoken_gates():\n    return [deny]",
     "gate deny is asked in every request and never awaited; write `def`, not `async def`"),
    (HEAD + "class Deny:\n    async def __call__(self, key, ask): pass\n@hookimpl\ndef smartoken_gates():\n"
            "    return [Deny()]", "never awaited; write `def`, not `async def`"),
    (HEAD + "async def pick(ask, members): pass\n@hookimpl\ndef smartoken_routers():\n    return {'dear': pick}",
     "router 'dear' is asked in every request and never awaited; write `def`, not `async def`"),
    (HEAD + "def look(arguments): return ''\n@hookimpl\ndef smartoken_tools():\n"
            "    return [Tool('look', 'Looks', {'type': 'object'}, look)]",
     "tool 'look': its call is awaited; write `async def`, not `def`"),
    (HEAD + "class Page:\n    permission = 'sytem.read'\n@hookimpl\ndef smartoken_handlers():\n"
            "    return [('/console/x', Page)]", "there is no permission 'sytem.read'; did you mean 'system.read'?"),
    (HEAD + "@hookimpl\ndef smartoken_handlers():\n    return [('/x',)]", "(pattern, handler class[, arguments])"),
])
def test_a_mistake_names_plugin_file_and_remedy(folder, tmp_path, text, says):
    fails(folder, "plugin 'acme'", str(tmp_path / "acme.py"), says, acme=text)


def test_a_failed_import_leaves_nothing_behind(folder):
    fails(folder, "importing it failed", acme="raise RuntimeError('x')")
    assert "smartoken_plugin_file_acme" not in sys.modules


WIRE = HEAD + """
def nothing(*given): return b""
@hookimpl
def smartoken_wires():
    return [Wire(%r, ("/v1/%s",), *[nothing] * 7)]
"""


def test_what_two_plugins_give_is_refused_naming_both(folder):
    fails(folder, "plugin 'two'", "gives provider 'acme', which plugin 'one' gave already", one=ACME, two=ACME)
    fails(folder, "plugin 'two'", "gives path '/v1/chat', which plugin 'one' gave already", one=WIRE % ("a", "chat"),
          two=WIRE % ("b", "chat"))
    fails(folder, "plugin 'two'", "gives wire 'a', which plugin 'one' gave already", one=WIRE % ("a", "chat"),
          two=WIRE % ("a", "talk"))
    sqlite = HEAD + "@hookimpl\ndef smartoken_adapters():\n    return {'store': {'sqlite': print}}"
    fails(folder, "gives store 'sqlite', which plugin 'built-in' gave already", mine=sqlite)


def test_the_registry_is_frozen_and_holds_every_kind(folder):
    everything = HEAD + """
def nothing(*given): return b""
async def search(arguments): return ""
class Page: pass
@hookimpl
def smartoken_bridges(): return [Bridge("a", "b", nothing, nothing, nothing)]
@hookimpl
def smartoken_tools(): return [Tool("search", "Searches", {"type": "object"}, search)]
@hookimpl
def smartoken_routers(): return {"cheapest": nothing}
@hookimpl
def smartoken_gates(): return [nothing]
@hookimpl
def smartoken_handlers(): return [("/page", Page)]
@hookimpl
def smartoken_sign_ins():
    return [SignIn("acme", "Acme", "acme", "acme:", ["Acme's terms apply."], "acme.json", *[nothing] * 7)]
@hookimpl
def smartoken_adapters(): return {"media": {"nowhere": lambda url: ("media at", url)}}
"""
    registry = folder(everything=everything).registry
    assert registry.bridges["a", "b"].target == "b"
    assert registry.tools["search"].name == "search" and "cheapest" in registry.routers
    assert registry.sign_ins["acme"].prefix == "acme:"
    assert len(registry.gates) == 1 and registry.handlers[0][0] == "/page"
    assert registry.adapter("media", "nowhere://x") == ("media at", "nowhere://x")
    assert set(registry.gave["everything"]) == {"bridge a -> b", "tool search", "router cheapest", "gate nothing",
                                                "page /page", "media nowhere", "sign-in acme"}
    with pytest.raises(TypeError):
        registry.providers["x"] = None
    with pytest.raises(AttributeError):
        registry.gates = ()


def test_a_sign_in_says_whose_terms_apply_and_can_do_all_of_it(folder):
    sign_in = HEAD + """
@hookimpl
def smartoken_sign_ins(): return [SignIn("acme", "Acme", "acme", %s, "acme.json", *[%s] * 7)]
"""
    fails(folder, "plugin 'mine'", "sign-in 'acme': terms must be a list of sentences",
          mine=sign_in % ("'acme:', 'Ours.'", "print"))
    fails(folder, "plugin 'mine'", "sign-in 'acme': prefix must be that of its credentials",
          mine=sign_in % ("'acme', ['Ours.']", "print"))
    fails(folder, "plugin 'mine'", "sign-in 'acme': accounts must be a function",
          mine=sign_in % ("'acme:', ['Ours.']", "None"))


def test_an_unknown_scheme_names_the_nearest():
    registry = loader.load(parse("", "f.toml")).registry
    with pytest.raises(ConfigError, match=r"f\.toml: 'store\.url': no enabled plugin brings the scheme 'sqlit'; did "
                                          "you mean 'sqlite'"):
        registry.adapter("store", "sqlit:///x", "f.toml")
