"""Blocks are found in free ranges as a look at every address would find them, and without such a look."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from ring_oracle import SIZE
from test_intervals import IntervalsMatchASet, offsets

from ringipam.address import Range
from ringipam.ring.freeranges import FreeRanges

sizes = st.sampled_from([1 << order for order in range(SIZE.bit_length() + 1)])


class FreeRangesMatchASet(IntervalsMatchASet):
    """What holds of any set of ranges, and any question for a block."""

    def __init__(self) -> None:
        super().__init__()
        self.intervals: FreeRanges = FreeRanges()

    @rule(start=offsets, end=offsets, size=sizes)
    def ask_for_a_block(self, start: int, end: int, size: int) -> None:
        lo, hi = self.base + start, self.base + end

        assert self.intervals.first_block(lo, hi, size) == min(self._blocks(lo, hi, size), default=None)

        fitting = (each for each in (size >> order for order in range(size.bit_length())) if self._blocks(lo, hi, each))
        largest = next(fitting, None)
        highest = None if largest is None else max(self._blocks(lo, hi, largest))
        found = None if highest is None or largest is None else Range(highest, highest + largest)
        assert self.intervals.last_block(lo, hi, size) == found

    def _blocks(self, lo: int, hi: int, size: int) -> list[int]:
        """Where the aligned blocks of `size` in `[lo, hi)` start that are all in the set."""
        first = -(-lo // size) * size
        return [at for at in range(first, hi - size + 1, size) if self.addresses.issuperset(range(at, at + size))]


FreeRangesMatchASet.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestFreeRangesMatchASet = FreeRangesMatchASet.TestCase


class Looked(FreeRanges):
    """Counts the ranges it looks at."""

    __slots__ = ("looks",)

    def _start_of(self, end: int) -> int:
        self.looks += 1
        return super()._start_of(end)


def test_a_block_is_found_among_many_fragments_without_a_look_at_each() -> None:
    free = Looked()
    for number in range(20_000):
        free.add(4 * number, 4 * number + 1 + number % 3)
    free.add(1 << 20, (1 << 20) + 64)
    free.looks = 0

    assert free.first_block(0, 1 << 21, 16) == 1 << 20
    assert free.last_block(0, 1 << 20, 16) == Range(79_996, 79_998)
    assert free.first_block(0, 1 << 20, 16) is None
    assert free.looks < 20
