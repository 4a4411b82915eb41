"""Parts of forms as HTML text, for `{% raw w.text(…) %}`. Whatever comes in is escaped here; labels are translated by
whoever calls, except the few words that stand here."""

from collections.abc import Iterable, Mapping
from typing import Any

from tornado.escape import xhtml_escape
from tornado.locale import Locale

TONES = {"ok": "good", "signed in": "good", "active": "good", "up": "good", "cut": "warn", "broken": "bad", "failed": "bad",
         "refused": "warn",
         "killed": "bad", "void": "", "suspended": "bad", "revoked": "bad", "expired": "warn", "off": "",
         "resting": "warn", "being tried": "warn",
         "out of service": "bad", "must sign in again": "bad", "down": "bad", "hidden": ""}


class Widgets:
    """Made for one page, in one language."""

    def __init__(self, locale: Locale):
        self._ = locale.translate

    def text(self, name: str, label: str, value: Any = "", hint: str = "", *, type: str = "text", cls: str = "",
             prefix: str = "", required: bool = False, wide: bool = False, wrong: str = "", **more: Any) -> str:
        """One line of text. `hint` is plain text below it, `wrong` what is wrong with it; `more` are attributes (`_`
        becomes `-`)."""
        id = more.pop("id", f"f-{name}")
        attributes = _attributes({"id": id, "name": name, "type": type, "class": cls or None,
                                  "value": "" if value is None else value, "required": required,
                                  **_described(id, hint, wrong), **more})
        field = f"<input {attributes}>"
        if prefix:
            field = f'<div class="affix"><span aria-hidden="true">{_(prefix)}</span>{field}</div>'
        return _field(name, label, field, hint, wide, id, wrong)

    def number(self, name: str, label: str, value: Any = "", hint: str = "", **more: Any) -> str:
        """A whole number; 0 is shown as empty where the hint says that 0 is no limit."""
        return self.text(name, label, "" if value in (0, None) else value, hint, inputmode="numeric", **more)

    def usd(self, name: str, label: str, value: Any = "", hint: str = "", **more: Any) -> str:
        """An amount in USD, as text, so that it stays exact."""
        return self.text(name, label, value, hint, prefix="$", inputmode="decimal", autocomplete="off", **more)

    def area(self, name: str, label: str, value: str = "", hint: str = "", *, wide: bool = True, wrong: str = "",
             **more: Any) -> str:
        """Several lines."""
        attributes = _attributes({"id": f"f-{name}", "name": name, "class": more.pop("cls", None),
                                  **_described(f"f-{name}", hint, wrong), **more})
        return _field(name, label, f"<textarea {attributes}>{_(value)}</textarea>", hint, wide, wrong=wrong)

    def select(self, name: str, label: str, options: Iterable[tuple[str, str]], value: str = "", hint: str = "",
               wrong: str = "", **more: Any) -> str:
        """One of a few: (value, label)."""
        attributes = _attributes({"id": f"f-{name}", "name": name, **_described(f"f-{name}", hint, wrong), **more})
        rows = "".join(f'<option value="{_(key)}"{" selected" if key == value else ""}>{_(text)}</option>'
                       for key, text in options)
        return _field(name, label, f"<select {attributes}>{rows}</select>", hint, False, wrong=wrong)

    def check(self, name: str, label: str, on: bool = False, hint: str = "", *, value: str = "1", id: str = "",
              **more: Any) -> str:
        """A box to tick."""
        id = id or f"f-{name}"
        attributes = _attributes({"id": id, "name": name, "type": "checkbox", "value": value, "checked": on, **more})
        said = f'<span class="hint small muted"><br>{_(hint)}</span>' if hint else ""
        return f'<div class="check"><input {attributes}><label for="{_(id)}">{_(label)}{said}</label></div>'

    def boxes(self, name: str, label: str, options: Iterable[tuple[str, str]], chosen: Iterable[str],
              hint: str = "", wrong: str = "") -> str:
        """Any of a few, each a box of the same name."""
        rows = "".join(self.check(name, text, key in set(chosen), value=key, id=f"f-{name}-{key}")
                       for key, text in options)
        said = (f'<span class="hint">{_(hint)}</span>' if hint else "") + _wrong(f"f-{name}", wrong)
        return (f'<div class="field full" role="group" aria-label="{_(label)}"><span class="legend small">{_(label)}'
                f'</span><div class="boxes">{rows}</div>{said}</div>')

    def rule_field(self, field: Any, prefix: str, value: Any, options: Iterable[tuple[str, str]],
                   wrong: Mapping[str, str]) -> str:
        """A field of console/rules.py, by its kind. `wrong` is {name in the form: what is said beside it}."""
        name, label, hint = prefix + field.name, self._(field.label), self._(field.hint) if field.hint else ""
        said = self._(wrong[name]) if name in wrong else ""
        match field.kind:
            case "yesno":
                rows = [("", "–"), ("yes", self._("yes")), ("no", self._("no"))]
                return self.select(name, label, rows, value, hint, wrong=said)
            case "choice":
                return self.select(name, label, options, value, hint, wrong=said)
            case "many":
                return self.boxes(name, label, options, value, hint, wrong=said) if options else ""
            case "lines":
                return self.area(name, label, value, hint, wrong=said, cls="mono", rows=4, spellcheck="false")
            case "usd":
                return self.usd(name, label, value, hint, wrong=said)
            case "number":
                return self.number(name, label, value, hint, wrong=said)
        return self.text(name, label, value, hint, wrong=said, wide=field.kind == "text" or field.name in ("pick", "keywords"), autocomplete="off")

    def badge(self, word: str, tone: str | None = None) -> str:
        """A state as a coloured word, translated."""
        tone = TONES.get(word, "") if tone is None else tone
        return f'<span class="badge {tone}">{_(self._(word))}</span>'

    def note(self, tone: str, icon: str, text: str, url: str = "", label: str = "") -> str:
        """A sentence in a box, perhaps with a link below that opens beside this page."""
        more = f'<p><a href="{_(url)}" target="_blank" rel="noopener">{_(label)}</a></p>' if url else ""
        role = "alert" if tone in ("bad", "warn") else "status"
        return f'<div class="note {tone}" role="{role}">{icon}<div><p>{_(text)}</p>{more}</div></div>'

    def bar(self, share: float, label: str = "", *, fills: bool = False) -> str:
        """A share from 0 to 1 as a meter; one that `fills` is no good news at its end."""
        warns = ' low="0.75" high="0.95" optimum="0"' if fills else ""
        named = f' aria-label="{_(label)}"' if label else ""
        return f'<meter min="0" max="1"{warns}{named} value="{min(1.0, max(0.0, share)):.4f}">{share:.0%}</meter>'


def _(text: Any) -> str:
    return xhtml_escape(str(text))


def _attributes(given: Mapping[str, Any]) -> str:
    return " ".join(name.rstrip("_").replace("_", "-") if value is True else
                    f'{name.rstrip("_").replace("_", "-")}="{_(value)}"'
                    for name, value in given.items() if value is not None and value is not False)


def _described(id: str, hint: str, wrong: str) -> dict[str, Any]:
    """What a screen reader is to read with a field."""
    ids = " ".join([*([f"e-{id}"] if wrong else []), *([f"h-{id}"] if hint else [])])
    return {"aria-describedby": ids or None, "aria-invalid": "true" if wrong else None}


def _wrong(id: str, wrong: str) -> str:
    return f'<span class="wrong" id="e-{_(id)}">{_(wrong)}</span>' if wrong else ""


def _field(name: str, label: str, field: str, hint: str, wide: bool, id: str = "", wrong: str = "") -> str:
    id = id or f"f-{name}"
    said = _wrong(id, wrong) + (f'<span class="hint" id="h-{_(id)}">{_(hint)}</span>' if hint else "")
    return (f'<div class="field{" full" if wide else ""}"><label for="{_(id)}">{_(label)}</label>{field}{said}'
            "</div>")
