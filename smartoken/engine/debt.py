"""What an account owes, by how it came to owe it: R6 and the late settles of R8, told by the entries of its chain.

| entry                                | how it may take main below zero                                  |
|--------------------------------------|------------------------------------------------------------------|
| lease, grow, pend                    | set aside on credit: never below -overdraft                      |
| adjust                               | a person's decision, said to go below zero                       |
| flush, close, reap, post             | requests that cost more than was held, or were settled late      |

Whether an overrun stayed within its bound cannot be told from the books: they do not say what was held for a request,
nor how many ran at once. So only what was set aside on credit is held against the overdraft, and all is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartoken.domain.account import MAIN, State
from smartoken.domain.money import show_p, show_u
from smartoken.engine.finding import Page
from smartoken.ports import Entry

ON_CREDIT = frozenset({"lease", "grow", "pend"})


@dataclass
class Debt:
    """`credit_u` was set aside on credit, `other_u` taken otherwise: together what main is below zero. `late` leases
    were settled after they had been taken back, by `late_p` in all."""

    credit_u: int = 0
    other_u: int = 0
    late: int = 0
    late_p: int = 0

    def follow(self, before: State, link: Entry) -> None:
        """The next entry, after the state `before`; both of a state's form."""
        more_u = max(0, -link.state["pockets"][MAIN]["u"]) - self.credit_u - self.other_u
        if more_u > 0 and link.kind in ON_CREDIT:
            self.credit_u += more_u
        elif more_u > 0:
            self.other_u += more_u
        else:                           # what came in is counted to the credit first
            back_u = min(self.credit_u, -more_u)
            self.credit_u -= back_u
            self.other_u += more_u + back_u
        tomb = before["tomb"].get(link.delta.get("lease")) if link.kind in ("flush", "close") else None
        if tomb is not None:
            self.late += 1
            self.late_p += _more_p(tomb["spent_p"], link.delta.get("spent_p", {}))


def _more_p(known: Mapping[str, int], spent: Mapping[str, Any]) -> int:
    return sum(max(0, amount_p - known.get(name, 0)) for name, amount_p in spent.items())


def check_debt(acct: str, state: State, debt: Debt, overdraft_u: object, page: Page) -> None:
    """R6, and what was settled late. `overdraft_u` is as the account's document has it now."""
    main_u = state["pockets"][MAIN]["u"]
    if type(overdraft_u) is not int:
        page.differs("R6", acct, f"its overdraft is no amount: {overdraft_u!r}")
    elif debt.credit_u > overdraft_u:
        page.differs("R6", acct, f"{show_u(debt.credit_u)} were set aside on credit, it may owe {show_u(overdraft_u)}: "
                                 "its overdraft was lowered since, or a process lent more than it may")
    elif main_u < 0:
        page.tell("R6", acct, f"balance {show_u(main_u)}, may owe {show_u(overdraft_u)}; "
                              f"{show_u(debt.other_u)} of it by adjustments, overruns and late settles")
    for name, pocket in state["pockets"].items():
        if name != MAIN and pocket["u"] < 0:
            page.differs("R6", acct, f"voucher {name} is below zero")
    if debt.late:
        page.tell("R8", acct, f"{debt.late} times a lease was settled after it had been taken back, "
                              f"{show_p(debt.late_p)} in all")
