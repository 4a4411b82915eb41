"""What went wrong, in the language of a page. The rooms below say it in English, with values in it; a row of the
locale file with named holes ("Too many tries; wait {seconds} s.") is a pattern for all such sentences."""

import re
from functools import cache

from tornado.locale import CSVLocale, Locale

HOLE = re.compile(r"\{(\w+)\}")
SPOKEN = ("what", "why")       # holes whose values are words of ours; all others are what people wrote


def tell(locale: Locale, text: str) -> str:
    """A sentence from below in the language of `locale`; as it is where nobody translated it."""
    if not isinstance(locale, CSVLocale):
        return text
    if "\n" in text:
        return "\n".join(tell(locale, line) for line in text.split("\n"))
    known = locale.translations.get("unknown", {})
    if text in known:
        return known[text]
    for pattern, other in _patterns(locale.code):
        if found := pattern.fullmatch(text):
            return other.format(**{name: tell(locale, value) if name in SPOKEN else value
                                   for name, value in found.groupdict().items()})
    return text


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    """(pattern, translation) of the rows with holes; those that say the most come first."""
    known = Locale.get(language).translations.get("unknown", {})
    rows = sorted(((english, other) for english, other in known.items() if HOLE.search(english)),
                  key=lambda row: -len(HOLE.sub("", row[0])))
    return [(re.compile("".join(f"(?P<{part}>.+?)" if at % 2 else re.escape(part)
                                for at, part in enumerate(HOLE.split(english)))), other) for english, other in rows]
