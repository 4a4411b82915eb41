"""A composite model as fields of a form: what is stored, what was typed, and what is wrong with it, field by field.

The conditions are those of domain.documents.RuleDoc, in the order in which engine/composite.py looks at them. A draft
holds texts only, as typed: {"members": "a\\nb", "order": "listed", …, "rules": [{"reason": "…", …}, …]}.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from smartoken.console import figures
from smartoken.console.form import Form
from smartoken.domain.documents import CompositeDoc, Order
from smartoken.engine.composite import SCRIPTS

ORDERS = get_args(Order)
LANGUAGES = tuple(sorted(SCRIPTS))
NAMES = {"ar": "Arabic", "el": "Greek", "he": "Hebrew", "hi": "Hindi", "ja": "Japanese", "ko": "Korean", "latin": "Latin letters",
         "ru": "Russian", "th": "Thai", "zh": "Chinese"}
MOST_RULES = 64


class Field(NamedTuple):
    """One field of the form. `wrong` is what is said beside it when it cannot be understood."""

    name: str
    kind: str          # a name of KINDS
    label: str
    hint: str
    wrong: str


WHOLE, DOLLARS, CHOICE = "A whole number, 0 or more.", "USD with at most six decimals, such as 0.28.", "Choose one of these."
RULE = (
    Field("tools", "yesno", "Tools", "Whether the client brings tools of its own.", CHOICE),
    Field("images", "yesno", "Images", "Whether there are images in the request.", CHOICE),
    Field("min_input_tokens", "number", "Prompt of at least, tokens", "", WHOLE),
    Field("max_input_tokens", "number", "Prompt of at most, tokens", "", WHOLE),
    Field("keywords", "words", "Keywords", "Any of these words is in the request. Parted by commas.",
          "Words of at most 64 characters each."),
    Field("languages", "many", "Languages", "What the last message is written in.", CHOICE),
    Field("pick", "words", "Members", "In this order, parted by commas. Empty: all of them.", "Only members, by their names."),
    Field("order", "choice", "Which of them", "", CHOICE),
    Field("max_output_per_mtok", "usd", "Output price of at most, per million tokens", "Dearer members are left out.", DOLLARS),
    Field("max_first_ms", "number", "First byte within, milliseconds", "Slower members are left out.", WHOLE),
    Field("reason", "text", "Reason", "What clients read in “thinking”. Empty: told from the rule.", "At most 200 characters."),
)
WHOLE_MODEL = (
    Field("members", "lines", "Members", "Models, a line each. The order is that of the last resort.",
          "Models that are there and no composites themselves, by their names; from 1 to 32."),
    Field("order", "choice", "Which of them, where no rule holds", "", CHOICE),
    Field("router", "choice", "Router", "A plugin's picker, asked before the rules.", CHOICE),
    Field("tools", "many", "Tools run here", "They are charged as the model's prices say.", CHOICE),
    Field("max_rounds", "number", "Rounds of tools at most", "", "A whole number from 1 to 16."),
    Field("max_seconds", "number", "Seconds for tools at most", "", "A whole number from 1 to 600."),
    Field("max_cost", "usd", "No tools past a cost of", "Empty: no such limit.", DOLLARS),
)
NEW_RULE: Mapping[str, Any] = {field.name: [] if field.kind == "many" else "" for field in RULE} | {"order": "listed"}
YES_NO = {None: "", True: "yes", False: "no"}

# kind: (as it is stored -> as one types it, as it was typed -> as a document wants it; what cannot be understood stays)
KINDS: Mapping[str, tuple[Any, Any]] = {
    "text": (str, str),
    "choice": (str, str),
    "yesno": (YES_NO.get, lambda typed: {"": None, "yes": True, "no": False}.get(typed, typed)),
    "number": (lambda stored: str(stored) if stored else "", lambda typed: _number(typed)),
    "usd": (lambda stored: figures.exact_u(stored) if stored is not None else "", lambda typed: typed or None),
    "words": (", ".join, lambda typed: [word.strip() for word in typed.replace("\n", ",").split(",") if word.strip()]),
    "lines": ("\n".join, lambda typed: typed.split()),
    "many": (list, list),
}


def draft_of(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is stored (None: no composite yet) as a draft."""
    given = stored or {"members": []}
    doc = {name: field.get_default(call_default_factory=True) for name, field in CompositeDoc.model_fields.items()
           if not field.is_required()} | dict(given)
    draft = _shown(WHOLE_MODEL, doc)
    draft["max_cost"] = draft["max_cost"] if doc["max_cost"] else ""
    return draft | {"rules": [_shown(RULE, {"order": "listed", **rule}) for rule in given.get("rules", ())]}


