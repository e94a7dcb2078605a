"""Sets of addresses as ranges, judged by Python's own sets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ring_oracle import BASES, SIZE

from ringipam.address import Range
from ringipam.ring.intervals import Intervals, runs

offsets = st.integers(0, SIZE)


class IntervalsMatchASet(RuleBasedStateMachine):
    """Any sequence of changes and questions; ends before starts are nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        self.base = 0
        self.intervals = Intervals()
        self.addresses: set[int] = set()

    @initialize(base=st.sampled_from(BASES))
    def settle(self, base: int) -> None:
        self.base = base

    @rule(start=offsets, end=offsets)
    def add(self, start: int, end: int) -> None:
        for _ in range(2):
            self.intervals.add(self.base + start, self.base + end)
        self.addresses.update(range(self.base + start, self.base + end))

    @rule(start=offsets, end=offsets)
    def discard(self, start: int, end: int) -> None:
        for _ in range(2):
            self.intervals.discard(self.base + start, self.base + end)
        self.addresses.difference_update(range(self.base + start, self.base + end))

    @rule(taken=st.sets(offsets))
    def discard_all(self, taken: set[int]) -> None:
        holes = list(runs(sorted(self.base + offset for offset in taken)))
        self.intervals.discard_all(holes)
        self.addresses.difference_update(self.base + offset for offset in taken)

    @rule(start=offsets, end=offsets, at_most=st.integers(0, SIZE))
    def ask(self, start: int, end: int, at_most: int) -> None:
        lo, hi = self.base + start, self.base + end
        part = sorted(address for address in self.addresses if lo <= address < hi)

        assert [address for found in self.intervals.within(lo, hi) for address in range(*found)] == part
        assert list(self.intervals.within_reversed(lo, hi)) == list(self.intervals.within(lo, hi))[::-1]
        assert self.intervals.count(lo, hi) == len(part)
        assert self.intervals.count(lo, hi, at_most=at_most) == min(at_most, len(part))
        assert self.intervals.first(lo, hi) == (part[0] if part else None)
        assert (lo in self.intervals) == (lo in self.addresses)

    @invariant()
    def holds_the_same(self) -> None:
        self.intervals.check()
        assert self.intervals.size == len(self.addresses)
        assert [address for found in self.intervals for address in range(*found)] == sorted(self.addresses)
        assert len(self.intervals) == len(list(self.intervals))


IntervalsMatchASet.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestIntervalsMatchASet = IntervalsMatchASet.TestCase


def test_ranges_that_touch_are_one() -> None:
    intervals = Intervals()

    intervals.add(0, 4)
    intervals.add(8, 12)
    intervals.add(4, 8)

    assert list(intervals) == [Range(0, 12)]


def test_a_range_taken_out_of_the_middle_leaves_two() -> None:
    intervals = Intervals()
    intervals.add(0, 12)

    intervals.discard(4, 8)

    assert list(intervals) == [Range(0, 4), Range(8, 12)]
    assert intervals.size == 8
    assert repr(intervals) == "<Intervals [Range(start=0, end=4), Range(start=8, end=12)]>"


def test_a_whole_ipv6_internet_is_one_range() -> None:
    intervals = Intervals()

    intervals.add(0, 1 << 128)
    intervals.discard(1 << 127, (1 << 127) + 1)

    assert len(intervals) == 2
    assert intervals.size == (1 << 128) - 1
    assert intervals.first(1 << 127, 1 << 128) == (1 << 127) + 1


def test_only_addresses_are_in_a_set_of_addresses() -> None:
    intervals = Intervals()
    intervals.add(0, 4)

    assert "0.0.0.1" not in intervals
    assert 3 in intervals
    assert 4 not in intervals


@given(st.lists(st.tuples(offsets, offsets), max_size=8))
def test_equal_sets_have_equal_ranges_whatever_the_order_they_came_in(parts: list[tuple[int, int]]) -> None:
    forward, backward = Intervals(), Intervals()

    for start, end in parts:
        forward.add(start, end)
    for start, end in reversed(parts):
        backward.add(start, end)

    assert list(forward) == list(backward)
    assert all(left.end < right.start for left, right in pairwise(forward))


@given(st.sets(offsets))
def test_runs_are_ranges_without_a_gap_that_hold_just_these_addresses(addresses: set[int]) -> None:
    found = list(runs(sorted(addresses)))

    assert [address for run in found for address in range(*run)] == sorted(addresses)
    assert all(left.end < right.start for left, right in pairwise(found))


def _empty(intervals: Intervals) -> None:
    intervals._ends[20] = 20


def _touching(intervals: Intervals) -> None:
    intervals._ends[8] = 9
    intervals._size += 1


def _miscounted(intervals: Intervals) -> None:
    intervals._size += 1


@pytest.mark.parametrize("plant", [_empty, _touching, _miscounted])
def test_check_finds_each_broken_invariant(plant: Callable[[Intervals], None]) -> None:
    intervals = Intervals()
    intervals.add(4, 8)
    intervals.check()

    plant(intervals)

    with pytest.raises(AssertionError):
        intervals.check()
