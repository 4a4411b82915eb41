"""Figures for people."""

import pytest

from smartoken.console import figures


@pytest.mark.parametrize(("value", "said"), [
    (0, "0"), (-7, "-7"), (9_999, "9,999"), (10_000, "10k"), (12_345, "12.3k"), (-12_345, "-12.3k"), (100_499, "100k"),
    (999_499, "999k"), (999_500, "1M"), (999_999, "1M"), (-999_999, "-1M"), (1_234_567, "1.23M"), (999_499_999, "999M"),
    (999_500_000, "1B"), (999_499_999_999, "999B"), (999_500_000_000, "1T"), (10**12, "1T"), (5 * 10**14, "500T"),
    (12_345 * 10**14, "1,230,000T"), (2**63, "9,220,000T")])
def test_a_short_count_is_rounded_into_its_unit(value, said):
    assert figures.short(value) == said


def test_no_short_count_is_written_with_an_exponent():
    values = {base * 10**power + near for power in range(16) for base in (1, 9, 95, 995, 9995) for near in (-1, 0, 1)}
    assert [value for value in values if "e" in figures.short(value)] == []
