"""Every text of the console that is shown in a language: what _() is called with in templates, and what pages, menu,
states and messages are made of. A test proves that each stands in each language's file."""

import ast
import csv
import re
from pathlib import Path

from smartoken_plugins.chatgpt_oauth.accounts import FILE
from smartoken_plugins.chatgpt_oauth.issuer import CHATGPT

from smartoken.console import figures, nav, page, rules, shelf, site, widgets
from smartoken.console.pages import dashboard, my_keys, playground
from smartoken.console.pages.models import PRICES, TYPES
from smartoken.domain import usage
from smartoken.domain.account import KINDS
from smartoken.domain.people import ROLES
from smartoken.plugin.types import MEANINGS
from smartoken.strict import WORDS
from smartoken.web.answers import BARE

CONSOLE = Path(nav.__file__).parent
SMARTOKEN = CONSOLE.parent
# Where what a page says may come from, and how it is refused there: {name of the call: which argument is the sentence}.
REFUSING = (*CONSOLE.rglob("*.py"), *(SMARTOKEN / "web/admin").glob("*.py"), SMARTOKEN / "web/signed.py", SMARTOKEN / "web/answers.py",
            *(SMARTOKEN / "engine" / f"{name}.py" for name in ("people", "issue", "ledger", "vouchers", "refunds", "changes")),
            *(SMARTOKEN / "domain" / f"{name}.py" for name in ("documents", "pricing", "money")))
REFUSALS = {"refuse": 1, "Refusal": 2, "ConfigError": 0, "Conflict": 0, "Declined": 1, "ValueError": 0}
CALL = re.compile(r"""_\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\)""")
LABELS = re.compile(r"""_\(\{([^}]*)\}""")


def texts() -> set[str]:
    """All of them, in English."""
    found = {*page.DONE.values(), *widgets.TONES, *ROLES, *TYPES, *PRICES, *figures.PRICES.values(), *KINDS, *MEANINGS,
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


def refusals() -> set[str]:
    """Every sentence by which something is refused, as a page gets it, with a sample for each value in it."""
    found = {text for text, _ in BARE.values()} | {f"write {words}" for words in WORDS.values()}
    for source in REFUSING:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS \
                    and len(node.args) > REFUSALS[node.func.id] and (said := _sample(node.args[REFUSALS[node.func.id]])):
                if node.func.id == "ConfigError":
                    said = said.split(": ", 1)[-1]
                    said = said[:1].upper() + said[1:]
                found.add(f"{said}." if node.func.id == "Conflict" else said)
    return found


def _sample(node: ast.expr) -> str:
    """The text of a literal, its values as samples; '' for what is none or has no words of its own."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = [part.value if isinstance(part, ast.Constant) else "7x" for part in node.values]
    return "".join(parts) if re.search(r"[a-z]", "".join(parts).replace("7x", "")) else ""


def of_the_site() -> set[str]:
    """What the pages for buyers say from tables: the bar, types and filters, lines of prices, modes."""
    lines = (CONSOLE / "shelf.py").read_text(encoding="utf-8")
    return {place.label for place in site.BAR} | {label for kind in shelf.TYPES.values() for label in kind[:2]} \
        | {label for _, label in (*shelf.PRICES, *shelf.CONTEXTS, *my_keys.LIVES)} | set(shelf.SORTS) \
        | set(dashboard.MEASURES.values()) | {mode[1] for mode in playground.MODES.values()} \
        | set(re.findall(r'Line\("([^"]+)"', lines)) | set(re.findall(r'"(per [^"]+)"', lines))


def known(language: str) -> dict[str, str]:
    """{English: the other language} of a locale file."""
    with (CONSOLE / "locale" / f"{language}.csv").open(encoding="utf-8", newline="") as file:
        return {row[0]: row[1] for row in csv.reader(file) if row}
