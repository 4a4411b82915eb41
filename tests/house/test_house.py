"""The rules of the house that a machine can hold us to."""

import ast
import configparser
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from smartoken.plugin import spec

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("smartoken", "plugins") for path in (ROOT / room).rglob("*.py"))

# room: what it may import of ours. Everything else of ours is above it.
GROUND = {"errors", "domain"}
MAY_IMPORT = {
    "domain": GROUND | {"strict"},  # strict.py is without I/O; documents are decoded with it
    "errors": set(),
    "strict": GROUND,
    "ports": GROUND,
    "secrets": GROUND | {"strict"},
    "conf": GROUND | {"strict", "secrets"},
    "logs": {"conf"},
    "adapters": GROUND | {"strict", "ports", "secrets", "conf"},
    "upstream": GROUND | {"strict", "ports", "secrets", "conf"},
    "plugin": GROUND | {"strict", "ports", "secrets", "conf", "adapters", "upstream"},
    "engine": GROUND | {"strict", "ports", "secrets", "conf", "plugin", "upstream"},
    "web": GROUND | {"strict", "ports", "secrets", "conf", "plugin", "upstream", "engine"},
    "console": GROUND | {"strict", "ports", "secrets", "conf", "plugin", "upstream", "engine", "web"},
    "supervisor": GROUND | {"conf"},
    "worker": GROUND | {"conf"},
    "smartoken_plugins": {"plugin", "testing"},
}
EVERYTHING = {"main", "assemble", "cli", "testing"}


def room_of(module: str) -> str:
    """'smartoken.engine.relay' -> 'engine'; '' for the package itself."""
    parts = module.split(".")
    return "smartoken_plugins" if parts[0] == "smartoken_plugins" else parts[1] if len(parts) > 1 else ""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = (("smartoken_plugins", *parts[1:]) if parts[0] == "plugins" else parts)
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> set[str]:
    """Modules that a file imports, inside functions too; those for type checkers only are left out."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found.update({node.module} | ({f"{node.module}.{alias.name}" for alias in node.names}
                                          if node.module == "smartoken" else set()))
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found


def test_imports_go_down_the_floors_only():
    wrong = []
    for path in SOURCES:
        room = room_of(module_of(path))
        if room in EVERYTHING or not room:
            continue
        assert room in MAY_IMPORT, f"{path.relative_to(ROOT)}: a room that this test does not know"
        for name in sorted(imports(path)):
            if name.split(".")[0] in ("smartoken", "smartoken_plugins") and room_of(name) not in ({room, ""}
                                                                                                | MAY_IMPORT[room]):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_tornado_stays_in_the_web():
    wrong = [str(path.relative_to(ROOT)) for path in SOURCES
             if room_of(module_of(path)) not in ("web", "main", "console", "testing", "smartoken_plugins")
             and any(name.split(".")[0] == "tornado" for name in imports(path))]
    assert not wrong, wrong


def test_plugins_import_the_door_only():
    """What ours may import is what yours may import (`smartoken.testing` is shipped for plugin authors)."""
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in SOURCES for name in imports(path)
             if path.is_relative_to(ROOT / "plugins") and name.startswith("smartoken.")
             and name != "smartoken.plugin" and not name.startswith("smartoken.testing")]
    assert not wrong, "\n".join(wrong)


HOOKS = {name: value for name, value in vars(spec).items() if name.startswith("smartoken_")}


def test_there_are_hooks():
    assert len(HOOKS) == 15


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_stands_in_the_manual_with_its_exact_signature(name):
    manual = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8").replace("\\|", "|")
    signature = re.sub(r"\b(?:collections\.abc|typing|smartoken\.\w+\.\w+)\.", "", str(inspect.signature(HOOKS[name])))
    assert f"`{name}{signature}`" in manual
    assert len(HOOKS[name].__doc__) > 40


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_listed():
    listed = set(setup_cfg()["options"]["packages"].split())
    there = {module_of(path) for path in SOURCES if path.name == "__init__.py"} | {"smartoken_conf"}
    assert listed == there


def test_every_entry_point_imports_and_every_plugin_has_one():
    entries = dict(map(str.strip, line.split("=")) for line in
                   setup_cfg()["options.entry_points"]["smartoken"].strip().splitlines())
    for module in entries.values():
        importlib.import_module(module)
    there = {path.stem if path.is_file() else path.name for path in (ROOT / "plugins").iterdir()
             if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()}
    assert entries == {name: f"smartoken_plugins.{name}" for name in there}


def test_every_data_file_ships():
    """Files that are not code are found by package_data, or an installed Smartoken lacks them."""
    listed = {name: globs.split() for name, globs in setup_cfg()["options.package_data"].items()}
    folders = {"smartoken": ROOT / "smartoken", "smartoken_plugins": ROOT / "plugins", "smartoken_conf": ROOT / "conf"}
    shipped = {path for name, globs in listed.items() for glob in globs
               for path in folders[name.split(".")[0]].joinpath(*name.split(".")[1:]).glob(glob)}
    told = subprocess.run(["git", "ls-files", "--cached", "smartoken", "plugins", "conf"], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    data = {ROOT / line for line in told.stdout.splitlines() if not line.endswith((".py", "README.md"))}
    assert data <= shipped, data - shipped


# HOUSE "Words": one word, one thing. Whole words of identifiers; only those that have no honest other use here.
FORBIDDEN = {"vendor", "deployment", "relay_mode", "adaptor", "virtual_key", "coupon", "redemption", "pre_consume",
             "post_consume", "wallet", "middleware", "ctx"}


def names(tree: ast.AST) -> set[str]:
    """What a file names itself: functions, classes, arguments, variables, attributes it sets."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) \
                    | ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) \
                    | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return found


