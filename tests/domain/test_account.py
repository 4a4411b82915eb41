"""The books of an account: fixed examples of each rule, then a state machine against a model that shares no code."""

import json
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from smartoken.domain.account import MAIN, Declined, apply, change, charged_p, empty, imbalance_u
from smartoken.domain.hold import burning_order, draw, pend, post, refund, split_cost

P = 1_000_000


def after(*changes, state=None):
    state = state or empty()
    for kind, delta in changes:
        state = apply(state, kind, delta)
    return state


def rich(u=1000, **vouchers):
    state = after(("topup", {"u": u}))
    for name, (amount, models, prio, exp) in vouchers.items():
        state = after(("redeem", {"pocket": name, "u": amount, "models": models, "prio": prio, "exp_ms": exp}),
                      state=state)
    return state


def lease(id="l", exp_ms=100, floor_u=0, **amt):
    return "lease", {"lease": id, "node": "n", "amt": amt, "exp_ms": exp_ms, "floor_u": floor_u}


def test_apply_leaves_the_given_state_alone():
    state = rich()
    before = json.dumps(state)
    apply(state, *lease(main=100))
    assert json.dumps(state) == before


@pytest.mark.parametrize("bad", [True, 0, -1, 1.0, "5", None, 2**63])
def test_only_real_positive_integers_are_money(bad):
    with pytest.raises(Declined):
        apply(empty(), "topup", {"u": bad})
    with pytest.raises(Declined):
        apply(rich(), *lease(main=bad))


def test_a_lease_cannot_take_what_is_not_there():
    with pytest.raises(Declined) as error:
        apply(rich(10), *lease(main=11))
    assert error.value.code == "funds"
    assert apply(rich(10), *lease(main=15, floor_u=5))["pockets"][MAIN]["u"] == -5
    with pytest.raises(Declined):
        apply(rich(10), *lease(main=16, floor_u=5))
    with pytest.raises(Declined):
        apply(rich(10, v=(5, [], 0, 0)), *lease(v=6, floor_u=5))


def test_the_residue_is_carried_over_leases():
    state = rich(10)
    for number in range(5):
        state = after(lease(f"l{number}", main=1),
                      ("close", {"lease": f"l{number}", "spent_p": {MAIN: 300_000}, "at_ms": 1}), state=state)
    assert (state["posted_u"], state["residue_p"], state["pockets"][MAIN]["u"]) == (1, {MAIN: 500_000}, 9)
    assert charged_p(state) == 5 * 300_000


def test_a_flush_is_cumulative_and_repeats_change_nothing():
    flush = "flush", {"lease": "l", "spent_p": {MAIN: 3 * P}, "exp_ms": 200, "at_ms": 1}
    older = "flush", {"lease": "l", "spent_p": {MAIN: 2 * P}, "exp_ms": 150, "at_ms": 1}
    once = after(lease(main=10), flush, state=rich())
    assert after(flush, state=once) == after(older, state=once) == after(older, flush, older, state=once) == once
    assert once["leases"]["l"]["exp_ms"] == 200


def test_an_overrun_leaves_main_at_the_flush_not_at_the_close():
    state = after(lease(main=10), ("flush", {"lease": "l", "spent_p": {MAIN: 12 * P + 1}, "exp_ms": 1, "at_ms": 1}),
                  state=rich(11))
    assert state["pockets"][MAIN]["u"] == 11 - 13
    state = after(("close", {"lease": "l", "spent_p": {MAIN: 12 * P + 1}, "at_ms": 1}), state=state)
    assert (state["pockets"][MAIN]["u"], state["posted_u"], state["residue_p"]) == (-1, 12, {MAIN: 1})


def test_reaped_then_late_then_closed_charges_the_truth_once():
    flush = lambda u: ("flush", {"lease": "l", "spent_p": {MAIN: u * P}, "exp_ms": 100, "at_ms": 1})
    state = after(lease(main=10), flush(3), state=rich(100))
    with pytest.raises(Declined):
        apply(state, "reap", {"lease": "l", "at_ms": 99})
    state = after(("reap", {"lease": "l", "at_ms": 100}), flush(5), flush(4), flush(5), state=state)
    assert charged_p(state) == 5 * P
    state = after(("close", {"lease": "l", "spent_p": {MAIN: 7 * P}, "at_ms": 1}), state=state)
    assert charged_p(state) == 7 * P and state["tomb"] == {} and state["pockets"][MAIN]["u"] == 93
    with pytest.raises(Declined) as error:
        apply(state, *flush(9))
    assert error.value.code == "gone"


def test_what_returns_to_an_expired_voucher_is_broken():
    state = after(lease(v=5, main=1), state=rich(10, v=(8, ["m"], 0, 50)))
    with pytest.raises(Declined):
        apply(state, "expire", {"pocket": "v", "at_ms": 49})
    state = after(("expire", {"pocket": "v", "at_ms": 50}), state=state)
    state = after(("close", {"lease": "l", "spent_p": {"v": 2 * P}, "at_ms": 60}), state=state)
    assert (state["broken_u"], state["posted_u"], state["pockets"]) == (6, 2, {MAIN: {"u": 10}})


