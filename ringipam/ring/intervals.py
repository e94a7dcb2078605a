"""A set of addresses kept as ranges. Knows nothing of what the addresses are for.

No bitmap and no loop over addresses: a free /64 is one entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedDict

from ringipam.address import Range


class Intervals:
    """A set of addresses.

    Invariants, checked by `check`:

    * ranges are not empty, do not overlap and do not touch, so that equal sets have equal ranges;
    * `size` is the sum of their sizes.

    With n ranges, `add` and `discard` are O(log n + ranges swallowed), a query O(log n + answers).
    """

    __slots__ = ("_ends", "_size")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ends = SortedDict()
        """Start of each range → its end."""
        self._size = 0
        for start, end in ranges:
            self.add(start, end)

    @property
    def size(self) -> int:
        """How many addresses; O(1)."""
        return self._size

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._ends)

    def __iter__(self) -> Iterator[Range]:
        return (Range(start, end) for start, end in self._ends.items())

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.first(address, address + 1) is not None

    def __repr__(self) -> str:
        return f"<Intervals {list(self)}>"

    def add(self, start: int, end: int) -> None:
        """Put `[start, end)` in; nothing happens to what is in already."""
        if start >= end:
            return
        for touching in self._touching(start - 1, end + 1):
            start, end = min(start, touching.start), max(end, touching.end)
            self._drop(touching)
        self._put(start, end)

    def discard(self, start: int, end: int) -> None:
        """Take `[start, end)` out; nothing happens to what is not in."""
        index = self._ends.bisect_right(start)
        if index and start < end:
            lower, upper = self._ends.peekitem(index - 1)
            if upper >= end:  # it lies in one range, as nearly always
                self._cut(lower, upper, start, end)
                return
        for touching in self._touching(start, end):
            self._drop(touching)
            self._put(touching.start, min(touching.end, start))
            self._put(max(touching.start, end), touching.end)

    def discard_all(self, holes: Iterable[tuple[int, int]]) -> None:
        """Take many ranges out, which come in order and do not overlap; O(all ranges), not O(log n) for each."""
        left = dict(_without(self._ends.items(), holes))
        self._ends = SortedDict(left)
        self._size = sum(end - start for start, end in left.items())

    def within(self, lo: int, hi: int) -> Iterator[Range]:
        """The ranges that overlap `[lo, hi)`, in order, clipped to it. Do not change the set meanwhile."""
        for start in self._starts(lo, hi):
            yield Range(max(start, lo), min(self._ends[start], hi))

    def within_reversed(self, lo: int, hi: int) -> Iterator[Range]:
        """As `within`, the highest first."""
        if lo >= hi:
            return
        for start in self._ends.irange(maximum=hi - 1, reverse=True):
            end = self._ends[start]
            if end <= lo:
                return
            yield Range(max(start, lo), min(end, hi))

    def count(self, lo: int, hi: int, at_most: int | None = None) -> int:
        """How many addresses of `[lo, hi)` are in; stops counting at `at_most`."""
        if not self._ends:
            return 0
        found = 0
        for start, end in self.within(lo, hi):
            found += end - start
            if at_most is not None and found >= at_most:
                return at_most
        return found

    def first(self, lo: int, hi: int) -> int | None:
        """The lowest address of `[lo, hi)` that is in; O(log n)."""
        index = self._ends.bisect_right(lo)
        if index and self._ends.peekitem(index - 1)[1] > lo < hi:
            return lo
        if index < len(self._ends):
            start: int = self._ends.peekitem(index)[0]
            if start < hi:
                return start
        return None

    def check(self) -> None:
        """Assert the invariants of the class."""
        before: int | None = None
        for start, end in self:
            assert start < end, f"range at {start} has addresses"
            assert before is None or before < start, f"range at {start} touches none before it"
            before = end
        assert self._size == sum(found.size for found in self), "size is the sum of the sizes"

    def _starts(self, lo: int, hi: int) -> Iterator[int]:
        """Where the ranges that overlap `[lo, hi)` start."""
        if lo >= hi:
            return
        index = self._ends.bisect_right(lo)
        if index:
            lower, end = self._ends.peekitem(index - 1)
            if end > lo:
                yield lower
        if index < len(self._ends):
            yield from self._ends.irange(lo + 1, hi - 1)

    def _touching(self, lo: int, hi: int) -> list[Range]:
        """The ranges that overlap `[lo, hi)`, whole."""
        return [Range(start, self._ends[start]) for start in self._starts(lo, hi)]

    def _cut(self, lower: int, upper: int, start: int, end: int) -> None:
        """Take `[start, end)` out of the one range `[lower, upper)`."""
        if lower < start:
            self._ends[lower] = start
        else:
            del self._ends[lower]
        if end < upper:
            self._ends[end] = upper
        self._size -= end - start

    def _drop(self, found: Range) -> None:
        del self._ends[found.start]
        self._size -= found.size

    def _put(self, start: int, end: int) -> None:
        if start < end:
            self._ends[start] = end
            self._size += end - start


def runs(addresses: Iterable[int]) -> Iterator[Range]:
    """Sorted addresses, each there once, as ranges without a gap."""
    start = end = None
    for address in addresses:
        if address == end:
            end += 1
            continue
        if start is not None and end is not None:
            yield Range(start, end)
        start, end = address, address + 1
    if start is not None and end is not None:
        yield Range(start, end)


def difference(ranges: Iterable[tuple[int, int]], holes: Iterable[tuple[int, int]]) -> list[Range]:
    """What of `ranges` lies in none of `holes`, in order; both may come in any order and overlap.

    O(n log n) for all ranges and holes, and O(n) for those that come in order.
    """
    return [Range(start, end) for start, end in _without(_merged(ranges), _merged(holes))]


def _merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same addresses as ranges in order that neither overlap nor touch."""
    reached: tuple[int, int] | None = None
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if reached is not None and start <= reached[1]:
            start, end = reached[0], max(reached[1], end)
        elif reached is not None:
            yield reached
        reached = start, end
    if reached is not None:
        yield reached


def _without(ranges: Iterable[tuple[int, int]], holes: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges without what lies in `holes`; both in order and without overlaps."""
    queue = iter(holes)
    hole = next(queue, None)
    for start, end in ranges:
        while hole is not None and hole[0] < end:
            if start < hole[0]:
                yield start, hole[0]
            start = max(start, hole[1])
            if hole[1] > end:
                break
            hole = next(queue, None)
        if start < end:
            yield start, end
