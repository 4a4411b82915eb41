"""T13: no sequence of ledger changes, in any order and however often repeated, breaks the books.

The state machine of tests/domain/test_account.py (top up, redeem, adjust, lease, grow, settle, flush old and new, close,
reap, expire, jobs, refunds, time) against its model of what was really spent; a step is one rule of it.
"""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.proof import Means, Proof
from tests.domain.test_account import Books

STEPS = 50


class Counted(Books):
    """Books that count the changes they made."""

    made = 0

    def do(self, kind: str, **delta) -> None:
        Counted.made += 1
        super().do(kind, **delta)


def prove(means: Means) -> Proof:
    runs = 4000 if means.long else 60
    Counted.made = 0
    run_state_machine_as_test(Counted, settings=settings(
        max_examples=runs, stateful_step_count=STEPS, deadline=None, database=None, derandomize=not means.long,
        suppress_health_check=list(HealthCheck)))
    return Proof("ledger changes", Counted.made, 0, {"sequences": runs, "steps in each, at most": STEPS})