def test_burning_order():
    state = rich(1, late=(5, ["a", "b"], 1, 90), soon=(5, ["a", "b", "c"], 1, 80), narrow=(5, ["a"], 1, 80),
                 first=(5, [], 0, 0), gone=(5, ["a"], 0, 10), other=(5, ["z"], 0, 0), twin=(5, ["a"], 1, 80))
    assert burning_order(state, "a", 10) == ["first", "narrow", "twin", "soon", "late", MAIN]
    assert draw(state, burning_order(state, "a", 10), 12) == {"first": 5, "narrow": 5, "twin": 2}
    with pytest.raises(Declined):
        draw(state, burning_order(state, "z", 10), 12)


def test_pend_posts_or_voids_once_and_never_more_than_set_aside():
    state, _ = pend(rich(10, v=(3, ["video"], 0, 0)), rid="r", slug="video", amount_u=5, at_ms=1)
    assert state["pockets"] == {MAIN: {"u": 8}, "v": {**state["pockets"]["v"], "u": 0}}
    with pytest.raises(Declined):
        post(state, rid="r", cost_p=5 * P + 1, at_ms=1)
    done, delta = post(state, rid="r", cost_p=4 * P + 5, at_ms=1)
    assert delta["split"] == {"v": 3 * P, MAIN: P + 5}
    assert (done["posted_u"], done["residue_p"], done["pockets"][MAIN]["u"]) == (4, {MAIN: 5}, 9)
    with pytest.raises(Declined):
        post(done, rid="r", cost_p=1, at_ms=1)
    with pytest.raises(Declined):
        apply(done, "void", {"rid": "r", "at_ms": 1})
    assert apply(state, "void", {"rid": "r", "at_ms": 1})["pockets"] == rich(10, v=(3, ["video"], 0, 0))["pockets"]


def test_refunds_unwind_in_reverse_and_never_more_than_charged():
    state = rich(10, v=(3, ["m"], 0, 0))
    split = {"v": 2 * P, MAIN: 3 * P + 700_000}
    back, delta = refund(state, rid="r", split=split, amount_u=5, at_ms=1)
    assert delta["parts"] == {MAIN: 4, "v": 1} and imbalance_u(back) == 0
    with pytest.raises(Declined):
        refund(state, rid="r", split=split, amount_u=6, at_ms=1)


def test_adjustments_need_leave_to_go_below_zero():
    with pytest.raises(Declined):
        apply(rich(5), "adjust", {"u": -6})
    assert apply(rich(5), "adjust", {"u": -6, "below_zero": True})["pockets"][MAIN]["u"] == -1


def test_split_cost():
    assert split_cost([("v", 5), (MAIN, 5)], 7) == {"v": 5, MAIN: 2}
    assert split_cost([("v", 5)], 7) == {"v": 5, MAIN: 2}
    assert split_cost([("v", 5), ("v", 1), (MAIN, 5)], 6) == {"v": 6}
    assert split_cost([], 0) == {}


