"""A peer serves one universe: what is asked about the range of the other family is refused, never taken for its own."""

from __future__ import annotations

from solo import Solo, ip

from ringipam.core.events import Resolve, Show, View
from ringipam.errors import NotFoundError, OutOfRangeError


def test_a_view_of_its_own_family_is_that_of_the_universe() -> None:
    solo = Solo()

    for what in Show:
        assert solo.answer(View(what, 4)) == solo.answer(what)


def test_a_view_of_the_other_family_is_refused() -> None:
    for universe, other, hint in (("10.0.0.0/24", 6, "--iprange6"), ("fd00::/64", 4, "only fd00::/64")):
        answer = Solo(universe).answer(View(Show.RING, other))

        assert isinstance(answer, OutOfRangeError)
        assert hint in answer.message


def test_addresses_of_the_other_family_are_not_resolved_for_those_of_equal_numbers() -> None:
    solo = Solo()
    start = ip("10.0.0.4")

    assert isinstance(solo.answer(Resolve(start, start + 1, family=6)), OutOfRangeError)
    for family in (None, 4):
        assert isinstance(solo.answer(Resolve(start, start + 1, family=family)), NotFoundError)
