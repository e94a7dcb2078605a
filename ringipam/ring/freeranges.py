"""Ranges that are free, and where in them a whole aligned block lies. Knows nothing of what blocks are for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from ringipam.address import Range
from ringipam.ring.intervals import Intervals


class FreeRanges(Intervals):
    """A set of addresses in which blocks are found without a look at every range.

    A block has a power of two of addresses and starts at a multiple of its size. Invariant besides those of
    `Intervals`, checked by `check`: each range is listed by the order of the largest block in it, the exponent of its
    size; those of order 0, which are most of them where space is fragmented, are not.

    A block is found in O(log n) for each order of which there are ranges.
    """

    __slots__ = ("_listed",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._listed: dict[int, SortedList] = {}
        """Order → the ends of its ranges. Ends, as addresses are issued from the start of a range on."""
        super().__init__(ranges)

    def discard_all(self, holes: Iterable[tuple[int, int]]) -> None:
        super().discard_all(holes)
        ends: dict[int, list[int]] = {}
        for start, end in self:
            if order := _order(start, end):
                ends.setdefault(order, []).append(end)
        self._listed = {order: SortedList(those) for order, those in ends.items()}

    def first_block(self, lo: int, hi: int, size: int) -> int | None:
        """Where the lowest block of `size` that lies in `[lo, hi)` and is all in starts."""
        if size == 1:
            return self.first(lo, hi)
        found = None
        for ends in self._at_least(size):
            for end in ends.irange(minimum=lo + size):
                start = max(self._start_of(end), lo)
                block = -(-start // size) * size
                if block + size <= min(end, hi):
                    found = block if found is None else min(found, block)
                elif end < hi:
                    continue  # `lo` cuts its block off
                break
        return found

    def last_block(self, lo: int, hi: int, size_max: int) -> Range | None:
        """The largest block up to `size_max` in `[lo, hi)`, of those the highest; None iff nothing is in."""
        size = size_max
        while size > 1:
            starts = [
                start for ends in self._at_least(size) if (start := self._last_of(ends, lo, hi, size)) is not None
            ]
            if starts:
                return Range(max(starts), max(starts) + size)
            size //= 2
        highest = next(self.within_reversed(lo, hi), None)
        return None if highest is None else Range(highest.end - 1, highest.end)

    def check(self) -> None:
        super().check()
        listed = {(order, end) for order, ends in self._listed.items() for end in ends}
        assert listed == {(_order(*found), found.end) for found in self if _order(*found)}, "listed by order"

    def _last_of(self, ends: SortedList, lo: int, hi: int, size: int) -> int | None:
        """Where the highest block of `size` starts in the ranges that end at `ends`."""
        across = next(self._starts(hi - 1, hi), None)
        top = hi if across is None else self._ends[across]
        for end in ends.irange(minimum=lo + size, maximum=top, reverse=True):
            block: int = (min(end, hi) // size - 1) * size
            if block >= max(self._start_of(end), lo):
                return block
        return None

    def _at_least(self, size: int) -> Iterator[SortedList]:
        return (ends for order, ends in self._listed.items() if ends and 1 << order >= size)

    def _start_of(self, end: int) -> int:
        return next(self._starts(end - 1, end))

    def _cut(self, lower: int, upper: int, start: int, end: int) -> None:
        super()._cut(lower, upper, start, end)
        order = _order(lower, upper)
        if lower == start and end < upper and _order(end, upper) == order:
            return  # the lowest were issued: it is listed by its end, as before
        self._unlist(order, upper)
        self._list(lower, start)
        self._list(end, upper)

    def _drop(self, found: Range) -> None:
        super()._drop(found)
        self._unlist(_order(found.start, found.end), found.end)

    def _put(self, start: int, end: int) -> None:
        super()._put(start, end)
        self._list(start, end)

    def _list(self, start: int, end: int) -> None:
        if start < end and (order := _order(start, end)):
            if order not in self._listed:
                self._listed[order] = SortedList()
            self._listed[order].add(end)

    def _unlist(self, order: int, end: int) -> None:
        if order:
            self._listed[order].remove(end)


def _order(start: int, end: int) -> int:
    """The order of the largest block in `[start, end)`."""
    order = (end - start).bit_length() - 1
    # Of two ranges of 2**k addresses one may hold a block of so many and the other none, but one of half as many.
    return order if order == 0 or (end >> order) - 1 << order >= start else order - 1
