"""Which channel is asked, and what failures do to it; time is a number here."""

import collections

import pytest

from smartoken.domain.catalog import Channel, Model, Route, Snapshot
from smartoken.domain.price import Price
from smartoken.engine import routing
from smartoken.engine.health import EJECT_AFTER, PROBES, HealthBook, meaning_of, rest_s
from smartoken.plugin.types import BROKE, CALLER, COOL, CREDENTIAL, MISSING, RETRY, Failure, Provider

S = 1_000_000


def route(name: str, priority: int = 0, weight: int = 100, **more) -> Route:
    return Route(Channel(name, Provider(name), "http://x", priority=priority, weight=weight, **more), "w", "/", "m")


def test_priority_first_then_what_is_left():
    book, first, second = HealthBook(), route("a", 0), route("b", 1)
    routes = (first, second)
    assert routing.pick(book, "m", routes, [], 0)[0] is first
    assert routing.pick(book, "m", routes, [first], 0)[0] is second
    assert routing.pick(book, "m", routes, [first, second], 0) is None


def test_weights_share_the_work():
    book, big, small = HealthBook(), route("a", weight=900), route("b", weight=100)
    seen = collections.Counter(routing.pick(book, "m", (big, small), [], 0)[0].channel.name for _ in range(2000))
    assert seen["a"] > seen["b"] > 0


def test_the_less_busy_of_two_is_taken():
    book, busy, idle = HealthBook(), route("a"), route("b")
    for one in (busy, idle):
        book.of(one, "m").first_us = 1000
    book.of(busy, "m").inflight = 50
    seen = collections.Counter(routing.pick(book, "m", (busy, idle), [], 0)[0].channel.name for _ in range(400))
    assert seen["b"] > seen["a"]


def test_who_asks_for_patience_gets_it_and_it_is_only_ever_extended():
    book, one = HealthBook(), route("a")
    health = book.of(one, "m")
    book.failed(one, health, 0, COOL, 60, "slow down")
    book.failed(one, health, 0, COOL, 5, "slow down")
    assert book.resting_us(one, health, 10 * S) == 50 * S
    assert routing.pick(book, "m", (one,), [], 59 * S) is None
    assert routing.soonest_s(book, "m", (one,), 10 * S) == 50
    assert routing.pick(book, "m", (one,), [], 60 * S)[0] is one


def snapshot(**routes: Route) -> Snapshot:
    """Of models {slug: its only route}."""
    models = {slug: Model(slug, "llm", Price(input_u=1, output_u=1), {"w": (one,)}, {}) for slug, one in routes.items()}
    return Snapshot(models, {one.channel.name: one.channel for one in routes.values()}, b"")


def test_a_missing_model_is_told_until_it_is_there_again_whatever_others_do():
    book, one = HealthBook(), route("a")
    book.failed(one, book.of(one, "gone"), 0, MISSING, None, "no such model")
    book.failed(one, book.of(one, "away"), 0, MISSING, None, "no such model")
    book.succeeded(one, book.of(one, "m"), S, 1)
    assert book.alarms == {"a": "missing: away: no such model; missing: gone: no such model"}
    book.succeeded(one, book.of(one, "away"), S, 1)
    assert book.alarms == {"a": "missing: gone: no such model"}
    book.failed(one, book.of(one, "m"), 0, BROKE, None, "no money")
    book.succeeded(one, book.of(one, "gone"), S, 1)
    assert not book.alarms


def test_what_the_catalog_has_no_more_is_forgotten():
    book, one, other = HealthBook(), route("a"), route("b")
    for slug, meaning in (("m", CREDENTIAL), ("n", MISSING)):
        for each in (one, other):
            book.failed(each, book.of(each, slug), 0, meaning, None, "no")

    def known():
        return {(name, slug, rev) for name, slug, rev, _ in book.rows()}, set(book.alarms), [
            each.channel.name for each in (one, other) if book.channel_rest_us(each.channel, S)]

    health = book.of(one, "m")
    book.keep(snapshot(m=one, n=other))
    assert known() == ({("a", "m", 0), ("b", "n", 0)}, {"a", "b"}, ["a", "b"])
    assert book.of(one, "m") is health
    changed = route("a", rev=1)
    book.of(changed, "m")
    book.keep(snapshot(m=changed))
    assert known() == ({("a", "m", 1)}, set(), [])


