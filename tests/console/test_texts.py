"""Languages: every text stands in every language, with the same places to fill in."""

import re

import pytest
from tornado import locale

from smartoken.console import FOLDER
from smartoken.console.tell import tell
from tests.console.texts import known, refusals, texts


@pytest.mark.parametrize("language", ["zh_CN"])
def test_every_text_is_translated(language):
    there = known(language)
    assert texts() - set(there) == set()
    assert all(there.values())
    holes = re.compile(r"\{(\w+)\}")
    assert [text for text, other in there.items() if sorted(holes.findall(text)) != sorted(holes.findall(other))] == []


@pytest.mark.parametrize("language", ["zh_CN"])
def test_every_refusal_is_told_in_the_language(language):
    locale.load_translations(str(FOLDER / "locale"))
    there, said = locale.get(language), refusals()
    assert len(said) > 60
    assert {text for text in said if tell(there, text) == text} == set()


@pytest.mark.parametrize(("english", "chinese"), [
    ("Too many tries; wait 12 s.", "尝试过于频繁，请等待 12 秒。"),
    ("There is no price revision 'm@7'.", "没有这个价格版本：“m@7”。"),
    ("'name': write small letters, digits and . _ @ + -, a letter or digit first (it is 'UP')",
     "“name”：请填写小写字母、数字和 . _ @ + -，以字母或数字开头（现为 'UP'）"),
    ("'rpm': write a whole number, not 'a {b} c'\n'tpm': input should be greater than or equal to 0",
     "“rpm”：请填写整数，而不是 'a {b} c'\n“tpm”：不能小于 0"),
    ("The books do not take it: that would take the balance to -3 µUSD.", "账簿不接受：余额将变为 -3 µUSD。"),
    ("There is somebody called 'Accounts' already; choose another name.", "已有名为“Accounts”的人，请换一个名称。"),
    ("What nobody translated.", "What nobody translated.")])
def test_a_sentence_keeps_its_values(english, chinese):
    locale.load_translations(str(FOLDER / "locale"))
    assert tell(locale.get("zh_CN"), english) == chinese
    assert tell(locale.get("en"), english) == english
