"""What a reconciliation finds, and the page it puts that on."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """`wrong` is a difference; otherwise it is only something to know."""

    rule: str
    where: str
    text: str
    wrong: bool = True


@dataclass
class Page:
    """The outcome. `seal` is a hash over the heads of all chains: two pages with one seal speak of the same books."""

    accounts: int = 0
    entries: int = 0
    rows: int = 0
    charged_p: int = 0
    findings: list[Finding] = field(default_factory=list)
    seal: str = ""

    @property
    def differences(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.wrong]

    def differs(self, rule: str, where: str, text: str) -> None:
        self.findings.append(Finding(rule, where, text))

    def tell(self, rule: str, where: str, text: str) -> None:
        """Something to know."""
        self.findings.append(Finding(rule, where, text, wrong=False))
