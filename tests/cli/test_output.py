"""Figures and tables as people read them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ringipam.cli.output import age_text, print_table, size_text

LAUNCH = (sys.executable, "-m", "ringipam", "launch")


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


def test_what_the_terminal_cannot_show_is_shown_in_escapes() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run([*LAUNCH, "--help"], env=environment, capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert r"seed=NAME,NAME,\u2026" in done.stdout
