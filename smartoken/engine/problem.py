"""Something of the catalog that does not work."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Where ("channel 'deepseek'"), what, and how to mend it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
