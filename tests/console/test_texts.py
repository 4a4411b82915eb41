"""Languages: every text stands in every language, with the same places to fill in."""

import re

import pytest

from tests.console.texts import known, texts


@pytest.mark.parametrize("language", ["zh_CN"])
def test_every_text_is_translated(language):
    there = known(language)
    assert texts() - set(there) == set()
    assert all(there.values())
    holes = re.compile(r"\{(\w+)\}")
    assert [text for text, other in there.items() if sorted(holes.findall(text)) != sorted(holes.findall(other))] == []
