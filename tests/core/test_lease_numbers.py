"""Lease numbers: unique for ever, in the order of issue, and drawn so that seeds on record keep their meaning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringipam.core.rng import Rng

NOW = 1_767_225_600_000
times = st.lists(st.integers(NOW, NOW + 10), min_size=1, max_size=50).map(sorted)


@given(st.integers(0), times)
def test_each_is_greater_than_the_one_before_as_text_too(seed: int, times: list[int]) -> None:
    rng = Rng(seed)

    numbers = [rng.number(now) for now in times]

    assert numbers == sorted(set(numbers))
    assert {len(number) for number in numbers} == {16}


def test_what_is_issued_later_by_another_host_is_greater_too() -> None:
    assert Rng(1).number(NOW) < Rng(2).number(NOW + 1) < Rng(1).number(NOW + 2)


def test_two_hosts_that_issue_in_one_millisecond_do_not_issue_the_same() -> None:
    assert len({Rng(seed).number(NOW) for seed in range(1000)}) == 1000


def test_a_clock_that_was_set_back_does_not_bring_a_number_again() -> None:
    rng = Rng(1)

    numbers = [rng.number(now) for now in (NOW, NOW - 1, NOW - 2, NOW)]

    assert len(set(numbers)) == 4


def test_a_number_takes_as_much_of_the_sequence_as_sixteen_drawn_characters() -> None:
    numbered, drawn = Rng(7), Rng(7)

    numbered.number(NOW)
    drawn.token(16)

    assert numbered.bits64() == drawn.bits64()
