"""The limiter against a model that knows only the rule of the port, with time held by hand."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartoken.adapters.clock import SystemClock
from smartoken.adapters.memory import MINUTE_US, MemoryLimiter, open_memory
from smartoken.errors import ConfigError
from smartoken.ports import Want


class HeldClock:
    """A Clock that moves when told."""

    def __init__(self):
        self.us = 10**12

    def now_ms(self) -> int:
        return self.us // 1000

    def mono_us(self) -> int:
        return self.us


LIMITS = {"key": (7, 60), "account": (600, 60), "channel": (1_000_003, 5), "one": (1, 60)}


class Model:
    """GCRA as written in the port: never forgets a key, counts in Python's exact fractions where it rounds."""

    def __init__(self):
        self.tat: dict[str, int] = {}

    @staticmethod
    def us(want: Want, cost: int) -> int:
        exact = Fraction(cost * MINUTE_US, want.limit)
        return exact.numerator // exact.denominator + (exact.denominator != 1)

    def take(self, now: int, wants: list[Want]) -> bool:
        trial = dict(self.tat)
        for want in wants:
            trial[want.key] = max(trial.get(want.key, 0), now) + self.us(want, want.cost)
            if trial[want.key] - now > want.burst_s * 1_000_000:
                return False
        self.tat = trial
        return True

    def correct(self, now: int, want: Want, actual: int) -> None:
        base = max(self.tat.get(want.key, 0), now)
        self.tat[want.key] = max(now, base + self.us(want, actual) - self.us(want, want.cost))


names = st.sampled_from(sorted(LIMITS))
wants = st.builds(lambda name, who, cost: Want(f"{name}:{who}", LIMITS[name][0], cost, LIMITS[name][1]),
                  names, st.integers(0, 3), st.one_of(st.integers(0, 3), st.integers(0, 200_000)))
steps = st.one_of(
    st.tuples(st.just("take"), st.lists(wants, min_size=1, max_size=5)),
    st.tuples(st.just("correct"), st.tuples(wants, st.integers(0, 200_000))),
    st.tuples(st.just("wait"), st.integers(0, 90_000_000)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=60))
def test_agrees_with_the_model_at_every_step(run):
    clock, model = HeldClock(), Model()
    limiter = MemoryLimiter(clock)
    for kind, what in run:
        if kind == "wait":
            clock.us += what
        elif kind == "correct":
            want, actual = what
            limiter.correct(want, actual)
            model.correct(clock.us, want, actual)
        else:
            before = [limiter.left(want) for want in what]
            refused = limiter.take(what)
            assert (refused is None) == model.take(clock.us, what)
            if refused is not None:
                assert refused[0] in what and refused[1] > 0
                assert [limiter.left(want) for want in what] == before, "a refused take took something"
        for name, (limit, burst_s) in LIMITS.items():
            want = Want(f"{name}:0", limit, 1, burst_s)
            assert limiter.left(want)[1] == max(model.tat.get(want.key, 0) - clock.us, 0)


@given(wants, st.integers(0, 100_000))
@settings(deadline=None)
def test_left_is_exactly_what_may_still_be_taken(want, first):
    limiter = MemoryLimiter(HeldClock())
    limiter.take([Want(want.key, want.limit, first, want.burst_s)])
    some = limiter.left(want)[0]
    assert limiter.take([Want(want.key, want.limit, some + 1, want.burst_s)]) is not None
    assert limiter.take([Want(want.key, want.limit, some, want.burst_s)]) is None


@given(st.integers(1, 500), st.integers(1, 50))
@settings(deadline=None)
def test_passes_after_the_wait_it_named_and_not_a_microsecond_before(limit, cost):
    clock = HeldClock()
    limiter, want = MemoryLimiter(clock), Want("k", limit, min(cost, limit), 60)
    refused = None
    while refused is None:
        refused = limiter.take([want])
    clock.us += refused[1] - 1
    assert limiter.take([want]) is not None
    clock.us += 1
    assert limiter.take([want]) is None


def test_a_limit_names_the_longest_wait_and_takes_nothing_of_the_others():
    clock = HeldClock()
    limiter = MemoryLimiter(clock)
    slow, quick, free = Want("slow", 1, 1), Want("quick", 60, 31), Want("free", 100, 1)
    assert limiter.take([slow, quick]) is None
    assert limiter.take([free, quick, slow]) == (slow, 60_000_000)
    assert limiter.left(free) == (100, 0)


def test_two_wants_on_one_key_are_counted_together():
    limiter, want = MemoryLimiter(HeldClock()), Want("k", 10, 6)
    assert limiter.take([want, want]) is not None
    assert limiter.left(want) == (10, 0)


def test_giving_back_never_stores_credit():
    limiter, want = MemoryLimiter(HeldClock()), Want("k", 100, 50)
    assert limiter.take([want]) is None
    limiter.correct(Want("k", 100, 90), 0)
    assert limiter.left(want) == (100, 0)


def test_dead_keys_do_not_pile_up_and_live_ones_stay():
    clock = HeldClock()
    limiter = MemoryLimiter(clock)
    kept = Want("kept", 1, 1, 600)
    assert limiter.take([kept] * 10) is None
    for number in range(5_000):
        clock.us += 100_000
        assert limiter.take([Want(f"visitor {number}", 60, 1)]) is None
    assert len(limiter) < 50
    assert limiter.left(kept)[1] == 100_000_000


def test_memory_is_bounded_even_when_every_key_lives():
    limiter = MemoryLimiter(HeldClock(), max_keys=1_000)
    for number in range(5_000):
        limiter.take([Want(f"visitor {number}", 1, 1)])
    assert len(limiter) <= 1_000


def test_opens_for_its_url_only_and_runs_on_the_real_clock():
    limiter = open_memory("memory://")
    want = Want("k", 1, 1)
    assert limiter.take([want]) is None
    assert limiter.take([want]) is not None
    with pytest.raises(ConfigError, match="memory://"):
        open_memory("memory://host")


def test_the_real_clock_runs_forward():
    clock = SystemClock()
    marks = [clock.mono_us() for _ in range(100)]
    assert marks == sorted(marks) and type(marks[0]) is int and type(clock.now_ms()) is int