class Books(RuleBasedStateMachine):
    """Against a model in fractions that knows only who put in how much and what every request truly cost.

    Flushes are delayed, repeated and reordered; leases are reaped and come back late; owners die and their journals
    close for them. Whatever happens, what the books charged is what was truly spent, once, and I1 holds.
    """

    @initialize()
    def start(self):
        self.state, self.clock, self.serial = empty(), 0, 0
        self.came_in = Fraction(0)               # µUSD put in and adjusted
        self.jobs_cost = Fraction(0)             # what finished jobs cost
        self.truth, self.seen, self.mail = {}, {}, []   # per lease: true spend, what the books were last told, flushes
        self.jobs, self.owned = {}, set()

    def do(self, kind, **delta):
        self.state = apply(self.state, kind, json.loads(json.dumps(delta)))

    def tell(self, id, spent):
        if id in self.state["leases"] or id in self.state["tomb"]:
            seen = self.seen.setdefault(id, {})
            self.seen[id] = {name: max(spent.get(name, 0), seen.get(name, 0)) for name in {*spent, *seen}}

    @rule(u=st.integers(1, 2000))
    def topup(self, u):
        self.do("topup", u=u)
        self.came_in += u

    @rule(u=st.integers(1, 500), models=st.sampled_from([["a"], ["a", "b"], []]), lasts=st.sampled_from([0, 5, 50]),
          prio=st.integers(0, 2))
    def redeem(self, u, models, lasts, prio):
        self.serial += 1
        self.do("redeem", pocket=f"v{self.serial}", u=u, models=models, prio=prio, exp_ms=lasts and self.clock + lasts)
        self.came_in += u

    @rule(u=st.integers(-300, 300).filter(bool), below=st.booleans())
    def adjust(self, u, below):
        try:
            self.do("adjust", u=u, below_zero=below)
            self.came_in += u
        except Declined:
            assert u < 0 and not below and self.state["pockets"][MAIN]["u"] + u < 0

    @rule(slug=st.sampled_from("abc"), u=st.integers(1, 800))
    def acquire(self, slug, u):
        try:
            amt = draw(self.state, burning_order(self.state, slug, self.clock), u)
        except Declined:
            return
        self.serial += 1
        id = f"l{self.serial}"
        self.do("lease", lease=id, node="n", amt=amt, exp_ms=self.clock + 20)
        self.truth[id] = {}
        self.owned.add(id)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), u=st.integers(1, 300))
    def grow(self, data, u):
        id = data.draw(st.sampled_from(sorted(self.owned)))
        try:
            amt = draw(self.state, burning_order(self.state, "a", self.clock), u)
            self.do("grow", lease=id, amt=amt, exp_ms=self.clock + 20)
        except Declined as declined:
            assert declined.code == "funds" or id not in self.state["leases"]

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), cost_p=st.integers(0, 90 * P))
    def settle(self, data, cost_p):
        """Spend from the lease as its owner would: its pockets first, an overrun on main."""
        id = data.draw(st.sampled_from(sorted(self.owned)))
        amt = self.state["leases"].get(id, {"amt": {}})["amt"]
        spent = self.truth[id]
        parts = [(name, max(0, u * P - spent.get(name, 0))) for name, u in amt.items()]
        self.truth[id] = {name: spent.get(name, 0) + split.get(name, 0)
                          for split in [split_cost(parts, cost_p)] for name in {*spent, *split}}
        self.mail.append((id, dict(self.truth[id])))

    @precondition(lambda self: self.mail)
    @rule(data=st.data(), times=st.integers(1, 3))
    def flush(self, data, times):
        """Any flush ever sent, new or old, arrives once or again."""
        id, spent = data.draw(st.sampled_from(self.mail))
        for _ in range(times):
            try:
                self.do("flush", lease=id, spent_p=spent, exp_ms=self.clock + 20, at_ms=self.clock)
                self.tell(id, spent)
            except Declined as declined:
                assert declined.code == "gone" and id not in self.owned

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def close(self, data):
        """The owner, or whoever replays its journal, reports the final spend."""
        id = data.draw(st.sampled_from(sorted(self.owned)))
        self.tell(id, self.truth[id])
        self.do("close", lease=id, spent_p=self.truth[id], at_ms=self.clock)
        self.owned.discard(id)
        with pytest.raises(Declined):
            self.do("close", lease=id, spent_p=self.truth[id], at_ms=self.clock)

    @rule()
    def reap(self):
        for id, lease in list(self.state["leases"].items()):
            if lease["exp_ms"] <= self.clock:
                self.do("reap", lease=id, at_ms=self.clock)

    @rule(ms=st.integers(1, 30))
    def wait(self, ms):
        self.clock += ms

    @rule()
    def expire(self):
        for name, pocket in list(self.state["pockets"].items()):
            if name != MAIN and 0 < pocket["exp_ms"] <= self.clock:
                self.do("expire", pocket=name, at_ms=self.clock)

    @rule(slug=st.sampled_from("abc"), u=st.integers(1, 300))
    def begin_job(self, slug, u):
        self.serial += 1
        try:
            self.state, _ = pend(self.state, rid=f"r{self.serial}", slug=slug, amount_u=u, at_ms=self.clock)
            self.jobs[f"r{self.serial}"] = u
        except Declined as declined:
            assert declined.code == "funds"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), share=st.integers(0, 1000))
    def end_job(self, data, share):
        rid = data.draw(st.sampled_from(sorted(self.jobs)))
        cost_p = self.jobs.pop(rid) * 1000 * share
        self.state, delta = post(self.state, rid=rid, cost_p=cost_p, at_ms=self.clock)
        assert sum(delta["split"].values()) == cost_p
        self.jobs_cost += Fraction(cost_p, P)

    @rule(u=st.integers(1, 50))
    def refund(self, u):
        self.serial += 1
        self.state, _ = refund(self.state, rid=f"x{self.serial}", split={MAIN: u * P}, amount_u=u, at_ms=self.clock)
        self.came_in += u

    @invariant()
    def books_balance(self):
        assert imbalance_u(self.state) == 0
        told = sum(sum(spent.values()) for spent in self.seen.values())
        assert Fraction(charged_p(self.state), P) == Fraction(told, P) + self.jobs_cost
        assert all(0 < rest < P for rest in self.state["residue_p"].values())
        assert all(p["u"] >= 0 for name, p in self.state["pockets"].items() if name != MAIN)
        assert self.state["credits_u"] + self.state["adjusted_u"] == self.came_in

    def teardown(self):
        """Everybody comes home: the books must say the truth."""
        for id in sorted(getattr(self, "owned", ())):
            self.do("close", lease=id, spent_p=self.truth[id], at_ms=self.clock)
        if hasattr(self, "truth"):
            spent = Fraction(sum(sum(spent.values()) for spent in self.truth.values()), P)
            assert Fraction(charged_p(self.state), P) == spent + self.jobs_cost
            assert not self.state["leases"]


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=250, stateful_step_count=50, deadline=None,
                              suppress_health_check=list(HealthCheck))


def test_change_is_apply():
    assert change("topup", u=5)(empty()) == (apply(empty(), "topup", {"u": 5}), {"u": 5})
