"""Figures and tables as people read them."""

from __future__ import annotations

import pytest

from ringipam.cli.output import age_text, print_table, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (524_288, "524,288"), (1 << 64, "2^64"), ((1 << 64) - 7, "1.8e19"), (16_000_000, "1.6e07")],
)
def test_sizes_are_exact_while_that_is_readable(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (90, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_ages_are_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "N"), [("a", 5), ("longer", 12)])

    assert capsys.readouterr().out == "NAME     N\na        5\nlonger  12\n"
