"""Every text of the console that is shown in a language: what _() is called with in templates, and what pages, menu,
states and messages are made of. A test proves that each stands in each language's file."""

import ast
import csv
import re
from pathlib import Path

from smartoken_plugins.chatgpt_oauth.accounts import FILE
from smartoken_plugins.chatgpt_oauth.issuer import CHATGPT

from smartoken.console import nav, page, rules, shelf, site, widgets
from smartoken.console.pages import dashboard, my_keys, playground
from smartoken.console.pages.models import PRICES, TYPES
from smartoken.domain import usage
from smartoken.domain.account import KINDS
from smartoken.domain.people import ROLES
from smartoken.plugin.types import MEANINGS

CONSOLE = Path(nav.__file__).parent
CALL = re.compile(r"""_\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\)""")
LABELS = re.compile(r"""_\(\{([^}]*)\}""")


def texts() -> set[str]:
    """All of them, in English."""
    found = {*page.DONE.values(), *widgets.TONES, *ROLES, *TYPES, *PRICES, *KINDS, *MEANINGS,
             "1,000 cached in + 1,000 out",
             *CHATGPT.terms, CHATGPT.title, FILE, "1 image", "1,000 characters", "1 cloned voice", usage.REPORTED,
             usage.COUNTED, usage.ESTIMATED, usage.NONE, "head",
             "first bytes",
             "end", "store", "limiter", "media"}
    found |= {text for field in (*rules.RULE, *rules.WHOLE_MODEL) for text in (field.label, field.hint, field.wrong)}
    found |= {*rules.ORDERS, *rules.NAMES.values(), "yes", "no"}
    for group, entries in nav.MENU:
        found |= {group, *(entry.label for entry in entries)}
    for template in (CONSOLE / "templates").glob("*.html"):
        text = template.read_text(encoding="utf-8")
        found |= {one or two for one, two in CALL.findall(text)}
        found |= set(re.findall(r'w\.badge\("([^"]+)"', text))
        for labels in LABELS.findall(text):
            found |= set(re.findall(r':\s*"([^"]+)"', labels))
    for source in [*(CONSOLE / "pages").glob("*.py"), CONSOLE / "page.py", CONSOLE / "widgets.py"]:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "translate" \
                    and node.args and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return (found | of_the_site()) - {""}


def of_the_site() -> set[str]:
    """What the pages for buyers say from tables: the bar, types and filters, lines of prices, modes, refusals."""
    pages = (CONSOLE / "pages").glob("*.py")
    said = {word for path in pages
            for word in re.findall(r'refuse\("\w+",\s*"([^"]+)"', path.read_text(encoding="utf-8"))
            if path.name.startswith("my_") or path.stem in ("market", "sign_up", "dashboard", "playground")}
    lines = (CONSOLE / "shelf.py").read_text(encoding="utf-8")
    return said | {place.label for place in site.BAR} | {label for kind in shelf.TYPES.values() for label in kind[:2]} \
        | {label for _, label in (*shelf.PRICES, *shelf.CONTEXTS, *my_keys.LIVES)} | set(shelf.SORTS) \
        | set(dashboard.MEASURES.values()) | {mode[1] for mode in playground.MODES.values()} \
        | set(re.findall(r'Line\("([^"]+)"', lines)) | set(re.findall(r'"(per [^"]+)"', lines))


def known(language: str) -> dict[str, str]:
    """{English: the other language} of a locale file."""
    with (CONSOLE / "locale" / f"{language}.csv").open(encoding="utf-8", newline="") as file:
        return {row[0]: row[1] for row in csv.reader(file) if row}