def test_we_use_our_words():
    wrong = [f"{path.relative_to(ROOT)}: {name} ({word})" for path in SOURCES
             for name in sorted(names(ast.parse(path.read_text(encoding="utf-8"))))
             for word in FORBIDDEN if f"_{word}_" in f"_{name}_"]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_long_without_a_reason():
    """Past 400 lines the first lines must say why it is one file, with the words 'one file'."""
    wrong = []
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 400 and "one file" not in " ".join(lines[:20]):
            wrong.append(f"{path.relative_to(ROOT)}: {len(lines)} lines")
    assert not wrong, wrong


def test_every_file_opens_by_saying_what_it_is():
    wrong = [str(path.relative_to(ROOT)) for path in SOURCES
             if (text := path.read_text(encoding="utf-8")).strip() and ast.get_docstring(ast.parse(text)) is None]
    assert not wrong, wrong


def test_nothing_runs_on_import():
    """Importing every module starts no thread and opens no socket."""
    modules = [module_of(path) for path in SOURCES if path.name != "__main__.py"]
    code = f"""
import importlib, os, sys, threading
for name in {modules!r}: importlib.import_module(name)
sockets = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)
           and os.readlink('/proc/self/fd/' + fd).startswith('socket:')] if os.path.isdir('/proc/self/fd') else []
print(threading.active_count(), len(sockets))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout.split() == ["1", "0"], told.stdout


def test_the_examples_of_the_manuals_are_true():
    """Python in plugins/README.md compiles; TOML in README.md is TOML, and where it sells models the catalog takes it."""
    from smartoken.engine import catalogfile

    blocks = re.compile(r"```(\w+)\n(.*?)```", re.S)
    manual = blocks.findall((ROOT / "plugins" / "README.md").read_text(encoding="utf-8"))
    assert [compile(text, "README", "exec") for kind, text in manual if kind == "python"]
    front = [text for kind, text in blocks.findall((ROOT / "README.md").read_text(encoding="utf-8")) if kind == "toml"]
    read = [catalogfile.read(text, "README.md") for text in front if "models" in tomllib.loads(text)]
    assert read and all(one["models"] and one["channels"] for one in read)


def manual_of(title: str) -> str:
    """One chapter of plugins/README.md."""
    return (ROOT / "plugins" / "README.md").read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """The names in backquotes in the first cells of a table."""
    return {name for row in re.findall(r"^\| (`[^|]+) \|", text, re.M) for name in re.findall(r"`(\w+)`", row)}


def test_the_manual_names_every_field_of_a_key_and_no_part_of_the_gateway_that_is_not_there():
    from smartoken.engine.gateway import Gateway
    from smartoken.plugin import Key

    assert first_cells(manual_of("What a gate is asked with")) == set(Key.__slots__)
    promised = first_cells(manual_of("What `gateway` is"))
    assert len(promised) == 7 and promised <= set(Gateway.__slots__)


def test_the_links_of_the_manuals_lead_somewhere():
    wrong = [f"{manual.relative_to(ROOT)}: {link}" for manual in sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md"))
             for link in re.findall(r"\]\(([^)#:]+)\)", manual.read_text(encoding="utf-8"))
             if not (manual.parent / link).exists()]
    assert not wrong, wrong
