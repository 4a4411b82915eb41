"""Fields of an HTML form as the values that a body wants. What does not parse goes on as it was written, so that the
one who checks bodies says what is wrong with it."""

import json
from datetime import datetime
from typing import Any

from tornado.web import RequestHandler

from smartoken.errors import ConfigError


class Form:
    """Reads the fields of a request's body."""

    def __init__(self, handler: RequestHandler):
        self._get, self._all = handler.get_body_argument, handler.get_body_arguments

    def text(self, name: str) -> str:
        return self._get(name, "").strip()

    def secret(self, name: str) -> str:
        """As typed, spaces too."""
        return self._get(name, "", strip=False)

    def flag(self, name: str) -> bool:
        return self._get(name, "") != ""

    def number(self, name: str, default: int = 0) -> Any:
        """A whole number; commas and spaces between digits are fine."""
        text = self.text(name).replace(",", "").replace(" ", "").replace("_", "")
        if not text:
            return default
        return int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else self.text(name)

    def usd(self, name: str) -> str | None:
        """USD as text, None when nothing was written."""
        return self.text(name).replace(",", "").removeprefix("$") or None

    def many(self, name: str) -> list[str]:
        """The values of boxes of one name."""
        return [value for value in self._all(name) if value]

    def words(self, name: str) -> list[str]:
        """Words parted by commas or new lines."""
        return [word.strip() for word in self.text(name).replace("\n", ",").split(",") if word.strip()]

    def numbers(self, name: str) -> list[Any]:
        """Whole numbers parted by commas or new lines."""
        return [int(word) if word.isascii() and word.isdigit() else word for word in self.words(name)]

    def pairs(self, name: str) -> dict[str, str]:
        """Lines such as `1024x1024 = 0.04`; a line without `=` stands for itself."""
        found = {}
        for line in self.text(name).splitlines():
            left, equals, right = line.partition("=")
            if left.strip():
                found[left.strip()] = right.strip() if equals else left.strip()
        return found

    def table(self, name: str) -> Any:
        """A JSON object; {} when nothing was written."""
        text = self.text(name)
        try:
            return json.loads(text) if text else {}
        except ValueError:
            return text


def lines(pairs: dict[str, Any]) -> str:
    """{left: right} as pairs() reads it."""
    return "\n".join(left if left == right else f"{left} = {right}" for left, right in pairs.items())


def as_json(value: Any) -> str:
    """A value as table() reads it, '' for an empty one; text that was no JSON as it was written."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2) if value else ""


def day_end(date: str) -> int:
    """The end of a day in UTC, in ms; 0 for none."""
    if not date:
        return 0
    try:
        return int(datetime.fromisoformat(f"{date}T23:59:59+00:00").timestamp() * 1000)
    except ValueError:
        raise ConfigError(f"the form: {date!r} is no date; write it like 2027-01-31") from None