def typed(form: Form) -> dict[str, Any]:
    """What was typed as a draft."""
    count = form.number("rules")
    count = count if isinstance(count, int) and 0 <= count <= MOST_RULES else 0
    return _read(form, WHOLE_MODEL, "") | {"rules": [_read(form, RULE, f"r{at}.") for at in range(count)]}


def moved(draft: dict[str, Any], do: str) -> tuple[dict[str, Any], str]:
    """(the draft after a button of the rules: add, up.2, down.2, remove.2; the rule to look at next as `rule-2`)."""
    rules = list(draft["rules"])
    what, _, text = do.partition(".")
    at = int(text) if text.isascii() and text.isdigit() and int(text) < len(rules) else -1
    if what == "add" and len(rules) < MOST_RULES:
        rules.append(dict(NEW_RULE))
        at = len(rules) - 1
    elif at >= 0 and what == "remove":
        del rules[at]
        at -= 1
    elif at >= 0 and what in ("up", "down"):
        to = max(0, at - 1) if what == "up" else min(len(rules) - 1, at + 1)
        rules.insert(to, rules.pop(at))
        at = to
    return {**draft, "rules": rules}, f"rule-{at}" if at >= 0 else "rules"


def checked(draft: Mapping[str, Any], models: Collection[str], routers: Collection[str],
            tools: Collection[str]) -> tuple[CompositeDoc | None, dict[str, str]]:
    """(the document, {}) or (None, {name of a form's field: what is said beside it}). `models` may be members."""
    given = _document(WHOLE_MODEL, draft) | {"rules": [_document(RULE, rule) for rule in draft["rules"]]}
    wrong: dict[str, str] = {}
    try:
        doc = CompositeDoc.model_validate(given)
    except ValidationError as error:
        for fault in error.errors():
            field, name = _place(fault["loc"])
            wrong[name] = field.wrong
        doc = None
    members = given["members"]
    if set(members) - set(models) or len(set(members)) != len(members):
        wrong["members"] = _named(WHOLE_MODEL, "members").wrong
    if given["router"] and given["router"] not in routers:
        wrong["router"] = CHOICE
    if set(given["tools"]) - set(tools):
        wrong["tools"] = CHOICE
    for at, rule in enumerate(given["rules"]):
        if set(rule["pick"]) - set(members):
            wrong[f"r{at}.pick"] = _named(RULE, "pick").wrong
    return (None, wrong) if wrong else (doc, {})


def _place(loc: tuple) -> tuple[Field, str]:
    """The field that a fault of pydantic is about, and its name in the form."""
    if loc[0] == "rules" and len(loc) > 2:
        return _named(RULE, str(loc[2])), f"r{loc[1]}.{loc[2]}"
    return _named(WHOLE_MODEL, str(loc[0])), str(loc[0])


def _named(fields: tuple[Field, ...], name: str) -> Field:
    return next(field for field in fields if field.name == name)


def _shown(fields: tuple[Field, ...], doc: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: KINDS[field.kind][0](doc[field.name]) if field.name in doc else NEW_RULE[field.name]
            for field in fields}


def _read(form: Form, fields: tuple[Field, ...], prefix: str) -> dict[str, Any]:
    return {field.name: form.many(prefix + field.name) if field.kind == "many" else
            (form.usd(prefix + field.name) or "") if field.kind == "usd" else form.text(prefix + field.name)
            for field in fields}


def _document(fields: tuple[Field, ...], draft: Mapping[str, Any]) -> dict[str, Any]:
    """As a document wants it; what was left empty is left out, so that the document's own default stands."""
    made = {field.name: KINDS[field.kind][1](draft[field.name]) for field in fields}
    return {name: value for name, value in made.items() if value is not None and value != ""} | {
        name: "" for name in ("reason", "router") if name in made and made[name] == ""}


def _number(text: str) -> Any:
    digits = text.replace(",", "").replace(" ", "")
    return int(digits) if digits.isascii() and digits.isdigit() else text or None
