"""Addresses that rest after use, each until its time. Knows no clock: times are handed in, in milliseconds.

Stale ARP, conntrack and DNS entries of an address's last holder get time to go (docs/design.md, "Space").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedDict, SortedList

FEW = 64
"""Ranges that are compared with one another."""


class Resting(NamedTuple):
    """`[start, end)` rests until then."""

    start: int
    end: int
    until: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What a change did to the rows `(start, end, until)` keyed by start, as they are kept on disk.

    Those at `dropped` are gone, those in `put` are new or different (safety.md S20). False iff there are none.
    """

    dropped: tuple[int, ...]
    put: tuple[tuple[int, int, int], ...]

    def __bool__(self) -> bool:
        return bool(self.dropped or self.put)


NO_ROWS = Rows((), ())


class Quarantine:
    """Ranges at rest.

    Invariants, checked by `check`:

    * ranges are not empty and do not overlap;
    * the order by time holds exactly the ranges there are;
    * `size` is the sum of their sizes, `next_wake` the end of the shortest rest.

    With n ranges, a change is O(log n) for each range it touches.
    """

    __slots__ = ("_due", "_rows", "next_wake", "size")

    def __init__(self) -> None:
        self._rows = SortedDict()
        """Start of each range → what rests there."""
        self._due = SortedList()
        """`(until, start)` of each range."""
        self.size = 0
        """How many addresses."""
        self.next_wake: int | None = None
        """When the next rest ends; kept, as a peer's every event asks for it."""

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Resting]:
        return iter(self._rows.values())

    def within(self, lo: int, hi: int) -> Iterator[Resting]:
        """What rests in `[lo, hi)`, in order, clipped to it. Do not change the quarantine meanwhile."""
        return (Resting(max(start, lo), min(end, hi), until) for start, end, until in self._overlapping(lo, hi))

    def rest(self, start: int, end: int, until: int) -> Rows:
        """Let `[start, end)` rest until then, whatever rest there was before."""
        if start >= end:
            return NO_ROWS
        cut = self.cut(start, end)
        rested = Resting(start, end, until)
        self._put(rested)
        return Rows(tuple(key for key in cut.dropped if key != start), tuple(sorted((*cut.put, rested))))

    def cut(self, start: int, end: int) -> Rows:
        """Forget what rests in `[start, end)`; the ends of ranges that stick out of it stay."""
        if not self._rows:
            return NO_ROWS
        dropped: list[int] = []
        put: list[Resting] = []
        for resting in list(self._overlapping(start, end)):
            self._drop(resting)
            if resting.start < start:
                put.append(Resting(resting.start, start, resting.until))
            else:
                dropped.append(resting.start)
            if resting.end > end:
                put.append(Resting(end, resting.end, resting.until))
        for remaining in put:
            self._put(remaining)
        return Rows(tuple(dropped), tuple(put))

    def wake(self, now: int) -> list[Resting]:
        """Take out what has rested long enough."""
        woken: list[Resting] = []
        while self._due and self._due[0][0] <= now:
            woken.append(self._rows[self._due[0][1]])
            self._drop(woken[-1])
        return woken

    def first_due(self, lo: int, hi: int) -> tuple[int, int] | None:
        """`(until, address)` of the address of `[lo, hi)` whose rest ends first, or None.

        Found among the few ranges of a small `[lo, hi)`, else in the order in which rests end, where one of a large
        `[lo, hi)` comes soon.
        """
        few = list(islice(self.within(lo, hi), FEW))
        if len(few) < FEW:
            return min(((resting.until, resting.start) for resting in few), default=None)
        for until, start in self._due:
            if start < hi and self._rows[start].end > lo:
                return until, max(start, lo)
        raise AssertionError("each range has a place in the order")

    def check(self) -> None:
        """Assert the invariants of the class."""
        before: int | None = None
        for key, (start, end, _) in self._rows.items():
            assert key == start < end, f"range at {key} has addresses"
            assert before is None or before <= start, f"range at {key} overlaps none before it"
            before = end
        assert list(self._due) == sorted((row.until, row.start) for row in self), "a place in the order for each range"
        assert self.size == sum(row.end - row.start for row in self), "size is the sum of the sizes"
        assert self.next_wake == min((row.until for row in self), default=None), "when the next rest ends"

    def _overlapping(self, lo: int, hi: int) -> Iterator[Resting]:
        """What rests in `[lo, hi)`, whole."""
        if lo >= hi:
            return
        index = self._rows.bisect_right(lo)
        if index:
            _, lower = self._rows.peekitem(index - 1)
            if lower.end > lo:
                yield lower
        if index == len(self._rows):
            return
        for start in self._rows.irange(lo + 1, hi - 1):
            yield self._rows[start]

    def _drop(self, resting: Resting) -> None:
        del self._rows[resting.start]
        self._due.remove((resting.until, resting.start))
        self._note(resting.start - resting.end)

    def _put(self, resting: Resting) -> None:
        self._rows[resting.start] = resting
        self._due.add((resting.until, resting.start))
        self._note(resting.end - resting.start)

    def _note(self, grown: int) -> None:
        """Keep what is asked for often, after a change by so many addresses."""
        self.size += grown
        self.next_wake = self._due[0][0] if self._due else None
