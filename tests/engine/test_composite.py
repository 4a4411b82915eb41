"""The pure choice among a composite's members."""

import pytest

from smartoken.domain.catalog import Composite, Rule
from smartoken.engine.composite import language_of, line_up, routed
from smartoken.plugin.types import Ask, Look, Member

PLAIN = Look()
LAST = Rule("no rule held", order="cheapest")


def member(slug: str, healthy: bool = True, cost_u: int = 1, first_ms: int = 0, **more) -> Member:
    return Member(slug, healthy, cost_u, first_ms, **more)


def slugs(rules, members, look=PLAIN, tokens=10, routed=None) -> list[str]:
    composite = Composite(tuple(one.slug for one in members), (*rules, LAST))
    return [pick.slug for pick in line_up(composite, look, tokens, members, routed)]


THREE = [member("a", cost_u=3), member("b", cost_u=1), member("c", cost_u=2)]


def test_every_member_stands_in_line_once_and_the_first_rule_counts():
    rules = [Rule("tools", ("a",), tools=True), Rule("pictures", ("c",), images=True)]
    assert slugs(rules, THREE) == ["b", "c", "a"]
    assert slugs(rules, THREE, Look(tools=True)) == ["a", "b", "c"]
    assert slugs(rules, THREE, Look(tools=True, images=1)) == ["a", "c", "b"]
    assert slugs(rules, THREE, Look(images=2)) == ["c", "b", "a"]


def test_who_is_not_well_goes_last_and_is_named():
    members = [member("a", healthy=False), member("b", cost_u=2), member("c", cost_u=1)]
    composite = Composite(("a", "b", "c"), (Rule("tools", ("a",), tools=True), LAST))
    first, *others = line_up(composite, Look(tools=True), 10, members)
    assert (first.slug, [pick.slug for pick in others]) == ("c", ["b", "a"])
    assert first.reason.startswith("a (tools) is not well; next: no rule held")


@pytest.mark.parametrize("rule, look, tokens, holds", [
    (Rule("", ("a",), min_input=100), Look(), 99, False), (Rule("", ("a",), min_input=100), Look(), 100, True),
    (Rule("", ("a",), max_input=100), Look(), 101, False), (Rule("", ("a",), max_input=100), Look(), 100, True),
    (Rule("", ("a",), tools=False), Look(), 1, True), (Rule("", ("a",), tools=False), Look(tools=True), 1, False),
    (Rule("", ("a",), languages=frozenset({"ru"})), Look(said="привет"), 1, True),
    (Rule("", ("a",), languages=frozenset({"ru"})), Look(said="hello"), 1, False),
    (Rule("", ("a",), keywords=("code",)), Look(text="Some CODE"), 1, True),
    (Rule("", ("a",), keywords=("code",)), Look(text="nothing"), 1, False),
    (Rule("", ("a",), tools=True, images=True), Look(tools=True), 1, False)])
def test_a_rule_holds_when_all_that_it_says_does(rule, look, tokens, holds):
    assert (slugs([rule], THREE, look, tokens)[0] == "a") is holds


def test_ceilings_and_orders():
    members = [member("a", output_u=9, first_ms=100), member("b", output_u=5, first_ms=900),
               member("c", output_u=7, first_ms=50)]
    assert slugs([Rule("", max_output_u=7)], members)[:2] == ["b", "c"]
    assert slugs([Rule("", max_first_ms=100, order="fastest")], members)[:2] == ["c", "a"]
    assert slugs([Rule("", max_output_u=1)], members)[0] == "a", "nobody keeps below it: the next rule"
    assert slugs([Rule("", ("c", "a"))], members) == ["c", "a", "b"]


def test_a_prompt_that_does_not_fit_is_not_sent():
    members = [member("small", cost_u=1, context_length=100), member("big", cost_u=9, context_length=1000)]
    assert slugs([], members, tokens=50)[0] == "small"
    assert slugs([], members, tokens=500) == ["big"]
    assert slugs([], members, tokens=5000) == ["small", "big"], "nobody can; let the upstream say so"


def test_the_router_goes_before_the_rules():
    assert slugs([Rule("tools", ("a",), tools=True)], THREE, Look(tools=True), routed=("c", "")) == ["c", "a", "b"]


@pytest.mark.parametrize(("said", "chosen"), [
    (("c", "it is cheap"), ("c", "it is cheap")), (("c", None), ("c", "None")), (None, None), ("c", None), (7, None),
    (("c",), None), (("c", "why", "more"), None), ((["c"], "why"), None), (("none", "why"), None)])
def test_a_router_that_answers_nonsense_leaves_it_to_the_rules(said, chosen):
    composite = Composite(("a", "b", "c"), (LAST,), router="mine")
    ask = Ask("openai.chat", "it", False, b"{}", {})
    assert routed({"mine": lambda ask, members: said}, composite, ask, THREE) == chosen


@pytest.mark.parametrize("text, language", [
    ("Hello world", "latin"), ("你好世界", "zh"), ("こんにちは世界", "ja"), ("안녕하세요", "ko"),
    ("Привет", "ru"), ("مرحبا", "ar"), ("שלום", "he"), ("Γειά", "el"), ("नमस्ते", "hi"), ("สวัสดี", "th"),
    ("12 + 3 = 15", ""), ("用 Python 写一个排序函数的代码", "zh")])
def test_languages_by_their_script(text, language):
    assert language_of(text) == language