@pytest.mark.parametrize("meaning", [BROKE, CREDENTIAL])
def test_a_credential_that_cannot_pay_rests_the_whole_channel_until_it_changes(meaning):
    book, one = HealthBook(), route("a")
    book.failed(one, book.of(one, "m"), 0, meaning, None, "no")
    assert routing.pick(book, "other", (one,), [], S) is None and "a" in book.alarms
    changed = route("a", rev=2)
    assert routing.pick(book, "other", (changed,), [], S)[0] is changed


def test_ejection_probing_and_return():
    book, bad, good = HealthBook(), route("a"), route("b")
    health = book.of(bad, "m")
    for _ in range(EJECT_AFTER):
        book.failed(bad, health, 0, RETRY, None, "")
    assert {routing.pick(book, "m", (bad, good), [], S)[0].channel.name for _ in range(50)} == {"b"}
    later = 31 * S
    book.began(health)
    assert book.ejected(health, later), "one probe at a time"
    book.ended(health)
    for _ in range(PROBES):
        assert not book.ejected(health, later)
        book.began(health)
        book.succeeded(bad, health, later, 1000)
        book.ended(health)
    assert health.ejected_until_us == 0 and health.weight(100, later) < 100 and health.weight(100, later + 30 * S) == 100


def test_the_last_channel_is_asked_however_bad_it_was():
    book, one = HealthBook(), route("a")
    for _ in range(EJECT_AFTER):
        book.failed(one, book.of(one, "m"), 0, RETRY, None, "")
    assert routing.pick(book, "m", (one,), [], S)[0] is one


def test_a_full_channel_is_passed_over():
    book, full, other = HealthBook(), route("a", 0, max_inflight=1), route("b", 1)
    book.began(book.of(full, "m"))
    assert routing.pick(book, "m", (full, other), [], 0)[0] is other


@pytest.mark.parametrize("status, failure, meaning", [
    (429, Failure(""), COOL), (529, Failure(""), COOL), (500, Failure(""), RETRY), (502, Failure(""), RETRY),
    (418, Failure(""), CALLER), (400, Failure(""), CALLER), (422, Failure(""), CALLER), (401, Failure(""), CREDENTIAL),
    (403, Failure(""), CREDENTIAL), (402, Failure(""), BROKE), (404, Failure(""), MISSING), (408, Failure(""), RETRY),
    (429, Failure("", code="1113"), BROKE), (200, Failure("", code="x"), RETRY), (200, Failure("", status=429), COOL),
    (400, Failure("", type="engine_overloaded_error"), COOL), (302, Failure(""), RETRY),
])
def test_meanings(status, failure, meaning):
    provider = Provider("p", errors={"1113": BROKE, "engine_overloaded_error": COOL})
    assert meaning_of(provider, status, failure) == meaning


@pytest.mark.parametrize("value, seconds", [
    (b"7", 7), (b"0.5", 1), ("120", 120), (b"99999999", 600), (b"", None), (None, None), (b"soon", None), (b"-3", None),
    (b"nan", None), (b"Wed, 21 Oct 2015 07:28:00 GMT", None), (b"Wed, 21 Oct 2099 07:28:00 GMT", 600),
])
def test_retry_after(value, seconds):
    assert rest_s(value) == seconds


def test_retries_are_a_share_of_requests():
    budget = routing.RetryBudget()
    taken = sum(budget.retry(0) for _ in range(1000))
    assert taken == routing.RETRY_BURST
    for _ in range(100):
        budget.request()
    assert sum(budget.retry(0) for _ in range(100)) == 20
    assert sum(budget.retry(2 * S) for _ in range(100)) == 6
