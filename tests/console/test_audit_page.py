"""The audit's page shows what changed, wherever in a long field that is."""

import html
import re

import pytest

from smartoken.console.differences import differences
from tests.console.kit import model

LONG = "word " * 60


@pytest.mark.parametrize(("before", "after", "said"), [
    ({"rpm": 1}, {"rpm": 2}, [("rpm", "1", "2")]),
    ({}, {"name": "a", "tpm": 0}, [("name", None, "a")]),
    ({"name": "a"}, {}, [("name", "a", "–")]),
    ({"pricing": {"a": 1, "b": 2, "c": {"d": 3}}}, {"pricing": {"a": 1, "b": 2, "c": {"d": 4}, "e": 5}},
     [("pricing.c.d", "3", "4"), ("pricing.e", None, "5")]),
    ({"models": ["a", "b", "c"]}, {"models": ["a", "c", "x"]}, [("models", '["b"]', '["x"]')]),
    ({"models": ["a", "b"]}, {"models": ["b", "a"]}, [("models", '["a", "b"]', '["b", "a"]')]),
    ({"models": ["a", "a"]}, {"models": ["a"]}, [("models", '["a", "a"]', '["a"]')]),
    ({"c": {"rules": [{"n": 1}, {"n": 2}]}}, {"c": {"rules": [{"n": 1}, {"n": 3}, {"n": 4}]}},
     [("c.rules.2.n", "2", "3"), ("c.rules.3", None, '{"n": 4}')]),
    ({"description": LONG + "old"}, {"description": LONG + "new"},
     [("description", "…" + ("word " * 6) + "old", "…" + ("word " * 6) + "new")])])
def test_what_differs(before, after, said):
    assert differences(before, after) == said


def test_a_change_late_in_a_long_field_is_seen(owner):
    sizes = {f"{width}x1024": "0.04" for width in range(1000, 1040)}
    doc = model("late", type="text2image", pricing={"per_image_by_size": sizes}, available_sizes=list(sizes))
    assert owner.api("PUT", "/models/late", {"model": doc, "rev": 0}).status_code == 200
    changed = {**doc, "pricing": {"per_image_by_size": {**sizes, "1039x1024": "0.05"}}}
    assert owner.api("PUT", "/models/late", {"model": changed, "rev": 1}).status_code == 200
    page = html.unescape(owner.page("/console/audit"))
    (row,) = [row for row in re.findall(r"<tr>.*?</tr>", page, re.S) if "models/late" in row and "per_image_by_size." in row]
    assert re.search(r"per_image_by_size\.1039x1024</span> <del>40000</del> → <ins>50000</ins>", row)
    assert "1038x1024" not in row
